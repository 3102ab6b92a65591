"""Strategies: every way to transfer, as a plan."""

from regraft.strategies.registry import STRATEGIES, find_strategy, plan_for
from regraft.strategies.strategy import Situation, Strategy

__all__ = ["STRATEGIES", "Situation", "Strategy", "find_strategy", "plan_for"]
