"""The embedded PostgreSQL: started or joined where it is needed, stopped by the last.

The folder holds everything: the cluster in a folder that names its major version (`pg18`), the
locks, the log. Any number of processes, and of instances in a process, share one server, and none
of them owns it: who starts it may leave first. When a holder was killed, the last living one stops
the server; when all were, the next to come and go does.

Also here: the way from any state of a cluster to a ready server.
"""

import os
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from flowsync.embedded_postgres import ownership, postmaster, sockets
from flowsync.embedded_postgres.binaries import Binaries, find_binaries
from flowsync.embedded_postgres.cluster import (
    bytes_at_hand,
    cluster_folder,
    existing_majors,
    make_cluster,
    make_folder,
    server_command,
)
from flowsync.embedded_postgres.ownership import SystemUser, lack_of_room
from flowsync.embedded_postgres.postmaster import Hold, starting
from flowsync.errors import EmbeddedPostgresError

# From whatever state a cluster is in to a server that is ready.
#
# There are three states and one loop: the server is ready, and that is all; it is busy (recovering,
# or stopping), and is waited for; it is silent, and is started. A server that ends at once is
# started again for 10 s when the reason passes by itself: backends of a killed server live on for a
# moment and hold its memory. Any other reason is an error at once, in the server's own words.

