"""`flowsync protect`: a version that stays."""

import click

from flowsync import library
from flowsync.cli.interruption import run_async
from flowsync.cli.main import GlobalOptions
from flowsync.cli.output import tell, tell_json
from flowsync.cli.settings import load


@click.command("protect")
@click.argument("name")
@click.argument("number", type=click.IntRange(min=0))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def command(place: GlobalOptions, name: str, number: int, as_json: bool) -> None:
    """Protect version NUMBER of repository NAME from deletion, by hand and by retain_versions,
    which does not count it either.
    """
    set_protection(place, name, number, protected=True, as_json=as_json)


def set_protection(
    place: GlobalOptions, name: str, number: int, *, protected: bool, as_json: bool
) -> None:
    """Protect a version or not, and tell."""
    run_async(_set_protection(place, name, number, protected))
    if as_json:
        facts = {"repository": name, "version": number, "protected": protected}
        tell_json(facts)
    else:
        tell(
            f"{name}: version {number} is {'protected' if protected else 'not protected any more'}"
        )


async def _set_protection(place: GlobalOptions, name: str, number: int, protected: bool) -> None:
    async with load(place).engine() as engine:
        if protected:
            await library.protect_version(engine, name, number)
        else:
            await library.unprotect_version(engine, name, number)
