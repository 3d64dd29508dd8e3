"""Pages whose words are written by hand and whose tables are made: a table stands between its two markers."""

from collections.abc import Mapping, Sequence


def with_tables(text: str, tables: Mapping[str, str], made_by: str) -> str:
    """`text` with each of its `tables` made again, by name. Raises ValueError when a marker is missing."""
    for name, table in tables.items():
        begin, end = f"<!-- {name}: made by {made_by} -->", f"<!-- {name}: end -->"
        if begin not in text or end not in text:
            raise ValueError(f"the page lacks {begin} or {end}")
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}\n\n{table}\n\n{end}{rest.partition(end)[2]}"
    return text


def table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A table, its cells' bars escaped."""
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
