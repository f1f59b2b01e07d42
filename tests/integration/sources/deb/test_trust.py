"""Suites that may not be believed: by their signature, by their dates, by what they list."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flowsync import Engine, MetadataError
from tests.integration.serve.conftest import Client
from tests.integration.serve.conftest import client as client
from tests.integration.sources.deb.archives import Gpg, gpg
from tests.integration.sources.deb.conftest import (
    Archive,
    SyncDeb,
    needs,
    new_key,
    said,
    some_packages,
)

NOW = datetime.now(UTC).replace(microsecond=0)
PAST = ("--faked-system-time", "20240101T000000")


@pytest.fixture(scope="module")
def signer() -> Iterator[Gpg]:
    with gpg() as made:
        for name, kind, more in (
            ("weak", "rsa1024", ("never",)),
            ("other", "rsa2048", ("never",)),
        ):
            user = f"{name} <{name}@example.org>"
            made.run("--passphrase", "", "--quick-generate-key", user, kind, "sign", *more)
        user = "expired <expired@example.org>"
        made.run(
            *(*PAST, "--passphrase", "", "--quick-generate-key", user, "rsa2048", "sign", "30d")
        )
        yield made


def keyring_of(signer: Gpg, user: str, folder: Path) -> str:
    """Return the file of a certificate."""
    path = folder / f"{user}.gpg"
    path.write_bytes(signer.run("--export", f"{user}@example.org"))
    return str(path)


def sign(archive: Archive, signer: Gpg, *users: str, how: tuple[str, ...] = ()) -> None:
    """Let a suite be signed by gpg."""
    archive.write(some_packages(), key=None, date=NOW - timedelta(days=1000))
    folder = archive.root / "dists/one"
    text = (folder / "Release").read_bytes()
    by = [word for user in users for word in ("--local-user", f"{user}@example.org")]
    (folder / "InRelease").write_bytes(signer.run(*how, *by, "--clearsign", said=text))
    (folder / "Release.gpg").write_bytes(
        signer.run(*how, *by, "--armor", "--detach-sign", said=text)
    )


@contextmanager
def one_form(archive: Archive, form: str) -> Iterator[None]:
    """Leave a suite one of its two forms."""
    if form == "Release":
        (archive.root / "dists/one/InRelease").unlink()
    else:
        (archive.root / "dists/one/Release").unlink()
        (archive.root / "dists/one/Release.gpg").unlink(missing_ok=True)
    yield


async def nothing_is_kept(engine: Engine) -> bool:
    """Say whether the catalog has neither a version nor an artifact."""
    version = await engine.catalog.repositories.version("debian")
    async with engine.catalog.database.connection() as connection:
        cursor = await connection.execute("SELECT count(*) FROM artifact")
        row = await cursor.fetchone()
    return version.number == 0 and row is not None and row[0] == 0


FORMS = pytest.mark.parametrize("form", ["InRelease", "Release"])


@FORMS
async def test_a_suite_by_an_unknown_key_is_refused_and_leaves_nothing(
    archive: Archive, sync: SyncDeb, engine: Engine, form: str
) -> None:
    archive.write(some_packages(), key=new_key("Mallory <mallory@example.org>"))

    with one_form(archive, form), pytest.raises(MetadataError, match="key of the keyring") as told:
        await sync()

    assert f"/dists/one/{form}: " in str(told.value)
    assert await nothing_is_kept(engine)


async def test_a_suite_without_a_signature_is_refused_unless_none_is_asked_for(
    archive: Archive, sync: SyncDeb, engine: Engine
) -> None:
    archive.write(some_packages(), key=None)

    with pytest.raises(MetadataError, match="it is not signed"):
        await sync()
    assert await nothing_is_kept(engine)

    assert (await sync(keyring=None, verify=False)).version == 1


@FORMS
async def test_a_suite_that_was_tampered_with_is_refused(
    archive: Archive, sync: SyncDeb, engine: Engine, form: str
) -> None:
    archive.write(some_packages())
    file = archive.root / "dists/one" / form
    file.write_bytes(file.read_bytes().replace(b"Origin: Example", b"Origin: Exampel"))

    with one_form(archive, form), pytest.raises(MetadataError, match="signature"):
        await sync()

    assert await nothing_is_kept(engine)


@needs("gpg", "gpgconf")
@FORMS
@pytest.mark.parametrize(
    ("user", "how"),
    [("archive", ("--digest-algo", "SHA1")), ("weak", ()), ("archive", ("--digest-algo", "MD5"))],
)
async def test_a_weak_signature_is_refused(
    archive: Archive,
    sync: SyncDeb,
    engine: Engine,
    signer: Gpg,
    tmp_path: Path,
    form: str,
    user: str,
    how: tuple[str, ...],
) -> None:
    sign(archive, signer, user, how=(*how, "--allow-weak-digest-algos") if how else ())

    with one_form(archive, form), pytest.raises(MetadataError, match="signature"):
        await sync(keyring=keyring_of(signer, user, tmp_path))

    assert await nothing_is_kept(engine)


@needs("gpg", "gpgconf")
@FORMS
async def test_a_key_that_expired_is_refused_unless_such_are_allowed(
    archive: Archive, sync: SyncDeb, engine: Engine, signer: Gpg, tmp_path: Path, form: str
) -> None:
    sign(archive, signer, "expired", how=PAST)
    keyring = keyring_of(signer, "expired", tmp_path)

    with one_form(archive, form):
        with pytest.raises(MetadataError, match="expired on 2024-01-31"):
            await sync(keyring=keyring)
        assert await nothing_is_kept(engine)
        assert (await sync(keyring=keyring, allow_expired_keys=True)).version == 1


@needs("gpg", "gpgconf", "gpgv")
@FORMS
@pytest.mark.parametrize("users", [("other", "archive"), ("archive", "other")])
async def test_one_known_signature_of_several_is_enough(
    archive: Archive,
    sync: SyncDeb,
    client: Client,
    signer: Gpg,
    tmp_path: Path,
    form: str,
    users: tuple[str, ...],
) -> None:
    sign(archive, signer, *users)

    with one_form(archive, form):
        await sync(keyring=str(signer.keyring))

    served = (await client.get(f"/debian/dists/one/{form}")).body
    assert served == (archive.root / "dists/one" / form).read_bytes()
    if form == "InRelease":
        (tmp_path / form).write_bytes(served)
        ran = await said("gpgv", f"--keyring={signer.keyring}", form, folder=tmp_path)
        assert "Good signature" in ran


@pytest.mark.parametrize(
    "change",
    [
        lambda data: b"Origin: Mallory\n" + data,
        lambda data: b"\n" + data,
        lambda data: data + b"Origin: Mallory\n",
        lambda data: data + b"\n" + data,
        lambda data: data[:-200],
        lambda data: b"",
        lambda data: b"<html><body>Welcome to our hotel</body></html>",
    ],
)
async def test_text_beside_what_is_signed_is_refused(
    archive: Archive, sync: SyncDeb, engine: Engine, change: Callable[[bytes], bytes]
) -> None:
    archive.write(some_packages())
    file = archive.root / "dists/one/InRelease"
    file.write_bytes(change(file.read_bytes()))

    with pytest.raises(MetadataError, match="/dists/one/InRelease: "):
        await sync()

    assert await nothing_is_kept(engine)


async def test_a_suite_that_is_not_valid_any_more_is_refused_unless_told_otherwise(
    archive: Archive, sync: SyncDeb, engine: Engine
) -> None:
    until = f"{NOW - timedelta(minutes=1):%a, %d %b %Y %H:%M:%S} UTC"
    archive.write(some_packages(), date=NOW - timedelta(days=8), Valid_Until=until)

    with pytest.raises(MetadataError, match=r"it was valid until .* check_valid_until = false"):
        await sync()
    assert await nothing_is_kept(engine)

    assert (await sync(check_valid_until=False)).version == 1


async def test_a_suite_of_tomorrow_is_refused(
    archive: Archive, sync: SyncDeb, engine: Engine
) -> None:
    archive.write(some_packages(), date=NOW + timedelta(hours=1))

    with pytest.raises(MetadataError, match="is yet to come"):
        await sync()

    assert await nothing_is_kept(engine)


async def test_a_suite_that_went_back_is_refused_unless_forced(
    archive: Archive, sync: SyncDeb
) -> None:
    archive.write(some_packages(), date=NOW - timedelta(hours=1))
    await sync()
    archive.write(some_packages()[:1], date=NOW - timedelta(hours=2))

    with pytest.raises(MetadataError, match=r"is before that of the last sync.*--force"):
        await sync()

    assert (await sync(how={"force": True})).version == 2


async def test_a_suite_that_went_back_is_refused_under_other_options_too(
    archive: Archive, sync: SyncDeb
) -> None:
    archive.write(some_packages(), date=NOW - timedelta(hours=1))
    await sync()
    archive.write(some_packages()[:1], date=NOW - timedelta(hours=2))

    with pytest.raises(MetadataError, match="is before that of the last sync"):
        await sync(indices=("packages",))


async def test_a_suite_of_weak_digests_is_refused(
    archive: Archive, sync: SyncDeb, engine: Engine
) -> None:
    from scripts.debian_archive import write_suite

    indexes = {"main/binary-amd64/Packages": b""}
    write_suite(archive.root, "one", indexes, archive.key, algorithms=("md5", "sha1"))

    with pytest.raises(MetadataError, match="with md5, sha1 only"):
        await sync()

    assert await nothing_is_kept(engine)


async def test_another_suite_in_its_place_is_refused(
    archive: Archive, sync: SyncDeb, engine: Engine
) -> None:
    archive.write(some_packages(), suite="two")
    (archive.root / "dists/two").rename(archive.root / "dists/one")

    with pytest.raises(MetadataError, match="it is that of two, and not of one"):
        await sync()

    assert await nothing_is_kept(engine)


async def test_a_suite_says_who_signs_it_from_now_on(archive: Archive, sync: SyncDeb) -> None:
    other = new_key("Other <other@example.org>")
    archive.keyring.write_bytes(archive.key.public_key + other.public_key)
    archive.write(some_packages(), Signed_By=archive.key.fingerprint)
    await sync()
    archive.write(some_packages()[:1], key=other)

    with pytest.raises(MetadataError, match="the one before said that it will be by"):
        await sync()
