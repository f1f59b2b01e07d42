"""GnuPG in a home of its own: it makes what Sequoia would not, such as weak keys and old ones."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

_GPG = (
    *("gpg", "--no-tty", "--yes", "--quiet", "--no-auto-check-trustdb"),
    *("--pinentry-mode", "loopback", "--passphrase", ""),
)


class Gnupg:
    """Keys by names, and what they sign. Moments are written as `20190101T000000`."""

    def __init__(self, home: str) -> None:
        self.home = home
        self._environment = {**os.environ, "GNUPGHOME": home}

    def run(self, *words: str, given: bytes = b"", at: str | None = None) -> bytes:
        moment = [] if at is None else ["--faked-system-time", at]
        done = subprocess.run(
            [*_GPG, *moment, *words],
            input=given,
            capture_output=True,
            env=self._environment,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def key(
        self, name: str, kind: str = "ed25519", *, ends: str = "never", at: str | None = None
    ) -> str:
        """Make a key that signs; return its fingerprint."""
        self.run("--batch", "--quick-gen-key", _of(name), kind, "cert,sign", ends, at=at)
        return self.fingerprints(name)[0]

    def subkey(self, name: str, *, ends: str = "never", at: str | None = None) -> str:
        """Give a key a subkey, which signs from then on; return its fingerprint."""
        first = self.fingerprints(name)[0]
        self.run("--batch", "--quick-add-key", first, "ed25519", "sign", ends, at=at)
        return self.fingerprints(name)[-1]

    def fingerprints(self, name: str) -> list[str]:
        listed = self.run("--batch", "--with-colons", "--list-keys", _of(name)).decode()
        return [line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr")]

    def certificates(self, *names: str, armoured: bool = False) -> bytes:
        words = ["--armor"] if armoured else []
        return b"".join(self.run(*words, "--export", f"={_of(name)}") for name in names)

    def secret(self, name: str, *, passphrase: str = "") -> bytes:
        words = ["--passphrase", passphrase] if passphrase else []
        return self.run("--batch", *words, "--export-secret-keys", f"={_of(name)}")

    def clear(self, text: bytes, *names: str, options: tuple[str, ...] = (), **when: str) -> bytes:
        return self.run("--batch", *options, *_by(names), "--clearsign", given=text, **when)

    def detached(
        self,
        text: bytes,
        *names: str,
        armoured: bool = True,
        options: tuple[str, ...] = (),
        **when: str,
    ) -> bytes:
        words = [*(["--armor"] if armoured else []), *_by(names), "--detach-sign"]
        return self.run("--batch", *options, *words, given=text, **when)

    def revoke(self, name: str, *, reason: int, at: str | None = None) -> None:
        """Revoke a key: 0 for no reason, 1 as stolen, 3 as no longer used."""
        words = ["--command-fd", "0", "--gen-revoke", self.fingerprints(name)[0]]
        answers = f"y\n{reason}\n\ny\n".encode()
        self.run("--batch", "--import", given=self.run(*words, given=answers, at=at))

    def revoke_subkey(self, name: str, *, reason: int, at: str | None = None) -> None:
        """Revoke the only subkey of a key."""
        answers = f"key 1\nrevkey\ny\n{reason}\n\ny\nsave\n".encode()
        words = ["--command-fd", "0", "--edit-key", self.fingerprints(name)[0]]
        self.run(*words, given=answers, at=at)


@contextmanager
def gnupg() -> Iterator[Gnupg]:
    """Have a home, whose path is short enough for the socket of the agent."""
    home = tempfile.mkdtemp(prefix="gpg")
    try:
        yield Gnupg(home)
    finally:
        subprocess.run(
            ["gpgconf", "--kill", "all"], env={**os.environ, "GNUPGHOME": home}, check=False
        )
        shutil.rmtree(home, ignore_errors=True)


def _of(name: str) -> str:
    return f"{name} <{name}@example.org>"


def _by(names: tuple[str, ...]) -> list[str]:
    return [word for name in names for word in ("-u", f"={_of(name)}")]
