"""What a kind of source tells the command line, daemons and servers about itself."""

from collections.abc import Callable
from typing import Any

import msgspec

from flowsync.errors import DeclarationError
from flowsync.layout import Layout
from flowsync.model.remote import Remote
from flowsync.pipeline.stage import Stage


class SourceKind(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of upstream, found through the entry-point group `flowsync.sources`.

    `name` is the word of the command line (`flowsync sync NAME URL`), `summary` says in its help
    what the URL leads to. `first_stage(remote)` makes the first stage of a sync. `layout` is what
    a served version has beside its content, so that clients can use it and others sync from it.

    `options` is the type of what can be set of a sync besides its remote; then the first stage is
    made by `first_stage(remote, options)`, without options by the defaults of the type. A stage
    that is made so carries its options: a sync with other options than the last one is never
    skipped. Raises `DeclarationError` for options of another type, and where some must be set and
    none are given.

    `rule_for(options, path)` says in words which option keeps a path out of a version, as far as
    the path tells; `None` when none does.
    """

    name: str
    summary: str
    first_stage: Callable[..., Stage]
    options: type[msgspec.Struct] | None = None
    layout: Layout = Layout()
    rule_for: Callable[[Any, str], str | None] | None = None

    def __post_init__(self) -> None:
        if self.options is not None and not isinstance(self.first_stage, _WithOptions):
            made = _WithOptions(self.name, self.options, self.first_stage)
            msgspec.structs.force_setattr(self, "first_stage", made)


class _WithOptions(msgspec.Struct, frozen=True):
    """Makes first stages that carry their options, whatever else the kind's own code does with
    them.
    """

    kind: str
    takes: type[msgspec.Struct]
    make: Callable[[Remote, Any], Stage]

    def __call__(self, remote: Remote, options: msgspec.Struct | None = None) -> Stage:
        if options is None:
            options = self._without_any()
        if not isinstance(options, self.takes):
            raise DeclarationError(
                f"source {self.kind!r} takes its options as a {self.takes.__name__}, "
                f"found {type(options).__name__}"
            )
        stage = self.make(remote, options)
        stage.kind_options = options
        return stage

    def _without_any(self) -> msgspec.Struct:
        try:
            return msgspec.convert({}, self.takes)
        except msgspec.ValidationError as error:
            raise DeclarationError(f"source {self.kind!r} needs options: {error}") from error
