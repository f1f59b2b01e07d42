"""The engine: owner of what a process shares between its syncs."""
