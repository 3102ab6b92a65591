"""How far the target's examples are from the source's own, in the features of one network."""

from regraft.scores.distances.domains import Domains
from regraft.scores.distances.registry import DISTANCES, Distance, find_distance

__all__ = ["DISTANCES", "Distance", "Domains", "find_distance"]
