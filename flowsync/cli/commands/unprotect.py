"""`flowsync unprotect`: a version that may be deleted again."""

import click

from flowsync.cli.commands.protect import set_protection
from flowsync.cli.main import GlobalOptions


@click.command("unprotect")
@click.argument("name")
@click.argument("number", type=click.IntRange(min=0))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def command(place: GlobalOptions, name: str, number: int, as_json: bool) -> None:
    """Let version NUMBER of repository NAME be deleted again, by hand, or by retain_versions with
    the next version.
    """
    set_protection(place, name, number, protected=False, as_json=as_json)
