"""Versions through their life, on the command line: rolled back, protected, deleted, retained."""

from tests.system.command import CommandLine
from tests.system.publishing import publish
from tests.upstream.server import Upstream

FIRST = {"a": b"one", "b": b"two"}
SECOND = {"a": b"changed", "c": b"three"}


def sync_both(flowsync: CommandLine, upstream: Upstream) -> str:
    """Sync two states of upstream into versions 1 and 2; return the manifest's URL."""
    url = publish(upstream, FIRST)
    for files in (FIRST, SECOND):
        publish(upstream, files)
        assert flowsync.run("sync", "file", url, "-r", "files", "--mirror").status == 0
    return url


def test_rolled_back_repository_equals_the_old_version_until_the_next_sync(
    flowsync: CommandLine, upstream: Upstream
) -> None:
    url = sync_both(flowsync, upstream)

    first = flowsync.run("rollback", "files", "1")
    again = flowsync.run("rollback", "files", "1", "--json")
    synced = flowsync.run("sync", "file", url, "-r", "files", "--mirror", "--json")

    assert first.out == (
        "files: version 3: holds what version 1 holds; 2 added, 2 removed, 2 units present\n"
    )
    assert again.objects[0]["version"] is None
    assert synced.objects[0]["version"] == 4
    roots = [version["root"] for version in flowsync.run("versions", "files", "--json").objects]
    assert (roots[1], roots[2]) == (roots[3], roots[4])
    assert roots[1] != roots[2]


def test_a_promoted_version_is_exported_from_the_other_repository_byte_for_byte(
    flowsync: CommandLine, upstream: Upstream
) -> None:
    sync_both(flowsync, upstream)

    first = flowsync.run("promote", "files@1", "stable")
    again = flowsync.run("promote", "files@1", "stable", "--json")
    wrong = flowsync.run("promote", "files@last", "stable")
    missing = flowsync.run("promote", "files@9", "stable")
    exported = flowsync.run("export", "stable", "out")

    assert first.out == (
        "stable: version 1: holds what files@1 holds; 2 added, 0 removed, 2 units present\n"
    )
    assert again.objects[0]["version"] is None
    assert (wrong.status, missing.status, exported.status) == (2, 1, 0)
    found = {path.name: path.read_bytes() for path in (flowsync.folder / "out").iterdir()}
    assert {name: found[name] for name in FIRST} == FIRST


def test_protected_version_is_deleted_only_once_it_is_not_protected_any_more(
    flowsync: CommandLine, upstream: Upstream
) -> None:
    sync_both(flowsync, upstream)

    protected = flowsync.run("protect", "files", "1")
    refused = flowsync.run("delete", "files", "1")
    flowsync.run("unprotect", "files", "1")
    deleted = flowsync.run("delete", "files", "1")

    assert protected.out == "files: version 1 is protected\n"
    assert (refused.status, refused.complaints) == (
        1,
        [
            (
                "flowsync: version 1 of repository 'files' is protected from deletion; unprotect "
                "it first"
            )
        ],
    )
    assert deleted.out == (
        "files: version 1 deleted; version 2 now tells its changes: 2 added, 0 removed, 2 "
        "units present\n"
    )
    kept = flowsync.run("versions", "files", "--json").objects
    assert [(version["number"], version["present"]) for version in kept] == [(0, 0), (2, 2)]


def test_only_so_many_versions_as_the_settings_say_are_kept(
    flowsync: CommandLine, upstream: Upstream
) -> None:
    url = publish(upstream, FIRST)
    flowsync.configure(repositories={"files": {"url": url, "mirror": True, "retain_versions": 1}})
    for files in (FIRST, SECOND):
        publish(upstream, files)
        assert flowsync.run("sync").status == 0

    kept = flowsync.run("versions", "files", "--json").objects

    assert [(version["number"], version["added"], version["present"]) for version in kept] == [
        (2, 2, 2)
    ]
