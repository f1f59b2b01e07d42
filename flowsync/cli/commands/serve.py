"""`flowsync serve`: versions over HTTP."""

import asyncio
import re
from typing import Final

import click

from flowsync.cli.interruption import run_until_stopped
from flowsync.cli.main import GlobalOptions
from flowsync.cli.output import complain, tell
from flowsync.cli.settings import load
from flowsync.configuration import InstalledKinds, find_remote, register_alternates
from flowsync.serve.app import ContentServer

_LOOPBACK: Final = "127.0.0.1"
_DEFAULT: Final = f"{_LOOPBACK}:8080"
_BIND: Final = re.compile(
    r"(?:(?:\[(?P<ipv6>[0-9A-Fa-f:.]+(?:%[^\s\]]+)?)\]|(?P<host>[^\s:\[\]/]*))(?P<colon>:))?"
    r"(?P<port>[0-9]{1,5})",
    re.ASCII,
)


@click.command("serve")
@click.option(
    "--bind",
    metavar="[HOST:]PORT",
    help="Where to listen: HOST:PORT, [IPV6]:PORT, :PORT for all addresses, or PORT for this "
    "machine alone. Port 0 takes a free one. By default what [serve] of the settings says, or "
    f"{_DEFAULT}.",
)
@click.option(
    "--share-port",
    is_flag=True,
    help="Let several processes that serve this home listen at one address.",
)
@click.pass_obj
def command(place: GlobalOptions, bind: str | None, share_port: bool) -> None:
    """Serve all repositories over HTTP, read-only, until stopped.

    \b
    http://HOST:PORT/NAME/PATH      the newest version
    http://HOST:PORT/NAME@3/PATH    version 3
    http://HOST:PORT/NAME@2026-11-23T10:00:00Z/PATH    the newest at that time
    http://HOST:PORT/-/health and /-/metrics           for those who watch it

    Credentials of the settings file are read once, at the start. It has no encryption and asks
    nobody who they are: let a proxy do that. SIGTERM and Ctrl-C let running answers end.
    """  # noqa: D301 - the \b is meant: click does not wrap the paragraph behind it
    if bind is not None:
        _split(bind, "--bind")
    run_until_stopped(_serve(place, bind, share_port=share_port))


async def _serve(place: GlobalOptions, bind: str | None, *, share_port: bool) -> None:
    configuration = load(place)
    settings = configuration.serve(bind)
    at = _DEFAULT if settings.bind is None else settings.bind
    host, port = _split(at, f"{configuration.file.path}: serve.bind")
    async with configuration.engine() as engine:
        await register_alternates(engine, configuration.file)
        kinds = InstalledKinds()
        for reason in kinds.unusable.values():
            complain(f"warning: {reason}")
        try:
            server = ContentServer(
                engine,
                host=host,
                port=port,
                kinds=[*kinds.usable.values()],
                find_remote=find_remote(configuration.file),
                share_port=share_port and port != 0,
                url=settings.url,
            )
            async with server:
                for address, number in server.addresses:
                    tell(f"serving {engine.home} at http://{_shown(address)}:{number}/")
                await asyncio.get_running_loop().create_future()
        except OSError as error:
            raise click.ClickException(
                f"cannot listen at {_shown(host)}:{port}: {error.strerror}"
            ) from error


def _split(bind: str, where: str) -> tuple[str, int]:
    """Return host and port; the host is empty where all addresses are meant."""
    found = _BIND.fullmatch(bind)
    if found is None or int(found["port"]) > 65535:
        raise click.UsageError(f"{where} must be HOST:PORT, :PORT or PORT, found {bind!r}")
    if found["colon"] is None:
        return _LOOPBACK, int(found["port"])
    return found["ipv6"] or found["host"] or "", int(found["port"])


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
