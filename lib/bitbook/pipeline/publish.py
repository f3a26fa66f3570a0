"""Brings results into published/, the lasting record in Git: rows are inserted or updated, never dropped."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bitbook.files import write_atomically
from bitbook.pipeline import collect, tables
from bitbook.pipeline.collect import aggregate, rows_of, seed_of
from bitbook.pipeline.layout import Results, root
from bitbook.pipeline.params import check_name, read_params

COLUMNS = (*collect.COLUMNS, "sha256")
LARGEST = 500_000  # bytes of a file that Git is asked to keep
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


def _copy(source: Path, target: Path) -> None:
    """Copy a file where there is one."""
    if source.exists():
        write_atomically(target, source.read_bytes())


def _keep(file: Path, task: str, sha256: str) -> str:
    """Copy a file into published/files/ under a name made of its content; return its path from the root."""
    name = f"published/files/{task}-{sha256[:12]}.bitbook"
    _copy(file, root() / name)
    return name


def publish(rows: Iterable[Mapping[str, Any]]) -> int:
    """Insert or update rows in published/table.csv, copy files, fronts and notebooks.

    A row is known by task, method and variant. One over fewer seeds than the published one does not replace it. Every
    row names the bytes and the SHA-256 of the first seed's file. The file itself is kept where published/main.csv names
    the row and it has fewer than LARGEST bytes, files of equal content once. Notebooks are those of first seeds.

    Args:
        rows: What `local_rows` or `imported_rows` returned.

    Returns:
        The count of rows inserted or updated.
    """
    rows, folder = list(rows), root() / "published"
    main = {_name(row) for row in tables.read(folder / "main.csv")}
    table = {_name(row): row for row in tables.read(folder / "table.csv")}
    table = {name: row if name in main else row | {"file": ""} for name, row in table.items()}
    count = 0
    for row in aggregate(rows):
        before = table.get(_name(row))
        if before and int(before["seeds"]) > row["seeds"]:
            print(f"{', '.join(_name(row))}: kept, since it is over {before['seeds']} seeds, not {row['seeds']}")
            continue
        sha256 = hashlib.sha256(row["file"].read_bytes()).hexdigest()
        kept = _name(row) in main and row["file"].stat().st_size < LARGEST
        table[_name(row)] = row | {
            "sha256": sha256,
            "file": _keep(row["file"], row["task"], sha256) if kept else "",
        }
        count += 1
    for row in rows:
        results = Results(row["file"].parents[2])
        _copy(row["file"].parent / "front.csv", folder / "fronts" / f"{row['key']}.csv")
        if seed_of(row["key"]) == 0:
            _copy(results.executed(row["key"]), folder / "notebooks" / f"{row['key']}.ipynb")
    tables.write(folder / "table.csv", (table[name] for name in sorted(table)), COLUMNS)
    named = {row["file"] for row in table.values()}
    for file in (folder / "files").glob("*"):
        if file.relative_to(root()).as_posix() not in named:
            file.unlink()
    return count


def _name(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return row["task"], row["method"], row["variant"]
