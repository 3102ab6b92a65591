"""Ranking sources: a cascade that looks as long as it has to, and a board with its decision."""

from regraft.choosing.ranking.board import Board
from regraft.choosing.ranking.candidate import Candidate, Failure
from regraft.choosing.ranking.ranking import rank_candidates
from regraft.choosing.ranking.row import DECISIONS, Row

__all__ = ["DECISIONS", "Board", "Candidate", "Failure", "Row", "rank_candidates"]
