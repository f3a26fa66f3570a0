"""How results are written: canonical JSON and CSV."""

import csv
import io
import json
from collections.abc import Iterable, Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any

from bitbook.files import write_atomically

NAME = itemgetter("task", "method", "variant")  # by which a row of results is known


def to_json(value: Any, *, finite: bool = True) -> str:
    """Return JSON, keys in the given order, NumPy's numbers and arrays as plain ones; refuse NaN with ValueError.

    finite: False for what may hold an infinite number, as parameters may; only Python reads that.
    """
    return json.dumps(value, indent=1, default=lambda number: number.tolist(), allow_nan=not finite) + "\n"


def write(path: Path, rows: Iterable[Mapping[str, Any]], columns: Iterable[str] | None = None) -> None:
    """Write rows as CSV, the given columns of them, else those of the first row; None becomes an empty field."""
    rows = list(rows)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns or rows[0]), lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue())


def read(path: Path) -> list[dict[str, str]]:
    """Read a CSV table, every field as text; a table that does not exist has no rows."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
