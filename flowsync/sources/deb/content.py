"""The content types of the deb source. Their paths are those below the archive's root."""

from flowsync import WHOLE_CONTENT, Content


class DebPackage(Content):
    """A binary package, also one of the installer (`udeb`).

    Its paragraph is not kept: section and phasing belong to the index that lists it.
    """

    type_name = "deb.package"
    natural_key = ("relative_path", "sha256")
    repo_key = ("relative_path",)

    relative_path: str
    sha256: str
    package: str
    version: str
    architecture: str


class DebSource(Content):
    """A file of a source package. Several versions may share a file, so only a `.dsc` tells the
    version.
    """

    type_name = "deb.source"
    natural_key = ("relative_path", "sha256")
    repo_key = ("relative_path",)

    relative_path: str
    sha256: str
    package: str
    version: str = ""


class DebIndex(Content):
    """An index of a suite, packed in one way: with its path, and those of its digests where the
    suite has such.
    """

    type_name = "deb.index"
    natural_key = ("relative_path", "sha256")
    repo_key = ("relative_path",)

    relative_path: str
    sha256: str
    suite: str


class DebRelease(Content):
    """The signed list of a suite's indexes: `InRelease`, `Release` and `Release.gpg`, those that
    there are. One unit, so that no version mixes those of two moments.

    The digests are sha256, empty for a file that is not there. The trio that a mirror has signed
    itself is told by its text and its signer: a signature of the same text differs each time.
    """

    type_name = "deb.release"
    natural_key = WHOLE_CONTENT
    repo_key = ("suite",)
    told_by_key = True

    suite: str
    in_release: str = ""
    release: str = ""
    signature: str = ""
    text: str = ""
    signer: str = ""
    date: str = ""
    valid_until: str = ""


class DebFile(Content):
    """Another file that an index lists, such as one of the installer."""

    type_name = "deb.file"
    natural_key = ("relative_path", "sha256")
    repo_key = ("relative_path",)

    relative_path: str
    sha256: str
