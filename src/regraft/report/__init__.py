"""The report and the model card of a run, and the page of a link: written from plain files and values."""

from regraft.report._card import write_card
from regraft.report._link import write_link_page
from regraft.report._page import write_report

__all__ = ["write_card", "write_link_page", "write_report"]
