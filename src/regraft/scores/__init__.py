"""How well a source should transfer, from its features of a target: scores that share one decomposition."""

from regraft.scores.examples import Examples
from regraft.scores.features import Features
from regraft.scores.registry import SCORES, find_score
from regraft.scores.ridge import LeaveOneOut, ridge
from regraft.scores.score import Score

__all__ = ["SCORES", "Examples", "Features", "LeaveOneOut", "Score", "find_score", "ridge"]
