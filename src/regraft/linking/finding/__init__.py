"""Finding: which source tensor goes where, best evidence first."""
