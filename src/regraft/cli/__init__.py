"""The command line."""

from regraft.cli.app import main

__all__ = ["main"]
