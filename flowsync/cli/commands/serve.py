"""`flowsync serve`: versions over HTTP."""

import asyncio

import click

from flowsync.cli.alternates import register
from flowsync.cli.interruption import run_until_stopped
from flowsync.cli.kinds import metadata_files
from flowsync.cli.output import tell
from flowsync.cli.place import Place
from flowsync.cli.plans import find_remote
from flowsync.cli.settings import load
from flowsync.serve.app import ContentServer

_DEFAULT = "127.0.0.1:8080"


@click.command("serve")
@click.option(
    "--bind",
    default=_DEFAULT,
    show_default=True,
    metavar="HOST:PORT",
    help="Where to listen; port 0 takes a free one. Several processes may share one address.",
)
@click.pass_obj
def command(place: Place, bind: str) -> None:
    """Serve all repositories over HTTP, read-only, until stopped.

    \b
    http://HOST:PORT/NAME/PATH      the newest version
    http://HOST:PORT/NAME@3/PATH    version 3
    http://HOST:PORT/NAME@2026-11-23T10:00:00Z/PATH    the newest at that time
    http://HOST:PORT/-/health and /-/metrics           for those who watch it

    Credentials of the settings file are read once, at the start. It has no encryption and asks nobody who they are: let a proxy do that. SIGTERM and
    Ctrl-C let running answers end.
    """  # noqa: D301 - the \b is meant: click does not wrap the paragraph behind it
    host, port = _split(bind)
    run_until_stopped(_serve(place, host, port))


async def _serve(place: Place, host: str, port: int) -> None:
    configuration = load(place)
    async with configuration.engine() as engine:
        await register(engine, configuration.file)
        try:
            server = ContentServer(
                engine,
                host=host,
                port=port,
                metadata=metadata_files(),
                find_remote=find_remote(configuration.file),
                reuse_port=port != 0,
            )
            async with server:
                for address, number in server.addresses:
                    shown = f"[{address}]" if ":" in address else address
                    tell(f"serving {engine.home} at http://{shown}:{number}/")
                await asyncio.get_running_loop().create_future()
        except OSError as error:
            raise click.ClickException(
                f"cannot listen at {host}:{port}: {error.strerror}"
            ) from error


def _split(bind: str) -> tuple[str, int]:
    host, colon, port = bind.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise click.UsageError(f"--bind must be HOST:PORT, found {bind!r}")
    return host.removeprefix("[").removesuffix("]"), int(port)
