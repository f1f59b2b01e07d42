"""`flowsync export`: a version as a folder of files."""

import click

from flowsync import library
from flowsync.cli.interruption import run_async
from flowsync.cli.main import GlobalOptions
from flowsync.cli.output import format_bytes, tell
from flowsync.cli.settings import load
from flowsync.configuration import InstalledKinds


@click.command("export")
@click.argument("name")
@click.argument("folder", type=click.Path(file_okay=False, readable=False))
@click.option("--version", "number", type=int, help="Which version; by default the latest.")
@click.pass_obj
def command(place: GlobalOptions, name: str, folder: str, number: int | None) -> None:
    """Write a version of repository NAME out as FOLDER.

    FOLDER appears whole, in one step. It may be missing, empty, or an earlier export, which is
    replaced; anything else is left alone. Files are hard links to the store where that is possible,
    and copies otherwise. They are read-only, and every user may read them (modes 444, and 755 for
    folders), whatever the umask is. What clients of its kind need besides, such as the pages of an
    index of Python packages, is there too, so that any web server can serve FOLDER.
    """
    if not folder:
        raise click.UsageError("FOLDER is empty; for the current folder, name it: .")
    run_async(_export(place, name, folder, number))


async def _export(place: GlobalOptions, name: str, folder: str, number: int | None) -> None:
    async with load(place).engine() as engine:
        kinds = [*InstalledKinds().usable.values()]
        version, report = await library.export_version(engine, name, folder, number, kinds=kinds)
    tell(
        f"{folder}: version {version.number} of {name}, {report.files} files, "
        f"{format_bytes(report.bytes)} "
        f"({report.linked} linked, {report.copied} copied)"
    )
