"""An upstream that answers with the very bytes that a test gives it."""

import asyncio
import threading
from collections.abc import Sequence

from tests.upstream.exchange import Seen, read_request
from tests.upstream.loopback import LoopbackServer


class RawUpstream(LoopbackServer):
    """Answers each request of a path with the pieces given for it, each in a segment of its own,
    and keeps the connection open.

    With `close`, the connection ends after the last piece. A path of which several answers are
    given gets them in turn, the last one again and again.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Seen] = []
        self._answers: dict[str, list[tuple[Sequence[bytes], bool]]] = {}
        self._ended = 0
        self._changed = threading.Condition()

    def say(self, path: str, *pieces: bytes, close: bool = False) -> str:
        """Add an answer for the requests of `path`, and return its URL."""
        self._answers.setdefault(path, []).append((pieces, close))
        return self.url(path)

    def forget(self, path: str) -> None:
        """Give no answer of `path` any more."""
        self._answers.pop(path, None)

    def url(self, path: str = "/") -> str:
        return f"http://localhost:{self.port}{path}"

    def count(self, path: str) -> int:
        """Return how often `path` was asked for."""
        return sum(seen.target == path for seen in self.seen)

    def wait_for_ends(self, count: int, timeout: float = 20.0) -> None:
        """Block until so many connections have ended. In a coroutine: `await
        asyncio.to_thread(...)`.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._ended >= count, timeout):
                raise TimeoutError(f"{self._ended} connections ended, not {count}")

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._answer(reader, writer)
        finally:
            with self._changed:
                self._ended += 1
                self._changed.notify_all()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            seen = await read_request(reader)
            self.seen.append(seen)
            answers = self._answers[seen.target]
            pieces, close = answers.pop(0) if len(answers) > 1 else answers[0]
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                # Lets the piece go out on its own.
                await asyncio.sleep(0.001)
            if close:
                return


def answer(*lines: str | bytes, body: bytes = b"", status: str = "200 OK") -> bytes:
    """Return an answer with header lines and body; a `Content-Length` is among the lines where it
    is wanted.
    """
    head = [f"HTTP/1.1 {status}".encode("latin-1")]
    head += [line if isinstance(line, bytes) else line.encode("latin-1") for line in lines]
    return b"\r\n".join([*head, b"", body])
