"""The upstream's server: nginx where it is installed, otherwise a small one of our own; always a
process of its own, on loopback.

One nginx worker with sendfile and no log is as good as a static server gets on few cores. Without
nginx the figures of the contenders still compare with each other, but the server takes more of the
machine.
"""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from aiohttp import web

from bench.syncs.index import PAGE, SERIAL

_PATIENCE: Final = 20.0

_NGINX: Final = """
daemon off;
pid {place}/nginx.pid;
error_log {place}/error.log;
worker_processes 1;
{user}
events {{ worker_connections 4096; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000;
    client_body_temp_path {place}/body;
    proxy_temp_path {place}/proxy;
    fastcgi_temp_path {place}/fastcgi;
    uwsgi_temp_path {place}/uwsgi;
    scgi_temp_path {place}/scgi;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        root {root};
        absolute_redirect off;
        location /simple/ {{
            index {page};
            default_type application/vnd.pypi.simple.v1+json;
            types {{ }}
            add_header X-PyPI-Last-Serial {serial};
        }}
        location /pypi/ {{
            default_type application/json;
            types {{ }}
            add_header X-PyPI-Last-Serial {serial};
        }}
    }}
}}
"""


def server_name() -> str:
    """Return which server `serving` would start."""
    return "nginx" if _nginx() else "aiohttp"


@contextmanager
def serving(root: Path, place: Path) -> Iterator[str]:
    """Serve the files below `root` and give the URL, without a slash at the end; `place` takes what
    the server writes.
    """
    place.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    nginx = _nginx()
    if nginx:
        user = "user root;" if os.geteuid() == 0 else ""
        (place / "nginx.conf").write_text(
            _NGINX.format(place=place, port=port, root=root, user=user, page=PAGE, serial=SERIAL)
        )
        command = [nginx, "-c", str(place / "nginx.conf")]
    else:
        command = [sys.executable, "-m", "bench.syncs.web", str(root), str(port)]
    with open(place / "server.log", "wb") as log, subprocess.Popen(command, stderr=log) as process:
        try:
            _wait_until_it_listens(port, process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def _nginx() -> str | None:
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _wait_until_it_listens(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


async def _serve(root: str, port: int) -> None:
    app = web.Application()
    app.router.add_static("/", root)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], int(sys.argv[2])))
