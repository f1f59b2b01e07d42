"""Whether a suite may be believed: its signature, its dates, and what is known of it. Pure but for
reading the keyring.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from flowsync import MetadataError
from flowsync.packages.openpgp import Keyring
from flowsync.sources.deb.indexes.choice import is_flat
from flowsync.sources.deb.indexes.release import Release, cleartext, read_release
from flowsync.sources.deb.options import DebOptions

AHEAD: Final = timedelta(seconds=10)
"""How far a clock of upstream may go before ours."""


class Trio(msgspec.Struct, frozen=True):
    """The files of a suite's list, as upstream has them; `None` for one that is not there."""

    in_release: bytes | None
    release: bytes | None
    signature: bytes | None


class Believed(msgspec.Struct, frozen=True):
    """A suite whose list may be believed, by whom it is signed, and what is kept of its trio."""

    release: Release
    signer: str
    trio: Trio
    warning: str = ""


class Trust:
    """What a sync believes, by its options."""

    def __init__(self, options: DebOptions) -> None:
        self._options = options
        self._keyring = None if options.keyring is None else Keyring.read(options.keyring)

    def judge(self, suite: str, trio: Trio, known: Mapping[str, Any], now: datetime) -> Believed:
        """Return what a suite's list says. `known` is what an earlier sync saw of the suite.

        Raise `MetadataError` when it is not signed, not valid, older than what is known, or that of
        another suite.
        """
        text, signer, key = self._text(trio, now)
        release = read_release(text)
        self._check_dates(release, known, now)
        _check_name(suite, release)
        allowed = known.get("signed_by") or []
        if allowed and signer and signer not in allowed and key not in allowed:
            raise MetadataError(
                f"it is signed by {signer}; the one before said that it will be by "
                f"{', '.join(allowed)}"
            )
        kept, warning = _without_other(trio, text)
        return Believed(release, signer, kept, warning)

    def _text(self, trio: Trio, now: datetime) -> tuple[bytes, str, str]:
        """Return the text of a list, and who signed it: certificate and key."""
        expired = self._options.allow_expired_keys
        if self._keyring is None or not self._options.verify:
            if trio.in_release is not None:
                return cleartext(trio.in_release), "", ""
            return trio.release or b"", "", ""
        if trio.in_release is not None:
            found = self._keyring.verify_clearsigned(
                trio.in_release, now=now, allow_expired=expired
            )
        elif trio.signature is None:
            raise MetadataError("it is not signed: there is neither InRelease nor Release.gpg")
        else:
            found = self._keyring.verify_detached(
                trio.release or b"", trio.signature, now=now, allow_expired=expired
            )
        return found.text, found.signer, found.key

    def _check_dates(self, release: Release, known: Mapping[str, Any], now: datetime) -> None:
        date, ends = release.date, release.valid_until
        if date is not None and date > now + AHEAD:
            raise MetadataError(f"its Date, {date:%Y-%m-%d %H:%M:%S} UTC, is yet to come")
        if self._options.check_valid_until and ends is not None and ends < now:
            raise MetadataError(
                f"it was valid until {ends:%Y-%m-%d %H:%M:%S} UTC; check_valid_until = false takes "
                "it all the same"
            )
        before = known.get("date")
        if before and date is not None and date < datetime.fromisoformat(before):
            raise MetadataError(
                f"its Date, {date:%Y-%m-%d %H:%M:%S} UTC, is before that of the last sync, "
                f"{datetime.fromisoformat(before):%Y-%m-%d %H:%M:%S} UTC; --force takes it all "
                "the same"
            )


def _check_name(suite: str, release: Release) -> None:
    names = {release.suite, release.codename} - {""}
    if is_flat(suite) or not names:
        return
    if suite not in names and suite.split("/", maxsplit=1)[0] not in names:
        raise MetadataError(
            f"it is that of {' or '.join(sorted(names))}, and not of {suite}; take the suite by "
            "that name"
        )


def _without_other(trio: Trio, text: bytes) -> tuple[Trio, str]:
    """Return the trio without a `Release` that says something else than `InRelease`."""
    if trio.in_release is None or trio.release is None or _same(trio.release, text):
        return trio, ""
    return Trio(trio.in_release, None, None), "Release says something else than InRelease"


def _same(one: bytes, other: bytes) -> bool:
    return one.replace(b"\r\n", b"\n").rstrip() == other.replace(b"\r\n", b"\n").rstrip()


def memory_of(believed: Believed) -> dict[str, Any]:
    """Return what the next sync is to know of a suite."""
    date = believed.release.date
    return {
        "date": None if date is None else date.isoformat(),
        "signer": believed.signer,
        "signed_by": list(believed.release.signed_by),
    }
