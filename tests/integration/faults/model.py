"""The model of a faulty sync: a dict of paths and digests a repository, and what may become
of it.
"""

from collections.abc import Mapping

import msgspec

from flowsync import FlowsyncError, MetadataError, SyncResult, VersionEntry
from flowsync.errors import IntegrityError, TooManyLeftOutError, TransferError
from tests.integration.faults.foretelling import Verdict
from tests.integration.faults.scenes import FilePlan, Round, Scene, SyncPlan, UnitPlan

CLEAR = (TransferError, IntegrityError, MetadataError)
"""Errors that say what upstream did wrong."""


class State(msgspec.Struct, frozen=True):
    """A repository: the number of its latest version, and the sha256 of each of its paths."""

    number: int = 0
    paths: Mapping[str, str] = {}


class Model:
    """Knows the state of every repository, and which bytes could be had so far."""

    def __init__(self, scene: Scene) -> None:
        self.states: dict[str, State] = {}
        self.failures = 0
        self._scene = scene
        self._obtainable: set[str] = set()

    def begin(self, syncs: Round) -> None:
        """Take note of what the syncs of a round may bring for each other too: contents are
        shared.
        """
        for plan in syncs:
            self._obtainable |= {
                file.sha256
                for file in _files(plan)
                if self._scene.verdict(plan, file) is not Verdict.DOOMED
            }

    def state(self, plan: SyncPlan) -> State:
        return self.states.get(plan.repository, State())

    def failed(self, plan: SyncPlan, error: BaseException, after: State) -> None:
        """Judge a sync that failed: it may, it says why, and nothing of it is visible."""
        self.failures += 1
        if plan.cancel_after is not None and not isinstance(error, FlowsyncError):
            self._cancelled(plan, after)
            return
        assert after == self.state(plan), "a failed sync changed the repository"
        assert isinstance(error, (*CLEAR, TooManyLeftOutError)), f"no clear error: {error!r}"
        assert str(error), f"nothing said: {error!r}"
        doubtful = sum(self._verdict(plan, unit) is not Verdict.SURE for unit in plan.units)
        if isinstance(error, TooManyLeftOutError):
            assert plan.max_errors is not None
            assert plan.on_error != "fail"
            doubtful_files = [file for file in _files(plan) if not self._is_sure(plan, file)]
            assert len(doubtful_files) > plan.max_errors, f"nothing to leave out: {error}"
        else:
            manifest = self._manifest_verdict(plan)
            may_fail = plan.on_error == "fail" and doubtful
            assert may_fail or manifest is not Verdict.SURE, f"had to succeed: {error}"

    def _cancelled(self, plan: SyncPlan, after: State) -> None:
        """Judge a sync that was cancelled: it changed nothing, or everything when it had just
        completed its version.
        """
        before = self.state(plan)
        if after != before:
            missing = [unit for unit in plan.units if not _paths(unit) <= after.paths.keys()]
            assert plan.on_error == "skip" or not missing
            assert after == State(before.number + 1, self._paths_after(plan, missing))
            self.states[plan.repository] = after

    def succeeded(self, plan: SyncPlan, result: SyncResult, after: State) -> None:
        """Judge a sync that ended well: it may, it leaves out only what could not be had, and all
        else is there.
        """
        before = self.state(plan)
        left_out = {left.relative_path for left in result.left_out}
        missing = [unit for unit in plan.units if left_out & _paths(unit)]
        doomed = [unit for unit in plan.units if self._verdict(plan, unit) is Verdict.DOOMED]
        assert self._manifest_verdict(plan) is not Verdict.DOOMED, "its manifest could not be had"
        assert left_out <= {file.path for file in _files(plan)}
        assert all(self._verdict(plan, unit) is not Verdict.SURE for unit in missing), result
        assert plan.on_error != "fail" or not left_out
        assert plan.max_errors is None or len(left_out) <= plan.max_errors
        assert all(unit in missing for unit in doomed) or result.skipped, "bytes out of nowhere"

        paths = self._paths_after(plan, missing)
        number = before.number + (paths != before.paths)
        assert after == State(number, paths)
        assert result.version == (number if paths != before.paths else None)
        self.states[plan.repository] = after

    def check_entries(
        self, plan: SyncPlan, result: SyncResult, entries: Mapping[str, VersionEntry]
    ) -> None:
        """Judge the bytes of a sync that ended well: all are here but those that were deferred."""
        if plan.policy != "immediate":
            return
        left_out = {left.relative_path for left in result.left_out}
        whole = [unit for unit in plan.units if not left_out & _paths(unit)]
        absent = {
            file.path for unit in whole for file in unit.files if not entries[file.path].stored
        }
        assert absent == set(), "bytes are missing that nobody left out"

    def _paths_after(self, plan: SyncPlan, missing: list[UnitPlan]) -> dict[str, str]:
        before = self.state(plan).paths
        paths = {} if plan.mirror else dict(before)
        for unit in plan.units:
            if unit in missing and plan.on_error == "skip":
                paths |= {path: before[path] for path in _paths(unit) if path in before}
            else:
                paths |= {file.path: file.sha256 for file in unit.files}
        return paths

    def _verdict(self, plan: SyncPlan, unit: UnitPlan) -> Verdict:
        """Foretell a unit: it needs all of its files."""
        if plan.policy != "immediate" or all(self._is_sure(plan, file) for file in unit.files):
            return Verdict.SURE
        # Nobody else can bring what nobody could bring so far.
        doomed = any(file.sha256 not in self._obtainable for file in unit.files)
        return Verdict.DOOMED if doomed else Verdict.OPEN

    def _is_sure(self, plan: SyncPlan, file: FilePlan) -> bool:
        return plan.policy != "immediate" or self._scene.verdict(plan, file) is Verdict.SURE

    def _manifest_verdict(self, plan: SyncPlan) -> Verdict:
        if plan.manifest is None:
            return Verdict.SURE
        return plan.manifest.verdict(plan.max_retries - self._scene.spare)


def _files(plan: SyncPlan) -> list[FilePlan]:
    return [file for unit in plan.units for file in unit.files]


def _paths(unit: UnitPlan) -> set[str]:
    return {file.path for file in unit.files}
