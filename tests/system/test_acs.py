"""`flowsync acs`: from the first word about an alternate source to the last."""

from pathlib import Path

from tests.system.command import CommandLine
from tests.system.publishing import publish
from tests.upstream.behaviours import Status
from tests.upstream.server import Upstream

FILES = {"a": b"bytes of a", "b": b"bytes of b"}


def test_an_alternate_source_is_added_refreshed_used_listed_and_removed(
    flowsync: CommandLine, upstream: Upstream
) -> None:
    url = publish(upstream, FILES)
    publish(upstream, FILES, "/near")
    added = flowsync.run("acs", "add", "near", "file", upstream.url("/near/"), "--priority", "2")
    never = flowsync.run("acs", "list")
    refreshed = flowsync.run("acs", "refresh")
    synced = flowsync.run("sync", "file", url, "-r", "files")
    listed = flowsync.run("acs", "list", "--json")
    removed = flowsync.run("acs", "remove", "near")
    none = flowsync.run("acs", "list")

    assert added.out == "near: recorded; flowsync acs refresh near reads what it has\n"
    assert never.out == f"near  priority 2  {upstream.url('/near/')}  never refreshed\n"
    assert (refreshed.status, refreshed.out) == (0, "near: 2 units\n")
    assert synced.status == 0
    assert [upstream.count(path) for path in ("/near/a", "/near/b", "/a", "/b")] == [1, 1, 0, 0]
    (source,) = listed.objects
    assert source["last_refreshed"] is not None
    assert (source["name"], source["kind"], source["priority"]) == ("near", "file", 2)
    assert (removed.out, none.out) == ("near: removed\n", "")


def test_credentials_come_from_the_settings_file_and_are_kept_nowhere(
    flowsync: CommandLine, upstream: Upstream
) -> None:
    url = publish(upstream, FILES)
    publish(upstream, FILES, "/near")
    flowsync.configure('[alternate_sources.near]\nremote = { token = "env:NEAR_TOKEN" }\n')
    secret = {"NEAR_TOKEN": "hunter2"}

    done = [
        flowsync.run("acs", "add", "near", "file", upstream.url("/near/"), env=secret),
        flowsync.run("acs", "refresh", "near", "--json", env=secret),
        flowsync.run("sync", "file", url, "-r", "files", env=secret),
        flowsync.run("acs", "list", "--json"),
    ]

    assert [command.status for command in done] == [0, 0, 0, 0]
    near = [seen for seen in upstream.requests() if seen.target.startswith("/near/")]
    assert {seen.headers.get("authorization") for seen in near} == {"Bearer hunter2"}
    assert len(near) == 3
    assert all("authorization" not in seen.headers for seen in upstream.requests("/PULP_MANIFEST"))
    assert all("hunter2" not in command.out + command.err for command in done)


def test_a_source_that_cannot_be_read_is_complained_about_and_the_next_one_is_read(
    flowsync: CommandLine, upstream: Upstream
) -> None:
    publish(upstream, FILES, "/near")
    flowsync.configure("[alternate_sources.gone]\nremote = { max_retries = 0 }\n")
    flowsync.run("acs", "add", "gone", "file", upstream.url("/gone/"))
    flowsync.run("acs", "add", "near", "file", upstream.url("/near/"))

    done = flowsync.run("acs", "refresh")

    assert (done.status, done.out) == (1, "near: 2 units\n")
    (complaint,) = done.complaints
    assert complaint.startswith(f"flowsync: gone: {upstream.url('/gone/PULP_MANIFEST')}: ")
    assert "404" in complaint


def test_wrong_usage_is_told_before_anything_is_opened(
    flowsync: CommandLine, tmp_path: Path
) -> None:
    flowsync.configure("[alternate_sources.near]\nremote = { tokn = 1 }\n")
    unknown_field = flowsync.run("acs", "list")
    flowsync.configure()
    unknown_kind, credentials, bad_name = flowsync.run_all(
        ("acs", "add", "near", "floppy", "http://localhost/"),
        ("acs", "add", "near", "file", "http://user:hunter2@localhost/"),
        ("acs", "add", "ne:ar", "file", "http://localhost/"),
    )

    done = [unknown_field, unknown_kind, credentials, bad_name]
    assert [command.status for command in done] == [2, 2, 2, 2]
    assert "alternate source 'near': remote has no field tokn" in unknown_field.err
    assert "there is no source 'floppy'" in unknown_kind.err
    assert "url holds credentials" in credentials.err
    assert "hunter2" not in credentials.err
    assert "without ':'" in bad_name.err


def test_a_lost_file_is_repaired_from_an_alternate_source_with_its_credentials(
    flowsync: CommandLine, upstream: Upstream
) -> None:
    url = publish(upstream, {"a": b"bytes of a"})
    publish(upstream, {"a": b"bytes of a"}, "/near")
    flowsync.configure('[alternate_sources.near]\nremote = { token = "hunter2" }\n')
    flowsync.run("sync", "file", url, "-r", "files")
    flowsync.run("acs", "add", "near", "file", upstream.url("/near/"))
    flowsync.run("acs", "refresh")
    upstream.always("/a", Status(404))
    (blob,) = (flowsync.home / "store" / "blake3").glob("*/*")
    blob.unlink()

    done = flowsync.run("verify", "--repair", "--json")

    assert done.status == 0
    assert blob.read_bytes() == b"bytes of a"
    (seen,) = upstream.requests("/near/a")
    assert seen.headers["authorization"] == "Bearer hunter2"
