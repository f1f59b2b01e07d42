from pathlib import Path

import pytest

from flowsync import MetadataError
from flowsync.sources.file import lines
from flowsync.sources.file.lines import blocks, count_lines


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return tmp_path / "PULP_MANIFEST"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", []),
        (b"\n", [b""]),
        (b"a", [b"a"]),
        (b"a\n", [b"a"]),
        (b"a\nb", [b"a", b"b"]),
        (b"a\r\n\nb\n", [b"a\r", b"", b"b"]),
        (b"a\x0bb\x85c\n", [b"a\x0bb\x85c"]),
    ],
)
def test_lines_end_with_a_line_feed_or_the_file(
    manifest: Path, text: bytes, expected: list[bytes]
) -> None:
    manifest.write_bytes(text)

    assert [line for block in blocks(str(manifest)) for line in block] == expected
    assert count_lines(str(manifest)) == len(expected)


def test_lines_are_whole_wherever_a_block_ends(manifest: Path) -> None:
    expected = [b"%d," % number + b"x" * (number % 97) for number in range(5000)]
    manifest.write_bytes(b"\n".join(expected))

    read = list(blocks(str(manifest)))

    assert [line for block in read for line in block] == expected
    assert max(sum(map(len, block)) for block in read) <= 2 * lines.BLOCK


def test_a_line_that_does_not_end_is_not_read_whole(manifest: Path) -> None:
    """A gigabyte without a line feed is no manifest."""
    with manifest.open("wb") as file:
        file.write(b"first\nsecond\nthird ")
        file.truncate(1 << 30)

    with pytest.raises(
        MetadataError, match=r"manifest line 3: it is longer than 65536 bytes: 'third"
    ):
        list(blocks(str(manifest)))
