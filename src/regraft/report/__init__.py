"""The report and the model card of a run, and pages of a link and of a ranking: from plain files."""

from regraft.report._card import write_card
from regraft.report._link import write_link_page
from regraft.report._page import write_report
from regraft.report._ranking import write_ranking_page

__all__ = ["write_card", "write_link_page", "write_ranking_page", "write_report"]
