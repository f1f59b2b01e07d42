"""Versions written out as folders of files."""
