"""The server to compare with: aiohttp and its own `FileResponse` over a folder, with nothing looked
up. `python -m bench.serving.bare FOLDER`.
"""

import asyncio
import sys
from pathlib import Path

import uvloop
from aiohttp import web


async def serve(folder: Path) -> None:
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        return web.FileResponse(folder / request.path[1:])

    server = web.Server(handle, access_log=None)
    listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/", flush=True)
    await listening.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1])))
