"""From whatever state a cluster is in to a server that is ready.

There are three states and one loop: the server is ready, and that is all; it is busy (recovering,
or stopping), and is waited for; it is silent, and is started. A server that ends at once is started
again for 10 s when the reason passes by itself: backends of a killed server live on for a moment
and hold its memory. Any other reason is an error at once, in the server's own words.
"""

import os
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from flowsync.embedded_postgres import memory, ownership, postmaster, sockets
from flowsync.embedded_postgres.binaries import Binaries
from flowsync.embedded_postgres.room import lack_of_room
from flowsync.embedded_postgres.server_settings import server_command
from flowsync.embedded_postgres.system_user import SystemUser
from flowsync.errors import EmbeddedPostgresError

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
        at_hand = memory.bytes_at_hand()
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
