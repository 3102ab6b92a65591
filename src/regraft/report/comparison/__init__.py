"""Finished runs side by side: what differs between them, and what of their figures can be told apart."""

from regraft.report.comparison._comparison import Comparison, compare_runs
from regraft.report.comparison._page import write_comparison_page

__all__ = ["Comparison", "compare_runs", "write_comparison_page"]
