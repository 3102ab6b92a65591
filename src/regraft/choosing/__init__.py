"""Choosing: which source stands to transfer well, and with which settings to train it."""
