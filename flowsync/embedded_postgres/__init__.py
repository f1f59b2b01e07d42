"""A real PostgreSQL that flowsync starts in its own folder, shares between processes and stops
after the last one.
"""
