"""Makes small Debian archives without any tool of Debian's: packages that `dpkg` can install, and
signed suites that list them. For the demo and for tests.

Formats: deb(5), and https://wiki.debian.org/DebianRepository/Format.
"""

import gzip
import hashlib
import io
import lzma
import tarfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from flowsync.packages.openpgp import SigningKey


class Package(NamedTuple):
    """A package as a suite lists it: its path below the archive's root, its bytes, its fields."""

    path: str
    body: bytes
    fields: Mapping[str, str]

    @property
    def paragraph(self) -> str:
        """What `Packages` says of it."""
        listed = {
            **self.fields,
            "Filename": self.path,
            "Size": str(len(self.body)),
            "SHA256": hashlib.sha256(self.body).hexdigest(),
        }
        return "".join(f"{name}: {value}\n" for name, value in listed.items())


def package(
    name: str,
    version: str = "1.0",
    *,
    architecture: str = "all",
    component: str = "main",
    files: Mapping[str, bytes] | None = None,
    **fields: str,
) -> Package:
    """Make a package that installs `files`, by default one that names the package. Underscores in
    the names of other fields are hyphens.
    """
    control = {
        "Package": name,
        "Version": version,
        "Architecture": architecture,
        "Maintainer": "Nobody <nobody@example.org>",
        "Section": "misc",
        "Priority": "optional",
        **{key.replace("_", "-"): value for key, value in fields.items()},
        "Description": f"the package {name}",
    }
    said = "".join(f"{key}: {value}\n" for key, value in control.items()).encode()
    files = {f"usr/share/{name}/about": f"{name} {version}\n".encode()} if files is None else files
    parts = {
        "debian-binary": b"2.0\n",
        "control.tar.gz": _tar({"control": said}),
        "data.tar.gz": _tar(files),
    }
    plain = version.partition(":")[2] or version
    path = f"pool/{component}/{name[0]}/{name}/{name}_{plain}_{architecture}.deb"
    return Package(path, _ar(parts), control)


def write_archive(
    root: Path,
    suite: str,
    components: Mapping[str, Sequence[Package]],
    key: SigningKey | None,
    *,
    architecture: str = "amd64",
    by_hash: bool = True,
    date: datetime | None = None,
    **fields: str,
) -> None:
    """Write a suite and its packages below `root`. Each file appears whole, the signed list last."""
    indexes: dict[str, bytes] = {}
    for component, some in components.items():
        for each in some:
            write(root / each.path, each.body)
        plain = "".join(f"{each.paragraph}\n" for each in some).encode()
        path = f"{component}/binary-{architecture}/Packages"
        indexes |= {
            path: plain,
            f"{path}.gz": gzip.compress(plain, mtime=0),
            f"{path}.xz": lzma.compress(plain, preset=0),
        }
    write_suite(
        root,
        suite,
        indexes,
        key,
        by_hash=by_hash,
        date=date,
        Architectures=architecture,
        Components=" ".join(components),
        **fields,
    )


def write_suite(
    root: Path,
    suite: str,
    indexes: Mapping[str, bytes],
    key: SigningKey | None,
    *,
    by_hash: bool = True,
    date: datetime | None = None,
    algorithms: Sequence[str] = ("md5", "sha256"),
    **fields: str,
) -> None:
    """Write the indexes of a suite, by their paths below it, and sign the list of them. Underscores
    in the names of fields are hyphens.
    """
    folder = root / suite if suite.endswith("/") else root / "dists" / suite
    for path, data in indexes.items():
        write(folder / path, data)
        if by_hash:
            for algorithm in algorithms:
                place = (folder / path).parent / "by-hash" / _SECTIONS[algorithm]
                write(place / hashlib.new(algorithm, data).hexdigest(), data)
    said = {
        "Origin": "Example",
        "Suite": suite,
        "Codename": suite,
        "Date": f"{date or datetime.now(UTC):%a, %d %b %Y %H:%M:%S} UTC",
        **({"Acquire-By-Hash": "yes"} if by_hash else {}),
        **{name.replace("_", "-"): value for name, value in fields.items()},
    }
    text = "".join(f"{name}: {value}\n" for name, value in said.items() if value)
    for algorithm in algorithms:
        lines = (
            f" {hashlib.new(algorithm, data).hexdigest()} {len(data):>16} {path}\n"
            for path, data in indexes.items()
        )
        text += f"{_SECTIONS[algorithm]}:\n{''.join(lines)}"
    write(folder / "Release", text.encode())
    if key is not None:
        write(folder / "Release.gpg", key.sign_detached(text.encode()))
        write(folder / "InRelease", key.sign_clear(text.encode()))


def write(path: Path, data: bytes) -> None:
    """Write a file at once, with the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_bytes(data)
    fresh.replace(path)


_SECTIONS = {"md5": "MD5Sum", "sha1": "SHA1", "sha256": "SHA256", "sha512": "SHA512"}


def _tar(files: Mapping[str, bytes]) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for folder in _folders(files):
            entry = tarfile.TarInfo(f"./{folder}")
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
        for path, data in files.items():
            entry = tarfile.TarInfo(f"./{path}")
            entry.size, entry.mode = len(data), 0o644
            archive.addfile(entry, io.BytesIO(data))
    return gzip.compress(written.getvalue(), mtime=0)


def _folders(paths: Mapping[str, bytes]) -> list[str]:
    found = {str(parent) for path in paths for parent in Path(path).parents if str(parent) != "."}
    return sorted(found)


def _ar(parts: Mapping[str, bytes]) -> bytes:
    archive = b"!<arch>\n"
    for name, data in parts.items():
        archive += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode()
        archive += data + b"\n" * (len(data) % 2)
    return archive
