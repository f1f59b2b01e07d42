import asyncio
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from flowsync.errors import BlobMissingError, ExportError
from flowsync.store import ExportReport, LocalBlobStore, export_tree
from flowsync.store.staging import has_local_files
from flowsync.testing.bodies import in_memory, name_of
from flowsync.testing.memory_store import MemoryBlobStore

MARKER = ".flowsync-export.json"
TMPFS = Path("/dev/shm")

# Exports one file and then waits for ever.
STUCK = """
import asyncio, sys
from pathlib import Path
from flowsync.store import LocalBlobStore, export_tree

async def entries():
    yield [(sys.argv[4], sys.argv[2])]
    print("ready", flush=True)
    await asyncio.Event().wait()

store = LocalBlobStore(Path(sys.argv[1]))
asyncio.run(export_tree(store, entries(), Path(sys.argv[3]), {}))
"""

EXPORT = """
import asyncio, sys
from pathlib import Path
from flowsync.store import LocalBlobStore, export_tree

async def entries():
    yield [(sys.argv[4], sys.argv[2])]

store = LocalBlobStore(Path(sys.argv[1]))
asyncio.run(export_tree(store, entries(), Path(sys.argv[3]), {}))
"""


@pytest.fixture(params=["local", "memory"])
async def store(request, tmp_path):
    kind = LocalBlobStore if request.param == "local" else MemoryBlobStore
    async with kind(tmp_path / "store") as store:
        yield store


only_local = pytest.mark.parametrize("store", ["local"], indirect=True)
only_memory = pytest.mark.parametrize("store", ["memory"], indirect=True)


def report_of(store, *, files, size):
    """Return what an export on the file system of the store says."""
    linked = files if has_local_files(store) else 0
    return ExportReport(files=files, bytes=size, linked=linked, copied=files - linked)


@pytest.fixture
async def blob(store):
    """Store bodies and return what gives the name of each."""
    bodies = [b"one", b"two", b"three"]
    await store.persist([in_memory(body) for body in bodies])
    return name_of


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "exports" / "mirror"


async def batches(*entries):
    """Give the entries one a batch."""
    for entry in entries:
        yield [entry]


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != MARKER
    }


@only_local
async def test_files_are_hard_links_in_their_folders(store, blob, folder):
    report = await export_tree(
        store,
        batches(("one", blob(b"one")), ("a/b/two", blob(b"two")), ("a/b/c/three", blob(b"three"))),
        folder,
        {"repository": "r", "version": 3},
    )

    assert tree(folder) == {"one": b"one", "a/b/two": b"two", "a/b/c/three": b"three"}
    assert report == ExportReport(files=3, bytes=11, linked=3, copied=0)
    assert os.stat(folder / "one").st_ino == os.stat(store.local(blob(b"one"))).st_ino
    assert json.loads((folder / MARKER).read_text()) == {"repository": "r", "version": 3}
    assert os.listdir(folder.parent) == ["mirror"]


async def test_one_blob_can_stand_at_many_paths(store, blob, folder):
    await export_tree(store, batches(("x", blob(b"one")), ("y", blob(b"one"))), folder, {})

    assert tree(folder) == {"x": b"one", "y": b"one"}


@pytest.mark.skipif(not TMPFS.is_dir(), reason="no second file system at /dev/shm")
async def test_files_are_copied_to_another_file_system(store, blob):
    folder = TMPFS / f"flowsync-test-{os.getpid()}" / "mirror"
    try:
        report = await export_tree(
            store, batches(("one", blob(b"one")), ("a/two", blob(b"two"))), folder, {}
        )

        assert tree(folder) == {"one": b"one", "a/two": b"two"}
        assert report == ExportReport(files=2, bytes=6, linked=0, copied=2)
    finally:
        shutil.rmtree(folder.parent)


async def test_a_version_without_files_is_a_folder_with_a_marker(store, folder):
    report = await export_tree(store, batches(), folder, {})

    assert os.listdir(folder) == [MARKER]
    assert report == ExportReport(files=0, bytes=0, linked=0, copied=0)


async def test_an_earlier_export_is_replaced_whole(store, blob, folder):
    await export_tree(store, batches(("old", blob(b"one")), ("both", blob(b"two"))), folder, {})

    await export_tree(
        store, batches(("new", blob(b"three")), ("both", blob(b"one"))), folder, {"n": 2}
    )

    assert tree(folder) == {"new": b"three", "both": b"one"}
    assert json.loads((folder / MARKER).read_text()) == {"n": 2}
    assert os.listdir(folder.parent) == ["mirror"]


async def test_an_empty_folder_is_filled(store, blob, folder):
    folder.mkdir(parents=True)

    await export_tree(store, batches(("one", blob(b"one"))), folder, {})

    assert tree(folder) == {"one": b"one"}


