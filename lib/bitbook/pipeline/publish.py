"""Brings results into published/, the lasting record in Git: rows are inserted or updated, never dropped."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bitbook.files import write_atomically
from bitbook.pipeline import tables
from bitbook.pipeline.collect import COLUMNS, aggregate, rows_of
from bitbook.pipeline.layout import Results, root
from bitbook.pipeline.params import check_name, read_params

LARGEST = 1_000_000  # bytes of a file that Git is asked to keep
TOLERANCE = 0.002  # of a value that another machine reports and this one measures


class PublishError(ValueError):
    """A result that does not hold what its record says."""


def _is_of(results: Results, key: str, entry: Mapping[str, Any]) -> bool:
    """Tell whether a result was made with the parameters that the params file now has."""
    if not results.provenance(key).exists():
        return False
    about = json.loads(results.provenance(key).read_text())
    made_with = about["parameters"] | {"notebook": about["notebook"]}
    return all(made_with.get(name) == value for name, value in entry.items())


def local_rows() -> list[dict[str, Any]]:
    """Return the rows of this checkout's runs whose parameters are still those of the params files."""
    rows = []
    for params in (root() / "params.yaml", root() / "full" / "params.yaml"):
        results, runs = Results.of(params), read_params(params)["runs"] if params.exists() else {}
        for key in (key for key, entry in runs.items() if _is_of(results, key, entry)):
            rows += rows_of(results, key)
    return rows


def imported_rows(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of a results folder from another machine, each file loaded and evaluated here.

    Raises PublishError where a value differs by more than TOLERANCE from the one measured here, which is the one kept.
    """
    from bitbook import load, tasks
    from bitbook.compression import measure

    results, rows = Results(folder), []
    for path in sorted((folder / "provenance").glob("*.json")):
        rows += rows_of(results, check_name(path.stem, f"{path}:"))
    for row in rows:
        with tempfile.TemporaryDirectory() as fresh:
            metrics = measure([row["file"]], tasks.get(row["task"]), folder=Path(fresh))[row["file"]]
        measured = metrics[row["metric"]]
        if abs(measured - row["value"]) > TOLERANCE:
            said = f"{row['metric']} {row['value']:.4f}"
            raise PublishError(f"{row['file']}: its record says {said}, here it is {measured:.4f}: not published")
        row |= {"value": measured, "file_bytes": row["file"].stat().st_size, "ratio": load(row["file"]).ratio}
    return rows


def _copy(source: Path, target: Path) -> bool:
    """Copy a file that is there and small enough; tell whether it was."""
    if not source.exists() or source.stat().st_size >= LARGEST:
        return False
    write_atomically(target, source.read_bytes())
    return True


def publish(rows: Iterable[Mapping[str, Any]]) -> int:
    """Insert or update rows in published/table.csv, copy files, fronts and notebooks; return the count of rows.

    A row is known by task, method and variant. One over fewer seeds than the published one does not replace it. Files
    of a megabyte and more are left out, their rows name no file.
    """
    rows, folder = list(rows), root() / "published"
    table = {_name(row): row for row in tables.read(folder / "table.csv")}
    count = 0
    for row in aggregate(rows):
        before = table.get(_name(row))
        if before and int(before["seeds"]) > row["seeds"]:
            print(f"{', '.join(_name(row))}: kept, since it is over {before['seeds']} seeds, not {row['seeds']}")
            continue
        file = folder / "files" / f"{row['key']}-{row['file'].name}"
        copied = _copy(row["file"], file)
        table[_name(row)] = row | {"file": file.relative_to(root()).as_posix() if copied else ""}
        count += 1
    for row in rows:
        results = Results(row["file"].parents[2])
        _copy(row["file"].parent / "front.csv", folder / "fronts" / f"{row['key']}.csv")
        _copy(results.executed(row["key"]), folder / "notebooks" / f"{row['key']}.ipynb")
    tables.write(folder / "table.csv", (table[name] for name in sorted(table)), COLUMNS)
    named = {row["file"] for row in table.values()}
    for file in (folder / "files").glob("*"):
        if file.relative_to(root()).as_posix() not in named:
            file.unlink()
    return count


def _name(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return row["task"], row["method"], row["variant"]
