"""The embedded PostgreSQL: started or joined by whoever needs it, stopped by the last.

The folder holds everything: the cluster in a folder that names its major version (`pg18`), the
locks, the log. Any number of processes, and of instances in a process, share one server, and none
of them owns it: who starts it may leave first. When a holder was killed, the last living one stops
the server; when all were, the next to come and go does.
"""

import os
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from flowsync.embedded_postgres import cluster, ownership, postmaster, sockets
from flowsync.embedded_postgres.binaries import Binaries, find_binaries
from flowsync.embedded_postgres.process_locks import Hold, starting
from flowsync.embedded_postgres.startup import Startup
from flowsync.errors import EmbeddedPostgresError


class EmbeddedPostgres:
    """One holder of the server in a folder, from `start` to `stop`. May be used from several
    threads at once.

    `settings` are parameters of PostgreSQL that win over flowsync's; they count for whoever starts
    the server, not for who joins it. `binaries` is the folder with `postgres` and `initdb`; without
    it they are looked for.
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
        majors = cluster.existing_majors(self.folder)
        major = max(majors) if majors else self._find_binaries().major
        return cluster.cluster_folder(self.folder, major)

    def is_running(self) -> bool:
        """Tell whether the server accepts connections, whoever started it. Starts nothing."""
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
            cluster.make_folder(self.folder)
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
        return find_binaries(self._asked_binaries, cluster.existing_majors(self.folder))

    def _reach_ready(self, deadline: float) -> None:
        # Looked for under the lock, so that two starters with different programs do not make two
        # clusters.
        binaries = self._find_binaries()
        data = cluster.cluster_folder(self.folder, binaries.major)
        if (data / "PG_VERSION").exists():
            account = ownership.owner_of(data, binaries)
        else:
            account = ownership.choose_account(binaries, self.folder)
            cluster.make_cluster(data, binaries, account, deadline)
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
        if not cluster.existing_majors(self.folder):
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
