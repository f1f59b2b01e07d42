"""Answers from the store, from folders, and from metadata that is made of versions."""
