"""Evidence: final figures, trials, contrasts and the verdict. The only room that reads test labels."""

from regraft.evidence.arms import Arm, ArmResult
from regraft.evidence.baseline import BaselineArm
from regraft.evidence.calibration import Temperature
from regraft.evidence.curve_trials import CurveTrials, check_points, run_curve
from regraft.evidence.figures import Closer, figures_and_values, final_figures
from regraft.evidence.judge import choose_reference, judge
from regraft.evidence.ledger import Ledger
from regraft.evidence.selection import Selection, fresh_seeds
from regraft.evidence.table import curve_table, evidence_table
from regraft.evidence.trained import TrainedArm
from regraft.evidence.trials import Trials, run_trials
from regraft.evidence.verdict import Evidence

__all__ = [
    "Arm",
    "ArmResult",
    "BaselineArm",
    "Closer",
    "CurveTrials",
    "Evidence",
    "Ledger",
    "Selection",
    "Temperature",
    "TrainedArm",
    "Trials",
    "check_points",
    "choose_reference",
    "curve_table",
    "evidence_table",
    "figures_and_values",
    "final_figures",
    "fresh_seeds",
    "judge",
    "run_curve",
    "run_trials",
]
