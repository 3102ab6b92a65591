"""Combine rules: how the gradients of several terms become one step."""

from regraft.terms.combine.base import Combined, CombineRule, Moment, Sum
from regraft.terms.combine.gradnorm import GradNorm, balanced_weights
from regraft.terms.combine.pcgrad import PCGrad, project_conflicts

__all__ = [
    "CombineRule",
    "Combined",
    "GradNorm",
    "Moment",
    "PCGrad",
    "Sum",
    "balanced_weights",
    "project_conflicts",
]
