"""A way to the database on which answers get lost: what was asked is done, and the connection
breaks before anybody hears of it.

It speaks as much of PostgreSQL's protocol
(https://www.postgresql.org/docs/current/protocol-message-formats.html) as is needed to know which
statement runs, and when it has been answered.
"""

import asyncio
import struct
from contextlib import suppress
from typing import Any, Final

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.upstream.loopback import LoopbackServer

_POOLED: Final = "SET enable_seqscan"
"""What only sessions of the pool say."""


class CuttingProxy(LoopbackServer):
    """Stands before the server of `conninfo`. On sessions of the pool, the first answer to each
    statement outside a transaction gets lost, and the first one to `COMMIT`.
    """

    def __init__(self, conninfo: str) -> None:
        super().__init__()
        self.lost: list[str] = []
        """The statements whose answers got lost, in order."""
        self._settings: dict[str, Any] = conninfo_to_dict(conninfo)

    @property
    def conninfo(self) -> str:
        """Where the database is found through this proxy."""
        here = {"host": "127.0.0.1", "port": str(self.port)}
        plain = {"sslmode": "disable", "gssencmode": "disable"}
        return make_conninfo(**{**self._settings, **here, **plain})

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await self._connect()
        session = _Session(self.lost)
        tasks = [
            asyncio.create_task(session.pass_questions(reader, server_writer)),
            asyncio.create_task(session.pass_answers(server_reader, writer)),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            server_writer.transport.abort()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, port = str(self._settings["host"]), str(self._settings.get("port", 5432))
        if host.startswith("/"):
            return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        return await asyncio.open_connection(host, int(port))


class _Session:
    def __init__(self, lost: list[str]) -> None:
        self._lost = lost
        self._prepared: dict[bytes, str] = {}
        self._pooled = False
        self._idle = True
        self._losing = False

    async def pass_questions(
        self, client: asyncio.StreamReader, server: asyncio.StreamWriter
    ) -> None:
        head = await client.readexactly(4)
        server.write(head + await client.readexactly(struct.unpack("!I", head)[0] - 4))
        while True:
            kind, body = await _message(client)
            if kind == b"P":
                name, sql = body.split(b"\0")[:2]
                self._prepared[name] = sql.decode()
            elif kind == b"B":
                self._runs(self._prepared[body.split(b"\0")[1]])
            elif kind == b"Q":
                self._runs(body.rstrip(b"\0").decode())
            server.write(kind + struct.pack("!I", len(body) + 4) + body)

    async def pass_answers(
        self, server: asyncio.StreamReader, client: asyncio.StreamWriter
    ) -> None:
        with suppress(asyncio.IncompleteReadError):
            while True:
                kind, body = await _message(server)
                if kind == b"Z":
                    self._idle = body == b"I"
                    if self._losing:
                        return
                if not self._losing:
                    client.write(kind + struct.pack("!I", len(body) + 4) + body)

    def _runs(self, sql: str) -> None:
        self._pooled = self._pooled or _POOLED in sql
        alone = self._idle and sql and not sql.startswith("BEGIN") and _POOLED not in sql
        if self._pooled and (alone or sql == "COMMIT") and sql not in self._lost:
            self._lost.append(sql)
            self._losing = True


async def _message(stream: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await stream.readexactly(5)
    return head[:1], await stream.readexactly(struct.unpack("!I", head[1:])[0] - 4)
