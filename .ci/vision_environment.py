"""Create the environment of the vision tests: this interpreter's packages, with room for torchvision on top.

Beside a CPU build of torch, PyPI's torchvision fails on import (``operator torchvision::nms does not
exist``), and transformers fails with it. So it is kept out of the environment that users have. Here the
module that fails, which only describes torchvision's operators to compilers, is replaced by an empty one.
"""

from __future__ import annotations

import sys
import sysconfig
import venv
from pathlib import Path

SITECUSTOMIZE = '''"""See .ci/vision_environment.py."""

import sys
import types

sys.modules["torchvision._meta_registrations"] = types.ModuleType("torchvision._meta_registrations")
'''


def create(folder: Path) -> None:
    """Create the environment in ``folder``, in place of what was there."""
    venv.create(folder, clear=True, with_pip=False, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    # Unlike a bare path, addsitedir also reads the .pth file of an editable installation.
    shared = sysconfig.get_path("purelib")
    (packages / "shared.pth").write_text(f"import site; site.addsitedir({shared!r})\n")
    (packages / "sitecustomize.py").write_text(SITECUSTOMIZE)


if __name__ == "__main__":
    create(Path(sys.argv[1]))
