"""What a sync would do: the answer to "what if", and the promise that a planned sync keeps or
breaks off.
"""

import msgspec

from flowsync.model.run_record import RunTerms


class SyncPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a sync of `repository` would do now, without having done any of it.

    It starts from version `base`, whose content has `base_root`, and comes to content with `root`;
    the same root means that nothing changes. Counts are units, of which `added_bare` and
    `removed_bare` have no artifacts; `downloads` are artifacts, each once, however many units share
    it. Sizes are bytes; `downloads_unsized` artifacts, of which upstream does not say how large
    they are, count as 0. `unchanged` says that upstream is found unchanged by its metadata alone,
    so that the sync would be skipped; `refusal` is the error that would stop the sync, as far as
    that can be foretold.
    Where artifacts without a digest are to be downloaded, the sync comes to another root than
    planned: which units they make, only their bytes tell.
    """

    repository: str
    base: int
    base_root: str
    root: str
    added: int = 0
    added_bytes: int = 0
    added_bare: int = 0
    removed: int = 0
    removed_bytes: int = 0
    removed_bare: int = 0
    present: int
    downloads: int = 0
    download_bytes: int = 0
    downloads_unsized: int = 0
    unchanged: bool = False
    refusal: str | None = None
    terms: RunTerms

    @property
    def changes(self) -> bool:
        """Whether the sync would make a version."""
        return self.root != self.base_root
