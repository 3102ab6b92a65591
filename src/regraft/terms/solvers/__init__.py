"""Solvers: heads in closed form, or convex, from features of frozen layers."""

from regraft.terms.solvers.base import DEFAULT_GRID, Solution
from regraft.terms.solvers.logistic import solve_logistic
from regraft.terms.solvers.ridge import solve_ridge

__all__ = ["DEFAULT_GRID", "Solution", "solve_logistic", "solve_ridge"]
