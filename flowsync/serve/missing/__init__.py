"""Bytes that a served version has only the sources of: fetched when they are asked for."""
