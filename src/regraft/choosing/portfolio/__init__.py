"""A few settings of fine-tuning that between them suit most pairs of source and target."""

from regraft.choosing.portfolio.changing import changes_for, changes_of
from regraft.choosing.portfolio.greedy import chosen, expected_regret
from regraft.choosing.portfolio.setting import Setting, portfolio, record

__all__ = ["Setting", "changes_for", "changes_of", "chosen", "expected_regret", "portfolio", "record"]
