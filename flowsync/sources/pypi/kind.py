"""What the pypi source tells about itself. It loads neither the stage nor `packaging`: the help of
the command line and every server read it.
"""

from datetime import UTC, datetime

from flowsync import Remote, SourceKind, Stage
from flowsync.sources.pypi.layout import LAYOUT
from flowsync.sources.pypi.options import PypiOptions


def first_stage(remote: Remote, options: PypiOptions) -> Stage:
    """Return the first stage of a sync."""
    from flowsync.sources.pypi.stage import PypiFirstStage  # noqa: PLC0415 - see above

    return PypiFirstStage(remote, options)


def rule_for(options: PypiOptions, path: str) -> str | None:
    """Return which option keeps a path out, in words; `None` when none does by names alone."""
    from flowsync.sources.pypi.requirements import read_wanted  # noqa: PLC0415 - see above
    from flowsync.sources.pypi.selection import Selection  # noqa: PLC0415 - see above

    rules = Selection(options, read_wanted(options), datetime.now(UTC))
    refusal = rules.refusal_of_path(path)
    return None if refusal is None else refusal.in_words()


SOURCE = SourceKind(
    name="pypi",
    summary="An index of Python packages: the URL of its list of projects, such as "
    "'https://example.org/simple/'. Which projects are taken say the options.",
    first_stage=first_stage,
    options=PypiOptions,
    layout=LAYOUT,
    rule_for=rule_for,
)
