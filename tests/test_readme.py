"""The README's example runs as written."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_the_example_runs_as_written(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(code.strip().splitlines()) <= 11
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    outcome, sentence = done.stdout.splitlines()[0], done.stdout.splitlines()[-1]
    assert re.search(r"accuracy \d\d\.\d% \(95% interval", outcome)
    assert outcome.count("'item': ") == 3
    assert re.match(r"(HELPED|HARMED|EQUIVALENT|INCONCLUSIVE): probe on packaged:", sentence)
    assert (tmp_path / "runs" / "digits" / "report.html").is_file()
