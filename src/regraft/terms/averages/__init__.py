"""Averages: weights made of the weights that several stages left."""

from regraft.terms.averages.average import Average, AverageRule, Blocks, Judge, Judged, Weights
from regraft.terms.averages.greedy import Greedy
from regraft.terms.averages.interpolation import Interpolation, interpolate
from regraft.terms.averages.layers import Layers
from regraft.terms.averages.mean import Mean, mean_weights

__all__ = [
    "Average",
    "AverageRule",
    "Blocks",
    "Greedy",
    "Interpolation",
    "Judge",
    "Judged",
    "Layers",
    "Mean",
    "Weights",
    "interpolate",
    "mean_weights",
]
