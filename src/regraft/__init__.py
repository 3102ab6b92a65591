"""regraft: transfer learning that says what carries over and proves whether it helped.

Public names are imported when they are first used, so that ``import regraft`` is quick and loads no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_ERRORS = "regraft.core.errors"

_HOMES = {
    "Blueprint": "regraft.linking",
    "Board": "regraft.choosing.ranking",
    "Comparison": "regraft.report.comparison",
    "Evidence": "regraft.evidence",
    "ImagePreprocessing": "regraft.core.preprocessing",
    "Link": "regraft.linking",
    "Plan": "regraft.plans",
    "Predictor": "regraft.inference.predictor",
    "Proof": "regraft.linking",
    "Run": "regraft.engine",
    "Settings": "regraft.engine",
    "Source": "regraft.sources",
    "Target": "regraft.targets",
    "TextPreprocessing": "regraft.core.preprocessing",
    "compare": "regraft.api.compare",
    "evaluate": "regraft.api.evaluate",
    "export": "regraft.api.export",
    "features": "regraft.api.features",
    "fit": "regraft.api.fit",
    "link": "regraft.api.link",
    "plan": "regraft.api.plan",
    "prove": "regraft.api.prove",
    "rank": "regraft.api.rank",
    "replay": "regraft.api.replay",
    "resume": "regraft.api.fit",
    "transfer": "regraft.api.transfer",
    "BudgetError": _ERRORS,
    "BundleError": _ERRORS,
    "DataError": _ERRORS,
    "FullDiskError": _ERRORS,
    "LinkError": _ERRORS,
    "MissingPackageError": _ERRORS,
    "NonFiniteLossError": _ERRORS,
    "OfflineError": _ERRORS,
    "PlanError": _ERRORS,
    "RegraftError": _ERRORS,
    "ResumeError": _ERRORS,
    "SealedError": _ERRORS,
    "SourceError": _ERRORS,
    "TrainingError": _ERRORS,
    "UnreadableError": _ERRORS,
    "UnsafeFileError": _ERRORS,
    "UsageError": _ERRORS,
    "WorkerLostError": _ERRORS,
}
"""Where each public name lives. A name added here also goes to the imports below; a test compares the two."""

__all__ = ["__version__", *_HOMES]

if TYPE_CHECKING:  # the same names for type checkers, which cannot read the table
    from regraft.api.compare import compare as compare
    from regraft.api.evaluate import evaluate as evaluate
    from regraft.api.export import export as export
    from regraft.api.features import features as features
    from regraft.api.fit import fit as fit, resume as resume
    from regraft.api.link import link as link
    from regraft.api.plan import plan as plan
    from regraft.api.prove import prove as prove
    from regraft.api.rank import rank as rank
    from regraft.api.replay import replay as replay
    from regraft.api.transfer import transfer as transfer
    from regraft.choosing.ranking import Board as Board
    from regraft.core.errors import (
        BudgetError as BudgetError,
        BundleError as BundleError,
        DataError as DataError,
        FullDiskError as FullDiskError,
        LinkError as LinkError,
        MissingPackageError as MissingPackageError,
        NonFiniteLossError as NonFiniteLossError,
        OfflineError as OfflineError,
        PlanError as PlanError,
        RegraftError as RegraftError,
        ResumeError as ResumeError,
        SealedError as SealedError,
        SourceError as SourceError,
        TrainingError as TrainingError,
        UnreadableError as UnreadableError,
        UnsafeFileError as UnsafeFileError,
        UsageError as UsageError,
        WorkerLostError as WorkerLostError,
    )
    from regraft.core.preprocessing import (
        ImagePreprocessing as ImagePreprocessing,
        TextPreprocessing as TextPreprocessing,
    )
    from regraft.engine import Run as Run, Settings as Settings
    from regraft.evidence import Evidence as Evidence
    from regraft.inference.predictor import Predictor as Predictor
    from regraft.linking import Blueprint as Blueprint, Link as Link, Proof as Proof
    from regraft.plans import Plan as Plan
    from regraft.report.comparison import Comparison as Comparison
    from regraft.sources import Source as Source
    from regraft.targets import Target as Target


def __getattr__(name: str) -> Any:
    """Import a public name from its home and keep it."""
    if name not in _HOMES:
        raise AttributeError(f"module 'regraft' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, imported or not."""
    return __all__
