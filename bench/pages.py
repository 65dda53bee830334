"""Pages of the documentation that commands write: each a section of its own, between two markers."""

from collections.abc import Sequence
from pathlib import Path

from common.errors import MidstreamError

DOCS = Path(__file__).parents[1] / "docs"


def place(page: str) -> Path:
    """The folder of the documentation. Raises MidstreamError where there is no such page to write to."""
    if not (DOCS / page).is_file():
        raise MidstreamError(f"--docs writes docs/{page}, which is in the source tree only; try --json and --plot")
    return DOCS


def put(page: Path, key: str, section: str) -> None:
    """Write this section between its markers: where it was, or at the end. Raises MidstreamError if one is missing."""
    try:
        page.write_text(replaced(page.read_text(), key, section))
    except MidstreamError as e:
        raise MidstreamError(f"docs/{page.name} {e}") from e


def replaced(text: str, key: str, section: str) -> str:
    """The page with this section between its markers. Raises MidstreamError if its end is missing."""
    begin, end = f"<!-- {key} -->\n", f"<!-- /{key} -->\n"
    before, marker, rest = text.partition(begin)
    if not marker:
        return f"{text.rstrip()}\n\n{begin}{section}{end}"
    _, marker, after = rest.partition(end)
    if not marker:
        raise MidstreamError(f"has the marker {begin.strip()} without its end {end.strip()}: restore it")
    return before + begin + section + end + after


def slug(text: str) -> str:
    """A name that files and markers take."""
    return "-".join("".join(c if c.isalnum() else " " for c in text.lower()).split())


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, figures to the right."""
    lines = ["| " + " | ".join(heads) + " |", "|---" + "|--:" * (len(heads) - 1) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])
