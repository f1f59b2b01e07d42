"""Repositories and their versions: opened, filled, completed, compared, deleted."""
