"""Showing: a link as tables and as what a drawing needs."""
