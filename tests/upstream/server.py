"""An upstream on loopback that misbehaves on request.

A path has a body (`put`), or is a file below a folder (`serve`). A script (`script`) says what
happens to the next requests of a path, one behaviour each; after it, and without one, the upstream
behaves well. Everything it saw and sent is counted by path.
"""

import asyncio
import hashlib
import ssl
import threading
from collections import deque
from collections.abc import Callable, Mapping
from email.utils import formatdate
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tests.upstream.behaviours import Behaviour, Good
from tests.upstream.exchange import Exchange, Resource, Seen, client_name, read_request
from tests.upstream.loopback import LoopbackServer

LAST_MODIFIED = "Mon, 06 Jan 2025 10:00:00 GMT"


class Upstream(LoopbackServer):
    """An HTTP server; `tls` makes it one for https. Used as a context; its methods may be called
    from any thread.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(tls)
        self.seen: list[Seen] = []
        self.peak = 0
        """The most requests that were under way at once."""
        self._bodies: dict[str, Resource] = {}
        self._folder: tuple[str, Path] | None = None
        self._scripts: dict[str, deque[Behaviour]] = {}
        self._always: dict[str, Behaviour] = {}
        self._changed = threading.Condition()
        self._running = 0
        self._released = asyncio.Event()

    # --- what it has, and how it behaves ---

    def put(
        self,
        path: str,
        body: bytes,
        *,
        etag: str | None = "strong",
        last_modified: str | None = LAST_MODIFIED,
        content_type: str = "application/octet-stream",
        headers: Mapping[str, str] | None = None,
    ) -> str:
        """Give `path` a body and return its URL. `etag` "strong" and "weak" are made from the body;
        `None` sends none. `headers` are sent besides.
        """
        tag = hashlib.sha256(body).hexdigest()[:16]
        tags = {"strong": f'"{tag}"', "weak": f'W/"{tag}"', None: None}
        self._bodies[path] = Resource(
            body=body,
            etag=tags[etag],
            last_modified=last_modified,
            content_type=content_type,
            headers=headers or {},
        )
        return self.url(path)

    def serve(self, folder: Path, at: str = "/") -> str:
        """Serve the files below `folder` as they are at the time of each request, and return the
        URL of `at`.
        """
        self._folder = (at, folder)
        return self.url(at)

    def script(self, path: str, *behaviours: Behaviour) -> None:
        """Say what happens to the next requests of `path`."""
        self._scripts[path] = deque(behaviours)

    def always(self, path: str, behaviour: Behaviour) -> None:
        """Say what happens to all requests of `path` that no script covers."""
        self._always[path] = behaviour

    def release(self) -> None:
        """Let all requests that are on `Hold` be answered, and all later ones at once."""
        self._loop.call_soon_threadsafe(self._released.set)

    # --- what it saw ---

    def url(self, path: str = "/") -> str:
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://localhost:{self.port}{path}"

    def requests(self, path: str | None = None) -> list[Seen]:
        """Return the requests of `path`, or all, in order of arrival."""
        return [seen for seen in list(self.seen) if path in {None, _path(seen)}]

    def count(self, path: str | None = None) -> int:
        # Without a path in one step: tests that wait for a number ask all the time.
        return len(self.seen if path is None else self.requests(path))

    def sent(self, path: str | None = None) -> int:
        """Return how many bytes of body were sent."""
        return sum(seen.sent for seen in self.requests(path))

    def wait_for(self, count: int, path: str | None = None, timeout: float = 20.0) -> None:
        """Block until `count` requests have arrived. In a coroutine: `await
        asyncio.to_thread(upstream.wait_for, 3)`.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self.count(path) >= count, timeout):
                raise TimeoutError(f"{self.count(path)} requests of {path} came, not {count}")

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await self._exchange(reader, writer):
            pass

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        seen = await read_request(reader)
        seen.client = client_name(writer)
        path = _path(seen)
        with self._changed:
            self.seen.append(seen)
            self._running += 1
            self.peak = max(self.peak, self._running)
            behaviour = self._next_behaviour(path)
            self._changed.notify_all()
        exchange = Exchange(
            seen, self._find(path), reader, writer, self._released, self._replacer(path)
        )
        try:
            await behaviour.play(exchange)
        finally:
            with self._changed:
                self._running -= 1
        return not exchange.closed

    def _next_behaviour(self, path: str) -> Behaviour:
        script = self._scripts.get(path)
        if script:
            return script.popleft()
        return self._always.get(path, Good())

    def _replacer(self, path: str) -> Callable[[bytes], Resource]:
        def replace(body: bytes) -> Resource:
            self.put(path, body)
            return self._bodies[path]

        return replace

    def _find(self, path: str) -> Resource | None:
        if path in self._bodies or self._folder is None:
            return self._bodies.get(path)
        at, folder = self._folder
        file = folder / unquote(path.removeprefix(at)).lstrip("/")
        if not path.startswith(at) or not file.is_file():
            return None
        state = file.stat()
        return Resource(
            body=file.read_bytes(),
            etag=f'"{state.st_mtime_ns:x}-{state.st_size:x}"',
            last_modified=formatdate(state.st_mtime, usegmt=True),
        )


def _path(seen: Seen) -> str:
    return urlsplit(seen.target).path