_SILENCE = "nobody listens"
_RETRY_SECONDS = 10.0
_PASSING_REASONS = ("pre-existing shared memory block", 'lock file "')
_RETRY_PAUSE_SECONDS = 0.2
_FIRST_PAUSE_SECONDS = 0.005
_LONGEST_PAUSE_SECONDS = 0.1
_LOG_LIMIT_BYTES = 1 << 20
_QUOTED_CHARACTERS = 800


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt: the process, where its words begin in the log (bytes), and when (monotonic
    seconds).
    """

    pid: int
    log_offset: int
    at: float


class Startup(msgspec.Struct, frozen=True, kw_only=True):
    """All that is needed to start the server of one cluster. The caller holds the lock of the
    starters.
    """

    cluster: Path
    binaries: Binaries
    account: SystemUser
    settings: Mapping[str, str]
    log: Path

    def reach_ready(self, deadline: float) -> None:
        """Return when the server is ready. Raises `EmbeddedPostgresError` when it ends for good or
        the deadline passes (monotonic seconds).
        """
        launches: list[Launch] = []
        try:
            self._launch_until_ready(launches, deadline)
        except BaseException:
            if launches and postmaster.is_alive(launches[-1].pid):
                postmaster.end(launches[-1].pid, self.cluster)
            raise

    def _launch_until_ready(self, launches: list[Launch], deadline: float) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while refusal := self._refusal():
            if time.monotonic() >= deadline:
                found = f"not ready in time: {refusal}"
                raise EmbeddedPostgresError(self._doing, found, f"see {self.log}")
            if refusal == _SILENCE and not (launches and postmaster.is_alive(launches[-1].pid)):
                if launches:
                    self._expect_passing_reason(launches)
                    time.sleep(_RETRY_PAUSE_SECONDS)
                launches.append(self._launch())
            time.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE_SECONDS)

    def _refusal(self) -> str | None:
        place = postmaster.socket_folder(self.cluster)
        return _SILENCE if sockets.listener(place) is None else sockets.refusal(place)

    @property
    def _doing(self) -> str:
        return f"starting the server of {self.cluster}"

    def _launch(self) -> Launch:
        place = sockets.planned_socket_folder(self.cluster)
        account = ownership.able(self.account, self.cluster, self.binaries)
        sockets.prepare_socket_folder(place, self.cluster, account)
        postmaster.remove_stale_locks(self.cluster, place)
        offset = _shorten(self.log)
        at_hand = bytes_at_hand()
        command = server_command(
            self.binaries.postgres, self.cluster, place, self.settings, at_hand
        )
        pid = account.launch(self._doing, command, self.log)
        return Launch(pid=pid, log_offset=offset, at=time.monotonic())

    def _expect_passing_reason(self, launches: list[Launch]) -> None:
        words = self._words_since(launches[-1])
        lack = lack_of_room(self.cluster.parent)
        passing = not lack and any(reason in words for reason in _PASSING_REASONS)
        if passing and time.monotonic() <= launches[0].at + _RETRY_SECONDS:
            return
        found = words[-_QUOTED_CHARACTERS:]
        if lack:
            advice = "flowsync prune, delete and reclaim have a reserve of their own to free some"
            found = f"{lack}: {found}" if found else lack
            raise EmbeddedPostgresError(self._doing, found, advice)
        raise EmbeddedPostgresError(
            self._doing, found or "it ended without a word", f"see {self.log}"
        )

    def _words_since(self, launch: Launch) -> str:
        return self.log.read_bytes()[launch.log_offset :].decode(errors="replace").strip()


def _shorten(log: Path) -> int:
    """Put a long log aside, over the one before, and return the size of what is left: the log takes
    twice its limit at most between starts.
    """
    try:
        size = log.stat().st_size
    except FileNotFoundError:
        return 0
    if size < _LOG_LIMIT_BYTES:
        return size
    os.replace(log, log.with_name(f"{log.name}.1"))
    return 0


class EmbeddedPostgres:
    """One holder of the server in a folder, from `start` to `stop`. May be used from several
    threads at once.

    `settings` are parameters of PostgreSQL that win over flowsync's; they count for the one that
    starts the server, not for who joins it. `binaries` is the folder with `postgres` and `initdb`;
    without it they are looked for.
    """

    def __init__(
        self,
        folder: Path,
        *,
        settings: Mapping[str, str] | None = None,
        binaries: Path | None = None,
    ) -> None:
        refuse_other_systems(sys.platform)
        # One spelling for all processes, whatever links they come by: the server is recognised by
        # it.
        self.folder = Path(os.path.realpath(folder))
        self._settings = dict(settings or {})
        self._asked_binaries = binaries
        self._hold = Hold(self.folder / "holders.lock")
        self._mutex = threading.Lock()

    @property
    def version(self) -> str:
        """The version of the programs, such as "18.4". Raises `EmbeddedPostgresError` when there
        are none that fit.
        """
        return self._find_binaries().version

    @property
    def data_folder(self) -> Path:
        """The folder of the cluster. Before the first start it does not exist, and takes its name
        from the programs.
        """
        majors = existing_majors(self.folder)
        major = max(majors) if majors else self._find_binaries().major
        return cluster_folder(self.folder, major)

    def is_running(self) -> bool:
        """Tell whether the server accepts connections, whatever started it. Starts nothing."""
        return sockets.listener(postmaster.socket_folder(self.data_folder)) is not None

    def conninfo(self, database: str = "postgres") -> str:
        """Return the libpq connection string of a database. Raises `EmbeddedPostgresError` before
        `start` and after `stop`.
        """
        if not self._hold.held:
            raise EmbeddedPostgresError(f"connecting to {self.folder}", "it was not started")
        return sockets.conninfo(postmaster.socket_folder(self.data_folder), database)

    def start(self, timeout: float = 120.0) -> None:
        """Start the server or join a running one, and hold it until `stop` or the end of the
        process. Blocks; `timeout` in seconds.

        Called again, it makes sure that the server still runs. Raises `EmbeddedPostgresError`, and
        holds nothing, when no server is ready in time.
        """
        deadline = time.monotonic() + timeout
        with self._mutex:
            make_folder(self.folder)
            try:
                with starting(self.folder / "start.lock", deadline):
                    self._hold.share(deadline)
                    self._reach_ready(deadline)
            except OSError as error:
                self._let_go()
                doing = f"starting a server in {self.folder}"
                raise EmbeddedPostgresError(doing, str(error)) from error
            except BaseException:
                self._let_go()
                raise

    def stop(self) -> bool:
        """Let go of the server. True when this was the last holder and the server was stopped.
        Blocks until its process is gone.
        """
        with self._mutex:
            return self._let_go()

    def _find_binaries(self) -> Binaries:
        return find_binaries(self._asked_binaries, existing_majors(self.folder))

    def _reach_ready(self, deadline: float) -> None:
        # Looked for under the lock, so that two starters with different programs do not make two
        # clusters.
        binaries = self._find_binaries()
        data = cluster_folder(self.folder, binaries.major)
        if (data / "PG_VERSION").exists():
            account = ownership.owner_of(data, binaries)
        else:
            account = ownership.choose_account(binaries, self.folder)
            make_cluster(data, binaries, account, deadline)
        Startup(
            cluster=data,
            binaries=binaries,
            account=account,
            settings=self._settings,
            log=self.folder / "server.log",
        ).reach_ready(deadline)

    def _let_go(self) -> bool:
        try:
            return self._hold.is_last() and self._end_server()
        finally:
            self._hold.release()

    def _end_server(self) -> bool:
        if not existing_majors(self.folder):
            return False
        data = self.data_folder
        place = postmaster.socket_folder(data)
        pid = postmaster.running_pid(data)
        if pid is None:
            return False
        postmaster.end(pid, data)
        sockets.remove_socket_folder(place, data)
        return True


def refuse_other_systems(platform: str) -> None:
    """Refuse to go on where the kernel's means are missing. Raises `EmbeddedPostgresError`."""
    if platform != "linux":
        raise EmbeddedPostgresError(
            "starting a server",
            f"this system is {platform}, it works on Linux only",
            "set FLOWSYNC_DATABASE_URL to a PostgreSQL server",
        )
