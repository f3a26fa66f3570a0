"""Gathers what runs have left into one table, several seeds of a run into one row."""

import json
import re
import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bitbook.pipeline._layout import Results
from bitbook.pipeline._tables import NAME, read

COLUMNS = (
    *("task", "method", "variant", "seeds", "metric", "float_value", "value_mean", "value_std", "file_bytes", "ratio"),
    *("paper_ratio", "paper_counting", "epochs", "file"),
)
SUMMED = ("seconds", "test_reads")  # of what `publish` adds
_SEED = re.compile(r"-s\d+$")


def seed_of(key: str) -> int:
    """Return the number at the end of a key that ends in -s0, -s1, ...; 0 for any other key."""
    found = _SEED.search(key)
    return int(found[0][2:]) if found else 0


def rows_of(results: Results, key: str) -> list[dict[str, Any]]:
    """Return the rows that one run added to the table; none for a run that has not been made."""
    folder = results.output("run", key)
    if not (folder / "rows.json").exists():
        return []
    rows = json.loads((folder / "rows.json").read_text())
    return [{**row, "key": key, "file": folder / row["file"]} for row in rows]


def aggregate(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return one row per (task, method, variant): mean, standard deviation and count of the values over its seeds.

    Keys that end in -s0, -s1, ... are seeds of one run. Bytes, ratio and file are those of the first seed, seconds and
    test reads, where rows have them, the sum over seeds; the spread of a single seed is left empty. Raises ValueError
    where two different runs claim one row.
    """
    groups: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(NAME(row), []).append(row)
    found = []
    for name, seeds in groups.items():
        keys = [row["key"] for row in seeds]
        if len({_SEED.sub("", key) for key in keys}) > 1:
            raise ValueError(f"{', '.join(keys)} each claim the row {', '.join(name)}: name their variants apart")
        seeds = sorted(seeds, key=lambda row: seed_of(row["key"]))
        values = [row["value"] for row in seeds]
        summary = {
            "seeds": len(seeds),
            "float_value": round(statistics.fmean(row["float_value"] for row in seeds), 6),
            "value_mean": round(statistics.fmean(values), 6),
            "value_std": round(statistics.stdev(values), 6) if len(values) > 1 else None,
            **{name: round(sum(row[name] for row in seeds), 1) for name in SUMMED if name in seeds[0]},
            **{name: seeds[0][name] and round(seeds[0][name], 4) for name in ("ratio", "paper_ratio")},
        }
        found.append({**seeds[0], **summary})
    return sorted(found, key=NAME)


def collect(results: Results, keys: Iterable[str]) -> list[dict[str, Any]]:
    """Return the table of results of the named runs, `file` relative to the results folder."""
    rows = aggregate(row for key in keys for row in rows_of(results, key))
    return [{**row, "file": Path(row["file"]).relative_to(results.folder).as_posix()} for row in rows]


def fronts(results: Results, keys: Iterable[str]) -> dict[str, list[dict[str, str]]]:
    """Return the front of each run that made one, by key, in the columns that `plots` of dvc.yaml draw.

    Those are variant, file_bytes and value, the headline metric. A row without a file, or without that metric, is none.
    """
    found: dict[str, list[dict[str, str]]] = {}
    for key in keys:
        metric = next((row["metric"] for row in rows_of(results, key)), "value")
        rows = read(results.output("run", key) / "front.csv")
        points = [
            {"variant": row["variant"], "file_bytes": row["file_bytes"], "value": row[metric]}
            for row in rows
            if row.get("file_bytes") and row.get(metric)
        ]
        found |= {key: points} if points else {}
    return found
