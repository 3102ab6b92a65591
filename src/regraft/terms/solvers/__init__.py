"""Solvers: heads in closed form, or convex, from features of frozen layers."""

from regraft.terms.solvers.base import DEFAULT_GRID, Solution
from regraft.terms.solvers.calibration import Calibration, solve_temperature
from regraft.terms.solvers.centroid import solve_centroid
from regraft.terms.solvers.logistic import solve_logistic
from regraft.terms.solvers.neighbours import Neighbours, solve_neighbours
from regraft.terms.solvers.ridge import solve_ridge

__all__ = [
    "DEFAULT_GRID",
    "Calibration",
    "Neighbours",
    "Solution",
    "solve_centroid",
    "solve_logistic",
    "solve_neighbours",
    "solve_ridge",
    "solve_temperature",
]
