"""A process that holds a server: tells when it is ready, lets go when its standard input closes,
tells whether it stopped the server.
"""

import json
import sys
from pathlib import Path

import psycopg

from flowsync.embedded_postgres.server import EmbeddedPostgres

server = EmbeddedPostgres(Path(sys.argv[1]))
server.start(timeout=40.0)
with psycopg.connect(server.conninfo()) as connection:
    row = connection.execute("SELECT pg_postmaster_start_time()::text").fetchone()
print(json.dumps({"started": row and row[0], "folder": str(server.data_folder)}), flush=True)
sys.stdin.read()
print(json.dumps({"stopped": server.stop()}), flush=True)