async def test_a_folder_of_someone_else_is_never_replaced(store, blob, folder):
    folder.mkdir(parents=True)
    (folder / "mine").write_bytes(b"mine")

    with pytest.raises(ExportError, match=f"cannot export to {folder}: .* name an empty folder"):
        await export_tree(store, batches(("one", blob(b"one"))), folder, {})

    assert tree(folder) == {"mine": b"mine"}
    assert os.listdir(folder.parent) == ["mirror"]


async def test_a_folder_that_someone_fills_meanwhile_is_not_replaced(store, blob, folder):
    folder.mkdir(parents=True)

    async def entries():
        yield [("one", blob(b"one"))]
        (folder / "mine").write_bytes(b"mine")

    with pytest.raises(ExportError, match="was not made by an export"):
        await export_tree(store, entries(), folder, {})

    assert tree(folder) == {"mine": b"mine"}
    assert os.listdir(folder.parent) == ["mirror"]


async def test_a_file_is_not_replaced(store, blob, folder):
    folder.parent.mkdir()
    folder.write_bytes(b"mine")

    with pytest.raises(ExportError, match=f"cannot export to {folder}: it is a file"):
        await export_tree(store, batches(("one", blob(b"one"))), folder, {})

    assert folder.read_bytes() == b"mine"


async def test_a_mount_point_is_refused_before_any_work(store, blob):
    with pytest.raises(ExportError, match="cannot export to /: a mount point"):
        await export_tree(store, batches(("one", blob(b"one"))), Path("/"), {})


async def test_a_link_to_a_folder_is_followed(store, blob, folder, tmp_path):
    (tmp_path / "real").mkdir()
    folder.parent.mkdir()
    folder.symlink_to(tmp_path / "real")

    await export_tree(store, batches(("one", blob(b"one"))), folder, {})

    assert folder.is_symlink()
    assert tree(tmp_path / "real") == {"one": b"one"}


