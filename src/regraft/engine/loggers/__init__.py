"""Loggers: what a run tells other programs beside its own ``history.jsonl``."""

from regraft.engine.loggers.opening import check_loggers, logging_to

__all__ = ["check_loggers", "logging_to"]
