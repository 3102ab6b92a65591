"""Make the README's picture of a report: ``python docs/make_picture.py RUN_FOLDER [docs/report.png]``.

Writes the run's report anew and photographs its upper part with headless Chromium.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from regraft.report import write_report

FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--disable-component-update", "--disable-background-networking", "--disable-sync"]
FLAGS += ["--disable-dev-shm-usage", "--hide-scrollbars"]


def make_picture(folder: Path, place: Path, *, width: int = 1280, height: int = 1000) -> Path:
    """Photograph the report of the run in ``folder``; returns ``place``, a PNG file."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("Chromium is not on the PATH. On Debian: apt-get install chromium")
    page = write_report(folder).resolve()
    with tempfile.TemporaryDirectory() as profile:
        options = [f"--user-data-dir={profile}", f"--window-size={width},{height}"]
        shot = f"--screenshot={place.resolve()}"
        command = [chromium, *FLAGS, *options, shot, page.as_uri()]
        subprocess.run(command, check=True, timeout=120, capture_output=True)
    return place


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        raise SystemExit(__doc__)
    default = Path(__file__).with_name("report.png")
    print(make_picture(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) == 3 else default))
