"""What can be set of a sync from an index of Python packages.

Each option is checked by itself, and all beside each other, before anything is asked of upstream.
`packaging` is loaded when options are made, not when they are described.
"""

import re
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from flowsync.selection import parse_size, seconds_of
from flowsync.sources.pypi.pages.filenames import FileKind
from flowsync.sources.pypi.pages.names import problem_with_name

_PYTHON: Final = r"^(pypy)?[23]\.[0-9]{1,3}t?$"
_PLATFORM: Final = r"^[A-Za-z0-9_.*?\[\]-]{1,100}$"
_HOST: Final = r"^[A-Za-z0-9_.*:\[\]-]{1,255}$"
_Name = Annotated[str, Meta(title="name", min_length=1, max_length=200)]
_Line = Annotated[str, Meta(title="line", min_length=1, max_length=4096)]

_Path = Annotated[
    str,
    Meta(title="path", min_length=1, max_length=4096, extra_json_schema={"format": "path"}),
]

EVERYTHING: Final = "*"


class PypiOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Which projects and files of an index are taken, and what comes with them.

    Raises `ValueError` for a value that cannot be used, and when neither `projects` nor
    `requirements` says what is wanted.
    """

    projects: Annotated[
        tuple[_Line, ...],
        Meta(
            description="Projects that are wanted, each a name that a version may follow, such as "
            "'requests>=2.31,<3'. '*' wants all of the index. Of several lines for one project, "
            "each adds its versions. Markers and extras do not count."
        ),
    ] = ()
    requirements: Annotated[
        tuple[_Path, ...],
        Meta(
            description="Paths of files that say what is wanted: requirements.txt (with -r, -c and "
            "--hash), pylock.toml, uv.lock or poetry.lock. Where a file gives hashes, just the "
            "files with these are taken."
        ),
    ] = ()
    exclude: Annotated[
        tuple[_Line, ...],
        Meta(
            description="Projects that are left out, by name, by pattern ('*-nightly'), or some "
            "versions of one ('django<3')."
        ),
    ] = ()
    exclude_regex: Annotated[
        tuple[_Line, ...],
        Meta(
            description="Regular expressions. A project, or a file, is left out when one matches "
            "all of its name."
        ),
    ] = ()
    private: Annotated[
        tuple[_Name, ...],
        Meta(
            description="Names, or patterns of names, of projects of one's own. They are never "
            "taken from upstream, whatever else is said."
        ),
    ] = ()
    formats: Annotated[
        tuple[FileKind, ...],
        Meta(description="The kinds of files that are taken.", min_length=1),
    ] = ("wheel", "sdist")
    platforms: Annotated[
        tuple[Annotated[str, Meta(title="platform", pattern=_PLATFORM)], ...],
        Meta(
            description="Platforms of wheels that are taken: 'linux', 'windows', 'macos', or "
            "patterns of platform tags such as 'manylinux*_x86_64'. None means all. Files for any "
            "platform are always taken."
        ),
    ] = ()
    pythons: Annotated[
        tuple[Annotated[str, Meta(title="version of Python", pattern=_PYTHON)], ...],
        Meta(
            description="Versions of Python, such as '3.12', '3.13t' or 'pypy3.10'. Files that run "
            "on none of them are left out. None means all."
        ),
    ] = ()
    prereleases: Annotated[
        bool,
        Meta(
            description="Whether pre-releases are taken. If not, those are that a requirement "
            "names."
        ),
    ] = True
    newest: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(
            description="How many releases of a project are taken, of those that are not yanked. "
            "The highest stable one, and those that a requirement pins, stay."
        ),
    ] = None
    newest_by: Annotated[
        Literal["version", "upload"],
        Meta(description="What makes a release newer than another."),
    ] = "version"
    max_file_size: Annotated[
        str | int | None,
        Meta(
            description="The size, such as '200MB', above which a file is left out. A file whose "
            "size upstream does not tell is taken."
        ),
    ] = None
    max_project_size: Annotated[
        str | int | None,
        Meta(
            description="The size of all files of a project that are to be taken, above which the "
            "project is left out."
        ),
    ] = None
    min_age: Annotated[
        str | int | float,
        Meta(
            description="How long ago a file must have been uploaded, such as '7d'. Younger ones "
            "are taken by a later sync."
        ),
    ] = 0
    min_age_exempt: Annotated[
        tuple[_Name, ...],
        Meta(description="Names, or patterns of names, of projects that may be younger."),
    ] = ()
    no_time: Annotated[
        Literal["refuse", "allow"],
        Meta(
            description="What becomes, with 'min_age', of files whose time of upload upstream does "
            "not tell."
        ),
    ] = "refuse"
    yanked: Annotated[
        Literal["keep", "refuse"],
        Meta(
            description="What becomes of files that were yanked. Those that a requirement pins "
            "stay."
        ),
    ] = "keep"
    core_metadata: Annotated[
        bool,
        Meta(description="Whether the metadata files beside wheels, where there are some, come."),
    ] = True
    provenance: Annotated[
        Literal["off", "keep", "verify"],
        Meta(
            description="Whether attestations come. With 'verify', files are left out whose own do "
            "not hold."
        ),
    ] = "off"
    tracks: Annotated[
        bool,
        Meta(description="Whether served pages name upstream's page as the one they follow."),
    ] = False
    unverified: Annotated[
        bool,
        Meta(description="Whether files are taken of which upstream tells no digest."),
    ] = False
    file_hosts: Annotated[
        tuple[Annotated[str, Meta(title="host", pattern=_HOST)], ...],
        Meta(
            description="Hosts, or patterns of hosts, that files may come from besides the "
            "index's own. None means all but addresses of IP and localhost."
        ),
    ] = ()

    def __post_init__(self) -> None:
        if not (self.projects or self.requirements):
            raise ValueError(
                "neither 'projects' nor 'requirements' is set; name the projects that are wanted, "
                "or set projects = ['*'] for all of the index"
            )
        for line in self.projects:
            if line.strip() != EVERYTHING:
                check_line("projects", line)
        for line in self.exclude:
            if not is_pattern(line):
                check_line("exclude", line)
        for option, names in (("private", self.private), ("min_age_exempt", self.min_age_exempt)):
            for name in names:
                _check_name(option, name)
        for text in self.exclude_regex:
            try:
                re.compile(text)
            except (re.error, OverflowError, RecursionError) as error:
                raise ValueError(
                    f"exclude_regex {text!r} is no regular expression: {error}"
                ) from None
        _ = self.min_age_seconds, self.max_file_bytes, self.max_project_bytes

    @property
    def everything(self) -> bool:
        """Whether all projects of the index are wanted."""
        return any(line.strip() == EVERYTHING for line in self.projects)

    @property
    def min_age_seconds(self) -> float:
        """The seconds of `min_age`. Raise `ValueError` when it is no duration."""
        if self.min_age in {0, "0"}:
            return 0.0
        try:
            return seconds_of(self.min_age)
        except ValueError as error:
            raise ValueError(f"min_age: {error}") from None

    @property
    def max_file_bytes(self) -> int | None:
        """The bytes of `max_file_size`. Raise `ValueError` when it is no size."""
        return _bytes("max_file_size", self.max_file_size)

    @property
    def max_project_bytes(self) -> int | None:
        """The bytes of `max_project_size`. Raise `ValueError` when it is no size."""
        return _bytes("max_project_size", self.max_project_size)


def is_pattern(text: str) -> bool:
    """Say whether a text is a pattern of names: it has `*`, `?` or `[`, and no version or extra."""
    return any(sign in text for sign in "*?") and not any(sign in text for sign in "<>=!~;@,")


def check_line(option: str, line: str) -> Any:
    """Return the requirement of `packaging` that a line says.

    Raise `ValueError` when it is none, or one that no index can fulfil.
    """
    from packaging.requirements import InvalidRequirement, Requirement  # noqa: PLC0415 - see above

    try:
        found = Requirement(line)
    except (InvalidRequirement, ValueError, RecursionError) as error:
        said = str(error).partition("\n")[0]
        raise ValueError(f"{option} {line!r} is no requirement: {said}") from None
    if found.url is not None:
        raise ValueError(f"{option} {line!r} names a URL; an index cannot give that")
    problem = problem_with_name(found.name)
    if problem is not None:
        raise ValueError(f"{option} {line!r}: the name {problem}")
    return found


def _check_name(option: str, name: str) -> None:
    plain = re.sub(r"\[[^\]]*\]|[*?]", "x", name)
    problem = problem_with_name(plain)
    if problem is not None:
        raise ValueError(
            f"{option} {name!r} is neither a name nor a pattern of names: it {problem}"
        )


def _bytes(option: str, value: str | int | None) -> int | None:
    if value is None:
        return None
    found = parse_size(value) if isinstance(value, str) else value
    if found is None or not 0 < found < 1 << 63:
        raise ValueError(f"{option}: {value!r} is no size such as 5000000, '200MB' or '2GiB'")
    return found
