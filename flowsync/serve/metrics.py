"""What the server counts, in the text format of Prometheus.

Counters are plain numbers that only the event loop touches; adding one costs a dictionary's
look-up, and nothing grows with requests or clients. Each process tells its own: of several at one
home, all are to be asked.

Decisions: docs/decisions/0016.
"""

from collections import Counter
from typing import Final

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The counters of one server."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        """Answers by method and status."""
        self.sent_bytes = 0
        self.open_connections = 0
        self.refused_connections = 0
        self.running_requests = 0
        self.broken_answers = 0
        self.fetches: Counter[str] = Counter()
        """Fetches from upstream by how they ended."""
        self.running_fetches = 0
        self.joined_fetches = 0

    def text(self) -> bytes:
        """Return all of them."""
        lines = _head("requests_total", "counter", "Answers by method and status.")
        lines += [
            f'flowsync_serve_requests_total{{method="{method}",status="{status}"}} {count}'
            for (method, status), count in sorted(self.requests.items())
        ]
        lines += _head("fetches_total", "counter", "Fetches from upstream by outcome.")
        lines += [
            f'flowsync_serve_fetches_total{{outcome="{outcome}"}} {count}'
            for outcome, count in sorted(self.fetches.items())
        ]
        for name, kind, value, about in (
            ("sent_bytes_total", "counter", self.sent_bytes, "Bytes of bodies sent."),
            ("broken_answers_total", "counter", self.broken_answers, "Answers broken off."),
            ("refused_connections_total", "counter", self.refused_connections, "Over the limit."),
            ("joined_fetches_total", "counter", self.joined_fetches, "Misses under way already."),
            ("open_connections", "gauge", self.open_connections, "Connections now."),
            ("running_requests", "gauge", self.running_requests, "Requests being answered."),
            ("running_fetches", "gauge", self.running_fetches, "Fetches under way."),
        ):
            lines += [*_head(name, kind, about), f"flowsync_serve_{name} {value}"]
        return "\n".join([*lines, ""]).encode()


def _head(name: str, kind: str, about: str) -> list[str]:
    return [f"# HELP flowsync_serve_{name} {about}", f"# TYPE flowsync_serve_{name} {kind}"]
