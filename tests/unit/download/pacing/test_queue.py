"""The order of those who wait for a host."""

from flowsync.download.pacing.gate import Line


def leaving(line: Line[str]) -> list[str]:
    """Let all in and return their order."""
    order = []
    while line:
        ticket = line.first()
        line.let_in(ticket)
        order.append(ticket.holder)
    return order


def test_largest_come_first_and_every_fourth_turn_is_the_oldest_ones() -> None:
    line: Line[str] = Line()
    for size in (1, 5, 3, 9, 7, 2, 8):
        line.join(f"{size}", size)

    assert leaving(line) == ["9", "8", "7", "1", "5", "3", "2"]


def test_unknown_sizes_come_before_all_in_their_order() -> None:
    line: Line[str] = Line()
    for name, size in (("large", 9), ("index", None), ("signature", None)):
        line.join(name, size)

    assert leaving(line) == ["index", "signature", "large"]


def test_who_has_left_is_never_let_in() -> None:
    line: Line[str] = Line()
    tickets = {name: line.join(name, size) for name, size in (("a", 4), ("b", 3), ("c", 2))}

    line.leave(tickets["a"])
    assert len(line) == 2
    line.leave(tickets["b"])

    assert leaving(line) == ["c"]
    assert not line


def test_line_that_was_empty_begins_anew() -> None:
    line: Line[str] = Line()
    line.leave(line.join("gone", 100))

    line.join("small", 1)
    line.join("large", 2)

    assert leaving(line) == ["large", "small"]
