"""What can be set of a sync from a Debian archive."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from flowsync.selection import seconds_of

IndexKind = Literal[
    "packages", "sources", "translations", "contents", "dep11", "cnf", "udebs", "installer"
]

_Word = Annotated[str, Meta(title="word", pattern=r"^[!-~]{1,200}$")]

_FILTERS: Final = (
    "include",
    "exclude",
    "sections",
    "exclude_sections",
    "priorities",
    "latest",
    "with_dependencies",
)


class DebOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Which suites of an archive are taken, who signs them, and what of them is kept.

    With a filter or `sign` the mirror's indexes are its own; otherwise they are upstream's, byte
    for byte. Raises `ValueError` for options that contradict each other.
    """

    suites: Annotated[
        tuple[_Word, ...],
        Meta(
            min_length=1,
            description="The suites that are taken, as they stand in the address: 'bookworm', "
            "'bookworm-updates'. One that ends with a slash is a folder without 'dists', such as "
            "'./'.",
        ),
    ]
    components: Annotated[
        tuple[_Word, ...],
        Meta(description="The components that are taken, such as 'main'. None means all."),
    ] = ()
    architectures: Annotated[
        tuple[_Word, ...],
        Meta(
            description="The architectures that are taken, such as 'amd64'; packages for all "
            "architectures come with each. None means all."
        ),
    ] = ()
    indices: Annotated[
        tuple[IndexKind, ...],
        Meta(
            min_length=1,
            description="The kinds of indexes that are taken, with the files that they list.",
        ),
    ] = ("packages", "translations", "dep11", "cnf")
    keyring: Annotated[
        str | None,
        Meta(
            description="The certificates that may sign the suites: the path of a file, or "
            "armoured text. An archive's own keyring package has them.",
            extra_json_schema={"format": "path"},
        ),
    ] = None
    verify: Annotated[
        bool,
        Meta(description="Whether suites must be signed. If not, any upstream is believed."),
    ] = True
    allow_expired_keys: Annotated[
        bool,
        Meta(description="Whether a key may have expired since, as those of old suites have."),
    ] = False
    check_valid_until: Annotated[
        bool,
        Meta(description="Whether a suite that is no longer valid is refused."),
    ] = True
    include: Annotated[
        tuple[_Word, ...],
        Meta(description="Names, or patterns of names, of packages. Others are left out."),
    ] = ()
    exclude: Annotated[
        tuple[_Word, ...],
        Meta(description="Names, or patterns of names, of packages that are left out."),
    ] = ()
    sections: Annotated[
        tuple[_Word, ...],
        Meta(description="Sections, such as 'net'. Packages of others are left out."),
    ] = ()
    exclude_sections: Annotated[
        tuple[_Word, ...],
        Meta(description="Sections of which packages are left out."),
    ] = ()
    priorities: Annotated[
        tuple[_Word, ...],
        Meta(description="Priorities, such as 'required'. Packages of others are left out."),
    ] = ()
    latest: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="How many versions of a package are kept for each architecture."),
    ] = None
    with_dependencies: Annotated[
        bool,
        Meta(
            description="Whether packages stay that those which are kept depend on, whatever "
            "'include', 'sections' and 'priorities' say."
        ),
    ] = False
    sign: Annotated[
        str | None,
        Meta(
            description="The key that signs the mirror's own suites: the path of a file, or "
            "'env:NAME' for armoured text in a variable of the environment.",
            extra_json_schema={"format": "path"},
        ),
    ] = None
    valid_for: Annotated[
        str | None,
        Meta(
            description="How long a suite that the mirror signs is valid, such as '14d'. Without "
            "it, it does not end."
        ),
    ] = None

    def __post_init__(self) -> None:
        if self.verify and self.keyring is None:
            raise ValueError(
                "no 'keyring' says who may sign the suites; give one, or set verify = false to "
                "believe any upstream"
            )
        if len(set(self.suites)) != len(self.suites):
            raise ValueError(f"a suite is named twice: {', '.join(self.suites)}")
        for suite in self.suites:
            _check_suite(suite)
        if self.valid_for is not None and self.sign is None:
            raise ValueError("'valid_for' is for suites that the mirror signs; set 'sign' too")
        _ = self.validity

    @property
    def validity(self) -> timedelta | None:
        """How long a suite that the mirror signs is valid. Raise `ValueError` when that is no
        duration.
        """
        if self.valid_for is None:
            return None
        try:
            return timedelta(seconds=seconds_of(self.valid_for))
        except (ValueError, OverflowError) as error:
            raise ValueError(f"valid_for: {error}") from None

    @property
    def filters(self) -> Sequence[str]:
        """The names of the options that leave packages out, of those that are set."""
        return [name for name in _FILTERS if getattr(self, name)]

    @property
    def renders(self) -> bool:
        """Whether the mirror has indexes of its own."""
        return bool(self.filters) or self.sign is not None


def _check_suite(suite: str) -> None:
    segments = suite.rstrip("/").split("/")
    if ".." in segments or (suite.startswith("/") and suite != "/") or "\\" in suite:
        raise ValueError(f"{suite!r} is no suite: it leads out of the archive")
    if "//" in suite:
        raise ValueError(f"{suite!r} is no suite: it has an empty segment")
