"""What the pypi source tells about itself. It loads neither the stage nor `packaging`: the help of
the command line and every server read it.
"""

from flowsync import Remote, SourceKind, Stage
from flowsync.sources.pypi.layout import LAYOUT
from flowsync.sources.pypi.options import PypiOptions


def first_stage(remote: Remote, options: PypiOptions) -> Stage:
    """Return the first stage of a sync."""
    from flowsync.sources.pypi.stage import PypiFirstStage  # noqa: PLC0415 - see above

    return PypiFirstStage(remote, options)


SOURCE = SourceKind(
    name="pypi",
    summary="An index of Python packages: the URL of its list of projects, such as "
    "'https://example.org/simple/'. Which projects are taken say the options.",
    first_stage=first_stage,
    options=PypiOptions,
    layout=LAYOUT,
)
