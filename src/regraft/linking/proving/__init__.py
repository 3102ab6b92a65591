"""Proving: both networks run side by side, and the reason where they differ."""
