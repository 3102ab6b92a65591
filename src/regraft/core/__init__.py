"""Errors, hashing, randomness, files, console and the small nouns that every floor shares."""
