"""What people read: lines have 100 columns, and what they cite is here."""

import re

from tests.arch.tree import ROOT, texts

COLUMNS = 100

# What may not change: the digests of migrations are recorded in databases.
FIXED = "flowsync/catalog/migrations/"

# A comment for a tool at the end of a line does not count, as ruff has it.
PRAGMA = re.compile(r"\s+# (noqa|type:|fmt:|pragma:).*$")

# A number of a fact, a ruling or a section means a document; those of standards are public.
CITATION = re.compile(
    r"\b(?:rulings?|facts?|sections?|studies|study) \d+(?:\.\d+)*|behaviour study|\(design\b",
    re.IGNORECASE,
)
STANDARD = re.compile(r"\bRFC \d+, section \d+")
DECISION = re.compile(r"docs/decisions/(\d{4})[\w-]*|\bdecision (\d{4})\b")
CONSOLE = re.compile(r"^```console\n.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


def long_lines(path: str, text: str) -> list[str]:
    """Return the lines that are too long. In Markdown, tables, links and what programs print may
    be.
    """
    if path.endswith(".md"):
        text = CONSOLE.sub(lambda block: re.sub(r".+", "", block[0]), text)
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        if path.endswith(".md") and (line.lstrip().startswith("|") or "](" in line):
            continue
        if len(PRAGMA.sub("", line)) > COLUMNS and not re.fullmatch(r"\s*[#-]* *\S+", line):
            found.append(f"{path}:{number}")
    return found


def test_lines_have_100_columns() -> None:
    too_long = [
        place
        for path, text in texts().items()
        # Modules of flowsync are ruff's (E501).
        if not path.startswith(FIXED) and not re.match(r"flowsync/.*\.pyi?$", path)
        for place in long_lines(path, text)
    ]

    assert too_long == []


def test_nothing_cites_what_is_not_in_the_repository() -> None:
    cited = [
        f"{path}: {found}"
        for path, text in texts().items()
        if not path.startswith((FIXED, "tests/arch/"))
        for found in CITATION.findall(STANDARD.sub("", text))
    ]

    assert cited == []


def test_every_decision_that_is_named_has_its_page() -> None:
    pages = {path.name[:4] for path in (ROOT / "docs/decisions").glob("[0-9]*.md")}

    named = {
        f"{path}: {number}"
        for path, text in texts().items()
        for match in DECISION.findall(text)
        for number in match
        if number and number not in pages
    }

    assert named == set()


def test_every_page_of_a_decision_is_in_the_index() -> None:
    index = (ROOT / "docs/decisions/README.md").read_text()

    pages = {path.name for path in (ROOT / "docs/decisions").glob("[0-9]*.md")}

    assert {page for page in pages if f"]({page})" not in index} == set()


def test_links_between_pages_lead_somewhere() -> None:
    broken = {
        f"{path}: {target}"
        for path, text in texts().items()
        if path.endswith(".md")
        for target in LINK.findall(text)
        if not ((ROOT / path).parent / target).exists()
    }

    assert broken == set()


def test_modules_that_are_named_are_here() -> None:
    here = {path.rpartition("/")[2] for path in texts()}
    named = re.compile(r"`([a-z_]+\.py)`")

    gone = {
        (path, name)
        for path, text in texts().items()
        if path.startswith("flowsync/")
        for name in named.findall(text)
        if name not in here
    }

    assert gone == set()


def test_no_module_sends_its_reader_to_itself() -> None:
    own = [
        path
        for path, text in texts().items()
        if path.startswith("flowsync/") and f"`{path.rpartition('/')[2]}`" in text
    ]

    assert own == []


def test_rooms_and_modules_of_the_maps_are_here() -> None:
    """The last column of the glossary, and what begins a line or a box in the architecture."""
    glossary = (ROOT / "docs/glossary.md").read_text()
    architecture = (ROOT / "docs/architecture.md").read_text()
    rows = [row.split("|") for row in glossary.splitlines() if row.count("|") == 4]
    named = [name for row in rows for name in re.findall(r"`([a-z_/]+)`", row[3])]
    named += re.findall(r"^([a-z]+/[a-z_]+(?:/[a-z_]+)*)", architecture, re.MULTILINE)
    named += re.findall(r"\[\"([a-z_]+/[a-z_/]+)\.py", architecture)

    gone = {
        name
        for name in named
        if not ((ROOT / "flowsync" / name).is_dir() or (ROOT / f"flowsync/{name}.py").is_file())
    }

    assert len(named) > 50
    assert gone == set()
