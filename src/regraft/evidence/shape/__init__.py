"""The shape of the data: the three hard cases, each found before training and said with its number."""

from regraft.evidence.shape.few_labels import few_labels
from regraft.evidence.shape.finding import Finding
from regraft.evidence.shape.gain import Gain, features_gain
from regraft.evidence.shape.too_big import too_big

__all__ = ["Finding", "Gain", "features_gain", "few_labels", "too_big"]
