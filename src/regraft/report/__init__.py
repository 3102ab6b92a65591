"""The report and the model card of a run: written from the files of its folder, and from nothing else."""

from regraft.report._card import write_card
from regraft.report._page import write_report

__all__ = ["write_card", "write_report"]
