"""``rg.compare``: finished runs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from regraft.report.comparison import Comparison, compare_runs, write_comparison_page

if TYPE_CHECKING:
    from regraft.engine import Run


def compare(runs: Sequence[Run | str | Path], *, out: str | Path | None = None) -> Comparison:
    """What differs between finished runs, and what of their figures can be told apart.

    Example::

        found = rg.compare(["runs/probe", "runs/lpft"], out="comparison.html")
        print(found.sentence)

    Final figures stand side by side where output, classes, metric and test part are the same; there
    differences to the first run are paired over test examples, with 95% intervals. These are about two
    models: whether a strategy is better over draws and seeds is what :func:`regraft.prove` says.

    Parameters
    ----------
    runs
        Two or more, or their folders.
    out
        Where to write a page that opens offline; none is written if not given.

    Returns
    -------
    Comparison
        With ``.sentence``, ``.groups``, ``.table()``, ``.to_json()``.

    Raises
    ------
    UsageError
        For fewer than two runs, and for one that is named twice.
    BundleError
        For a folder that holds no run, an unfinished or a damaged one.
    """
    found = compare_runs([run if isinstance(run, str | Path) else run.folder for run in runs])
    if out is not None:
        write_comparison_page(found, out)
    return found
