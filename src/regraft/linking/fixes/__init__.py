"""Fixes: hyper-parameters of the target that are set so that it computes what the source does."""
