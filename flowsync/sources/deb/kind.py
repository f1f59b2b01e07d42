"""What the deb source tells about itself. It loads neither OpenPGP nor the stage: the help of the
command line and every server read it.
"""

from flowsync import Remote, SourceKind, Stage
from flowsync.sources.deb.layout import LAYOUT
from flowsync.sources.deb.options import DebOptions


def first_stage(remote: Remote, options: DebOptions) -> Stage:
    """Return the first stage of a sync."""
    from flowsync.sources.deb.stage import DebFirstStage  # noqa: PLC0415 - see above

    return DebFirstStage(remote, options)


SOURCE = SourceKind(
    name="deb",
    summary="An archive of Debian packages: the URL of its root, the folder that holds 'dists'. "
    "Which suites are taken say the options.",
    first_stage=first_stage,
    options=DebOptions,
    layout=LAYOUT,
)
