"""Evidence: final figures, trials, contrasts and the verdict. The only room that reads test labels."""

from regraft.evidence.arms import Arm, ArmResult
from regraft.evidence.baseline import BaselineArm
from regraft.evidence.calibration import Temperature
from regraft.evidence.figures import Closer, final_figures
from regraft.evidence.judge import judge
from regraft.evidence.ledger import Ledger
from regraft.evidence.table import evidence_table
from regraft.evidence.trained import TrainedArm
from regraft.evidence.trials import Trials, run_trials
from regraft.evidence.verdict import Evidence

__all__ = [
    "Arm",
    "ArmResult",
    "BaselineArm",
    "Closer",
    "Evidence",
    "Ledger",
    "Temperature",
    "TrainedArm",
    "Trials",
    "evidence_table",
    "final_figures",
    "judge",
    "run_trials",
]
