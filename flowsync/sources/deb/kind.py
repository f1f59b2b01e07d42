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


def rule_for(options: DebOptions, path: str) -> str | None:
    """Return which option keeps a package out by its name, in words; `None` when none does."""
    from flowsync.sources.deb.cut.filters import Facts, Filters  # noqa: PLC0415 - see above

    package, version, _ = (*path.rpartition("/")[2].split("_", 2), "", "")[:3]
    if not version or not path.endswith((".deb", ".udeb", ".dsc")):
        return None
    rules = Filters(include=options.include, exclude=options.exclude)
    rule = rules.left_out_by(Facts(package))
    return None if rule is None else f"left out by `{rule}`"


SOURCE = SourceKind(
    name="deb",
    summary="An archive of Debian packages: the URL of its root, the folder that holds 'dists'. "
    "Which suites are taken say the options.",
    first_stage=first_stage,
    options=DebOptions,
    layout=LAYOUT,
    rule_for=rule_for,
)
