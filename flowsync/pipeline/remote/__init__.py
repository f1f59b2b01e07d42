"""Segments of a pipeline that run in worker processes."""
