from pathlib import Path

import pytest

from flowsync import MetadataError
from flowsync.sources.file import manifest as module
from flowsync.sources.file.manifest import blocks, survey


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
    assert survey(str(manifest)) == len(expected)


def test_lines_are_whole_wherever_a_block_ends(manifest: Path) -> None:
    expected = [b"%d," % number + b"x" * (number % 97) for number in range(5000)]
    manifest.write_bytes(b"\n".join(expected))

    read = list(blocks(str(manifest)))

    assert [line for block in read for line in block] == expected
    assert max(sum(map(len, block)) for block in read) <= 2 * module.BLOCK


def test_a_line_that_does_not_end_is_not_read_whole(manifest: Path) -> None:
    """A gigabyte without a line feed is no manifest."""
    with manifest.open("wb") as file:
        file.write(b"first\nsecond\nthird ")
        file.truncate(1 << 30)

    with pytest.raises(
        MetadataError, match=r"manifest line 3: it is longer than 65536 bytes: 'third"
    ):
        list(blocks(str(manifest)))


A, B = "a" * 64, "b" * 64


def test_a_byte_order_mark_is_no_part_of_the_first_line(manifest: Path) -> None:
    manifest.write_bytes(b"\xef\xbb\xbfa,b,c\r\n")

    assert list(blocks(str(manifest))) == [[b"a,b,c\r"]]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32"])
def test_other_encodings_are_called_by_their_name(manifest: Path, encoding: str) -> None:
    manifest.write_bytes(f"\ufeffa,{A},1\n".encode(encoding))

    with pytest.raises(MetadataError, match=rf"is UTF-{encoding[4:6]} text; it must be UTF-8"):
        survey(str(manifest))


@pytest.mark.parametrize(
    ("second", "contradicts"),
    [
        (f"a,{A},1", False),
        (f"./a, {A.upper()} , 01\r", False),
        (f"a,{B},1", True),
        (f"a,{A},2", True),
        (f"./a,{B},1", True),
        (f"#a,{B},1", False),
        (f"A,{B},1", False),
    ],
)
def test_a_path_that_is_listed_twice_must_be_listed_alike(
    manifest: Path, second: str, contradicts: bool
) -> None:
    filling = "".join(f"{number},{A},{number}\n\n# comment\n" for number in range(3000))
    manifest.write_text(f"\n{filling}a,{A},1\n{filling}{second}\n")

    if contradicts:
        with pytest.raises(MetadataError, match=r"lines 9002 and 18003 contradict each other.*'a'"):
            survey(str(manifest))
    else:
        assert survey(str(manifest)) == 18003


def test_many_repeated_lines_are_compared_some_at_a_time(
    manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_COMPARED", 7)
    monkeypatch.setattr(module, "_SORTED", 20)
    listed = [f"{number},{A},1" for number in range(100)]
    manifest.write_text("\n".join([*listed, *listed]))
    assert survey(str(manifest)) == 200

    manifest.write_text("\n".join([*listed, *listed, f"99,{B},1"]))
    with pytest.raises(MetadataError, match="lines 100 and 201 contradict"):
        survey(str(manifest))
