"""Archives that the programs of Debian make: reprepro, aptly and apt-ftparchive, signed by gpg."""

import gzip
import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from scripts.debian_archive import Package, package, write


class Gpg:
    """A gpg with a home and a key of its own. Its home lies where names are short, as its agent has
    a socket there.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            "GNUPGHOME": str(home),
            "LC_ALL": "C",
        }
        home.chmod(0o700)
        name = "Archive <archive@example.org>"
        self.run("--passphrase", "", "--quick-generate-key", name, "rsa2048", "sign", "never")
        listed = self.run("--list-keys", "--with-colons").decode()
        self.fingerprint = next(
            line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr:")
        )
        self.keyring = home / "archive.gpg"
        """The certificate, as apt and gpgv want it."""
        self.keyring.write_bytes(self.run("--export", self.fingerprint))

    def run(self, *words: str, said: bytes = b"") -> bytes:
        """Run gpg, and return what it wrote."""
        command = ["gpg", "--batch", "--yes", "--quiet", "--pinentry-mode", "loopback", *words]
        return run(command, self.home, self.environment, said)

    def sign(self, folder: Path) -> None:
        """Sign the `Release` of a folder in both forms."""
        text = (folder / "Release").read_bytes()
        write(folder / "InRelease", self.run("--clearsign", said=text))
        write(folder / "Release.gpg", self.run("--armor", "--detach-sign", said=text))


@contextmanager
def gpg() -> Iterator[Gpg]:
    """Give a gpg, and end its agent."""
    home = Path(tempfile.mkdtemp(prefix="flowsync-gpg-"))
    made = None
    try:
        made = Gpg(home)
        yield made
    finally:
        if made is not None:
            run(["gpgconf", "--kill", "all"], home, made.environment)
        shutil.rmtree(home)


def run(
    command: Sequence[str], folder: Path, environment: dict[str, str], said: bytes = b""
) -> bytes:
    """Run a program to its end, and return what it wrote; what it complains of is in the error."""
    ran = subprocess.run(
        command, cwd=folder, env=environment, input=said, capture_output=True, check=False
    )
    assert ran.returncode == 0, (command, ran.stdout, ran.stderr)
    return ran.stdout


def odd_packages() -> list[Package]:
    """Return packages whose versions and names are as odd as Debian allows."""
    return [
        package("alpha", "1:1.0+b~1-2", Depends="libx (>= 0.9~)"),
        package("libx", "0.9~rc1+really0.9", architecture="amd64", Section="libs"),
        package("libx", "0.9~rc1+really0.9", architecture="arm64", Section="libs"),
        package("g++-odd", "2.0", architecture="amd64"),
    ]


def make_reprepro(root: Path, signer: Gpg) -> None:
    """Make an archive of the suites `one` and `two`, each for amd64 and arm64 and with sources and
    the installer's packages.
    """
    (root / "conf").mkdir(parents=True)
    suites = (
        f"Origin: Example\nLabel: Example\nSuite: {suite}\nCodename: {name}\n"
        "Architectures: amd64 arm64 source\nComponents: main contrib\nUDebComponents: main\n"
        f"Contents: udebs percomponent allcomponents\nSignWith: {signer.fingerprint}\n"
        for name, suite in (("one", "stable"), ("two", "testing"))
    )
    (root / "conf/distributions").write_text("\n".join(suites))
    include(root, signer, "one", odd_packages())
    include(root, signer, "one", [package("extra", "3.0", architecture="amd64")], "contrib")
    include(root, signer, "two", [package("beta", "2.0")])
    installer = package("core-udeb", "1.0", architecture="amd64", Section="debian-installer")
    _reprepro(root, signer, "main", "includeudeb", "one", _file(root, installer, ".udeb"))
    _reprepro(root, signer, "main", "includedsc", "one", str(_source(root.parent / "source")))


def include(
    root: Path, signer: Gpg, suite: str, some: Sequence[Package], component: str = "main"
) -> None:
    """Put packages into a suite of reprepro's, which signs it anew."""
    files = [_file(root, each, ".deb") for each in some]
    _reprepro(root, signer, component, "includedeb", suite, *files)


def remove(root: Path, signer: Gpg, suite: str, name: str) -> None:
    """Take a package out of a suite of reprepro's."""
    _reprepro(root, signer, None, "remove", suite, name)


def make_aptly(root: Path, signer: Gpg) -> Path:
    """Make an archive of the suite `one` with indexes by their digests; return its folder."""
    work = root.parent / "aptly"
    work.mkdir()
    files = [_file(root, each, ".deb") for each in odd_packages()]
    settings = work / "aptly.conf"
    settings.write_text(f'{{"rootDir": "{work}", "gpgProvider": "gpg2"}}')
    aptly = ["aptly", f"-config={settings}"]
    run([*aptly, "repo", "create", "r"], work, signer.environment)
    run([*aptly, "repo", "add", "r", *files], work, signer.environment)
    publish = ["publish", "repo", "-batch", "-acquire-by-hash", "-distribution=one"]
    publish += [f"-gpg-key={signer.fingerprint}", f"-keyring={signer.keyring}"]
    run([*aptly, *publish, "-architectures=amd64,arm64", "r"], work, signer.environment)
    return work / "public"


def make_flat(root: Path, signer: Gpg, below: str = "") -> None:
    """Make an archive without suites by apt-ftparchive; the indexes are in the folder `below`."""
    folder = root / below
    folder.mkdir(parents=True, exist_ok=True)
    for each in odd_packages():
        write(folder / Path(each.path).name, each.body)
    scanned = run(["apt-ftparchive", "packages", below or "."], root, signer.environment)
    write(folder / "Packages", scanned)
    write(folder / "Packages.gz", gzip.compress(scanned, mtime=0))
    # apt complains of another name than the one that it is given.
    settings = ["-o", f"APT::FTPArchive::Release::Codename={below}/"] if below else []
    release = run(["apt-ftparchive", *settings, "release", "."], folder, signer.environment)
    write(folder / "Release", release)
    signer.sign(folder)


def _file(root: Path, made: Package, end: str) -> str:
    path = root.parent / "incoming" / f"{Path(made.path).stem}{end}"
    write(path, made.body)
    return str(path)


def _reprepro(root: Path, signer: Gpg, component: str | None, *words: str) -> None:
    placed = [] if component is None else ["-C", component]
    command = ["reprepro", "--silent", "-b", str(root), *placed, "-S", "misc", "-P", "optional"]
    # The installer's packages have a section of their own.
    if words[0] == "includeudeb":
        command[command.index("misc")] = "debian-installer"
    run([*command, *words], root, signer.environment)


def _source(folder: Path) -> Path:
    """Make a source package of one tarball."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz") as archive:
        entry = tarfile.TarInfo("alpha-1.0/README")
        entry.size = 4
        archive.addfile(entry, io.BytesIO(b"text"))
    tarball = written.getvalue()
    name = "alpha_1.0.tar.gz"
    write(folder / name, tarball)
    listed = f"{len(tarball)} {name}\n"
    write(
        folder / "alpha_1.0.dsc",
        (
            "Format: 3.0 (native)\nSource: alpha\nBinary: alpha\nArchitecture: all\n"
            "Version: 1:1.0\nMaintainer: Nobody <nobody@example.org>\n"
            f"Checksums-Sha1:\n {hashlib.sha1(tarball).hexdigest()} {listed}"
            f"Checksums-Sha256:\n {hashlib.sha256(tarball).hexdigest()} {listed}"
            f"Files:\n {hashlib.md5(tarball).hexdigest()} {listed}"
        ).encode(),
    )
    return folder / "alpha_1.0.dsc"
