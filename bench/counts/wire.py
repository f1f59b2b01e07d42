"""A wire to PostgreSQL that counts: a proxy on loopback, in a thread of its own, between a client
and its server.

It counts what is said (`frontend.py`), so the program that is counted needs no hook, and statements
it runs round its own counters are not missed.
"""

import asyncio
from typing import Final

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from bench.counts.frontend import Frontend, Tally
from tests.upstream.loopback import LoopbackServer

_CHUNK: Final = 1 << 16


class Wire(LoopbackServer):
    """Takes connections for the server of `server_conninfo` while its context lasts; `conninfo`
    goes through it. All of them count for `tally`.
    """

    def __init__(self, server_conninfo: str) -> None:
        super().__init__()
        self.tally = Tally()
        self._server_conninfo = server_conninfo

    @property
    def conninfo(self) -> str:
        """The conninfo that leads to the server through here."""
        return make_conninfo(
            self._server_conninfo,
            host="127.0.0.1",
            hostaddr="",
            port=self.port,
            sslmode="disable",
            gssencmode="disable",
        )

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, questions = await self._connect()
        frontend = Frontend(self.tally)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_pump(answers, writer))
                while data := await reader.read(_CHUNK):
                    # Counted before the server can answer: whoever has an answer finds it counted.
                    frontend.feed(data)
                    questions.write(data)
                    await questions.drain()
                questions.write_eof()
        finally:
            questions.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        server = conninfo_to_dict(self._server_conninfo)
        host, port = str(server.get("host") or "localhost"), int(server.get("port") or 5432)
        if host.startswith("/"):
            return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        return await asyncio.open_connection(host, port)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_CHUNK):
        writer.write(data)
        await writer.drain()
