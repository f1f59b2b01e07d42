"""JSON that any output can take and any parser reads."""

import io
import json
import sys

import pytest

from flowsync.cli.output import json_text

ODD = {"path": "grün\x9b\u202e\U000e0001\x7f", "line\n": "\x1b[31m"}


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_json_says_every_text_in_what_the_output_can_show(
    monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    written = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", written)

    text = json_text(ODD)

    assert text.isprintable()
    assert json.loads(text.encode(encoding)) == ODD


def test_json_says_bytes_of_a_path_that_are_no_text() -> None:
    assert json.loads(json_text({"home": "/srv/\udcf3"})) == {"home": "/srv/\udcf3"}
