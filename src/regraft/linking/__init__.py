"""Linking: what carries over from a source to the target model, proven by running both."""

from regraft.linking.blueprint import Blueprint
from regraft.linking.coverage import Coverage
from regraft.linking.finding.search import find_link
from regraft.linking.grafted import Grafted, pool_pieces
from regraft.linking.link import Link
from regraft.linking.load import restore
from regraft.linking.proving.proof import Proof
from regraft.linking.row import Row

__all__ = [
    "Blueprint",
    "Coverage",
    "Grafted",
    "Link",
    "Proof",
    "Row",
    "find_link",
    "pool_pieces",
    "restore",
]
