"""Tables in Markdown, and pages whose tables are made while their prose is written by hand."""

import re
from collections.abc import Iterable, Mapping, Sequence

_MADE = re.compile(r"(<!-- made: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, numbers: Iterable[str] = ()) -> str:
    """Return a table in Markdown.

    Args:
        columns: The header's cells.
        rows: A cell for each column; None becomes an empty cell.
        numbers: The columns that are aligned to the right.

    Returns:
        The lines of the table, each with its line break.
    """
    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    if wrong := [row for row in cells if len(row) != len(columns)]:
        raise ValueError(f"a row of {len(wrong[0])} cells under {len(columns)} columns: {wrong[0]}")
    rule = ["---:" if column in set(numbers) else "---" for column in columns]
    return "".join(f"| {' | '.join(row)} |\n" for row in [list(columns), rule, *cells])


def fill(page: str, made: Mapping[str, str]) -> str:
    """Return a page with what stands between `<!-- made: NAME -->` and `<!-- end -->` replaced.

    Args:
        page: The text of a Markdown page.
        made: What to put there, by NAME.

    Returns:
        The page with a blank line around each part that was made.

    Raises:
        ValueError: The page asks for a name that is not made.
    """
    if unknown := {name for _, name, _ in _MADE.findall(page)} - made.keys():
        raise ValueError(f"nothing makes {', '.join(sorted(unknown))}: there are {', '.join(sorted(made))}")
    return _MADE.sub(lambda found: f"{found[1]}\n{made[found[2]].strip()}\n\n{found[3]}", page)
