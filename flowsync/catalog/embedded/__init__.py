"""A real PostgreSQL that flowsync starts in its own folder, shares between processes and stops after the last one."""

from flowsync.catalog.embedded.server import EmbeddedPostgres as EmbeddedPostgres