async def test_a_folder_that_cannot_be_made_is_named(store, blob, tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(ExportError, match=f"cannot export to {tmp_path}/file/below"):
        await export_tree(store, batches(("one", blob(b"one"))), tmp_path / "file" / "below", {})


async def test_a_missing_blob_is_named_and_the_target_stays(store, blob, folder):
    await export_tree(store, batches(("old", blob(b"one"))), folder, {})

    with pytest.raises(BlobMissingError, match=f"cannot export 'a/gone': .*{'0' * 64}"):
        await export_tree(store, batches(("one", blob(b"one")), ("a/gone", "0" * 64)), folder, {})

    assert tree(folder) == {"old": b"one"}
    assert os.listdir(folder.parent) == ["mirror"]


@pytest.mark.parametrize(
    "path",
    ["", ".", "..", "/etc/x", "../up", "a/../../up", "a//b", "./a", "a/", "a\0b", "\ud800"],
)
async def test_a_path_that_is_not_plain_and_relative_is_refused(store, blob, folder, path):
    with pytest.raises(ExportError, match="cannot export"):
        await export_tree(store, batches(("one", blob(b"one")), (path, blob(b"two"))), folder, {})

    assert not folder.exists()
    assert os.listdir(folder.parent) == []


@pytest.mark.parametrize(
    ("first", "second"), [("a", "a"), ("a", "a/b"), ("a/b", "a"), (MARKER, f"{MARKER}/a")]
)
async def test_paths_that_collide_are_refused(store, blob, folder, first, second):
    with pytest.raises(ExportError, match=f"cannot export '{second}': another file has this path"):
        await export_tree(store, batches((first, blob(b"one")), (second, blob(b"two"))), folder, {})

    assert not folder.exists()


@pytest.mark.parametrize("path", [MARKER, f"{MARKER}/inside"])
async def test_a_file_that_is_named_like_the_marker_is_exported_like_others(
    store, blob, folder, path
):
    """Whoever mirrors the folder of an export has one."""
    await export_tree(store, batches(("one", blob(b"one")), (path, blob(b"two"))), folder, {"n": 1})
    await export_tree(
        store, batches(("one", blob(b"one")), (path, blob(b"three"))), folder, {"n": 2}
    )

    (marker,) = folder.glob(".flowsync-export-*.json")
    assert (folder / path).read_bytes() == b"three"
    assert json.loads(marker.read_text()) == {"n": 2}
    assert os.listdir(folder.parent) == [folder.name]


async def test_an_error_of_the_entries_passes_and_leaves_nothing(store, blob, folder):
    async def entries():
        yield [("one", blob(b"one"))]
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await export_tree(store, entries(), folder, {})

    assert os.listdir(folder.parent) == []


async def test_a_cancelled_export_leaves_nothing(store, blob, folder):
    reached = asyncio.Event()

    async def entries():
        yield [("one", blob(b"one"))]
        reached.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(export_tree(store, entries(), folder, {}))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert os.listdir(folder.parent) == []


@only_local
@pytest.mark.parametrize("path", ["one", MARKER])
async def test_the_leftovers_of_a_killed_export_go_and_those_of_a_living_one_stay(
    store, blob, folder, path
):
    command = [sys.executable, "-c", STUCK, store.name, blob(b"one"), str(folder), path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        await export_tree(store, batches(("two", blob(b"two"))), folder, {})
        beside_the_living = os.listdir(folder.parent)
        other.kill()

    assert len(beside_the_living) == 2
    assert len(os.listdir(folder.parent)) == 2
    await export_tree(store, batches(("three", blob(b"three"))), folder, {})
    assert os.listdir(folder.parent) == ["mirror"]
    assert tree(folder) == {"three": b"three"}


@only_local
async def test_an_export_that_lives_stays_for_a_user_who_may_not_write_its_marker(
    store, blob, folder
):
    """Its tree was taken away under its hands, and it failed: a marker is read-only, and only root
    could ask whether it was locked.
    """
    living = [sys.executable, "-c", STUCK, store.name, blob(b"one"), str(folder), "one"]
    other = [
        *bound_by_permissions(),
        sys.executable,
        "-c",
        EXPORT,
        store.name,
        blob(b"two"),
        str(folder),
        "two",
    ]
    with subprocess.Popen(living, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        subprocess.run(other, check=True)
        beside_the_living = os.listdir(folder.parent)
        process.kill()

    assert len(beside_the_living) == 2
    subprocess.run(other, check=True)
    assert os.listdir(folder.parent) == ["mirror"]


def bound_by_permissions() -> tuple[str, ...]:
    """Return the prefix of a command whose process obeys permissions although it is root's."""
    if os.geteuid() != 0:
        return ()
    if shutil.which("setpriv") is None:
        pytest.skip("root obeys permissions only without some of its rights, which needs setpriv")
    return ("setpriv", "--bounding-set", "-dac_override,-dac_read_search")


async def test_folders_of_someone_else_beside_the_target_stay(store, blob, folder):
    mine = folder.parent / ".mirror.0123456789abcdef"
    mine.mkdir(parents=True)
    (mine / "mine").touch()
    (folder.parent / ".mirror.bak").mkdir()
    (folder.parent / ".mirror.fedcba9876543210").mkdir()

    await export_tree(store, batches(("one", blob(b"one"))), folder, {})

    # The empty one may be ours: killed before it had its marker.
    assert sorted(os.listdir(folder.parent)) == [
        ".mirror.0123456789abcdef",
        ".mirror.bak",
        "mirror",
    ]
    assert os.listdir(mine) == ["mine"]


async def test_many_files_go_through_in_batches(store, blob, folder):
    async def entries():
        for batch in range(10):
            yield [(f"{batch}/{number}", blob(b"one")) for number in range(500)]

    report = await export_tree(store, entries(), folder, {})

    assert report == report_of(store, files=5000, size=15000)
    assert len(tree(folder)) == 5000


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o000])
@pytest.mark.skipif(not TMPFS.is_dir(), reason="needs a second file system")
async def test_files_and_folders_have_one_mode_linked_or_copied_whatever_the_umask_is(
    store, blob, folder, umask
):
    """A web server of another user can read an export."""
    elsewhere = Path(tempfile.mkdtemp(dir=TMPFS))
    before = os.umask(umask)
    try:
        for target, linked in ((folder, 2 * has_local_files(store)), (elsewhere / "mirror", 0)):
            entries = batches(("one", blob(b"one")), ("a/b/two", blob(b"two")))
            report = await export_tree(store, entries, target, {})

            modes = {
                str(path.relative_to(target)): stat.S_IMODE(path.stat().st_mode)
                for path in target.rglob("*")
            }
            assert report.linked == linked
            assert stat.S_IMODE(target.stat().st_mode) == 0o755
            assert modes == {
                MARKER: 0o444,
                "one": 0o444,
                "a": 0o755,
                "a/b": 0o755,
                "a/b/two": 0o444,
            }
    finally:
        os.umask(before)
        shutil.rmtree(elsewhere)


async def test_a_folder_below_a_file_is_told_as_a_collision(store, blob, folder):
    with pytest.raises(ExportError, match="another file has this path, or a part of it"):
        await export_tree(store, batches(("a", blob(b"one")), ("a/b/c", blob(b"two"))), folder, {})


async def test_a_collision_within_a_batch_is_told(store, blob, folder):
    async def entries():
        yield [("a", blob(b"one")), ("a/b/c", blob(b"two"))]

    with pytest.raises(ExportError, match="another file has this path, or a part of it"):
        await export_tree(store, entries(), folder, {})


@only_memory
async def test_a_damaged_blob_is_never_copied(store, blob, folder):
    store.damage(blob(b"one"), b"eno")

    with pytest.raises(ExportError, match=f"cannot export 'a': blob {blob(b'one')} .* is damaged"):
        await export_tree(store, batches(("a", blob(b"one"))), folder, {})

    assert os.listdir(folder.parent) == []


async def test_a_pipe_is_not_replaced(store, blob, folder):
    folder.parent.mkdir()
    os.mkfifo(folder)

    with pytest.raises(ExportError, match=f"cannot export to {folder}: it is a file"):
        await export_tree(store, batches(("one", blob(b"one"))), folder, {})

    assert stat.S_ISFIFO(folder.stat().st_mode)
