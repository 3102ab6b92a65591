"""Tracing: what a network does, operator by operator, read off its export."""
