"""Brings results into published/, the lasting record in Git: rows are inserted or updated, never dropped."""

import base64
import hashlib
import io
import json
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bitbook import load
from bitbook.codes import RULES, recount
from bitbook.files import write_atomically
from bitbook.pipeline import _collect as collect
from bitbook.pipeline import _provenance as provenance
from bitbook.pipeline import _tables as tables
from bitbook.pipeline._collect import aggregate, rows_of, seed_of
from bitbook.pipeline._layout import Results, require_writable, root
from bitbook.pipeline._params import check_name, read_params
from bitbook.pipeline._tables import NAME

PROVENANCE = ("seconds", "hardware", "commit", "command", "test_reads")
COLUMNS = (*collect.COLUMNS[:-1], *PROVENANCE[:4], "file", "test_reads", "sha256")
COLOURS = 128  # of a published figure
AT_HAND = {"digits"}  # tasks whose notebooks `dvc repro` makes in minutes
LARGEST = 500_000  # bytes of a file that Git is asked to keep
MOST = 1e12  # of any number in a record
NUMBERS = ("value", "float_value", "epochs", "seconds", "test_reads")
TEXTS = ("task", "method", "variant", "metric", "paper_counting", "hardware", "commit", "command")
TOLERANCE = 0.002  # of a value that another machine reports and this one measures


class PublishError(ValueError):
    """A result that does not hold what its record says."""


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < MOST


def _is_text(value: Any) -> bool:
    """Tell whether a value is one line without what Markdown and HTML would take for more than text."""
    return isinstance(value, str) and value.isprintable() and not {*value} & {*"<>|`"}


def _rows(results: Results, key: str, entry: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """Return a run's rows with their provenance; none where that is missing or, given an entry, of other parameters."""
    try:
        rows, about = rows_of(results, key), provenance.read(results, key)
        if about is None:
            if rows:
                print(f"{key}: not published, its provenance is not here: `dvc repro --force --single-item` makes it")
            return []
        made_with = about["parameters"] | {"notebook": about["notebook"]}
        if any(made_with.get(name) != value for name, value in (entry or {}).items()):
            return []
        if astray := [row["file"] for row in rows if row["file"].parent != results.output("run", key)]:
            raise ValueError(f"{astray[0]} is not among its outputs")
        if any("variant" not in point for point in tables.read(results.output("run", key) / "front.csv")):
            raise ValueError("its front names no variants")
        check_name(made_with.get("net", "none"), "net")
        return [row | {name: about[name] for name in PROVENANCE} for row in rows]
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise PublishError(
            f"{key}: its record in {results.folder} is damaged ({error!r:.200}): make it again"
        ) from None


def local_rows() -> list[dict[str, Any]]:
    """Return the rows of this checkout's runs whose parameters are still those of the params files."""
    rows = []
    for params in (root() / "params.yaml", root() / "full" / "params.yaml"):
        results, runs = Results.of(params), read_params(params)["runs"] if params.exists() else {}
        for key, entry in runs.items():
            rows += _rows(results, key, entry)
    return rows


def imported_rows(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of a results folder from another machine, each file loaded and evaluated here.

    Raises:
        PublishError: where there is no result, a record is damaged, a number or a text is none, or a record says
            something else than what is measured here. What is measured here (the file's value and ratio, the float
            network's value where the folder has it, the paper's ratio) is what the rows have.
    """
    results, rows = Results(folder), []
    for path in sorted((folder / "provenance").glob("*.json")):
        rows += _rows(results, check_name(path.stem, f"{path}:"))
    if not rows:
        raise PublishError(
            f"{folder} holds no result of a run: name a folder like results/, with provenance/ and runs/"
        )
    return [row | _measured(row, results) for row in rows]


def _measured(row: Mapping[str, Any], results: Results) -> dict[str, Any]:
    """Return what a row's file gives here; raise PublishError where the row says otherwise, or no number."""
    from bitbook import tasks, training
    from bitbook.compression import measure
    from bitbook.pipeline._network_file import read_network

    required = dict.fromkeys(NUMBERS, _is_number) | dict.fromkeys(TEXTS, _is_text)
    if row.get("paper_ratio") is not None:
        required["paper_ratio"] = _is_number
    for name, holds in required.items():
        if not holds(row.get(name)):
            raise PublishError(f"{row['file']}: its record says {name} {row.get(name)!r:.80}: not published")
    task, file = tasks.get(check_name(row["task"], "task")), load(row["file"])
    if check_name(row["method"], "method") and row["metric"] not in task.metrics:
        raise PublishError(f"{row['file']}: {task.name} has no metric {row['metric']}: not published")
    with tempfile.TemporaryDirectory() as fresh:
        found = {"value": measure([row["file"]], task, folder=Path(fresh))[row["file"]][row["metric"]]}
    net = json.loads(results.provenance(row["key"]).read_text())["parameters"].get("net", "")
    if results.network(net).exists() and not row["variant"].startswith("robust"):  # which is compared with another
        network, test = read_network(results.network(net)), task.test()
        metrics = {row["metric"]: task.metrics[row["metric"]]}
        found["float_value"] = training.evaluate(network, test.images, test.labels, metrics)[row["metric"]]
    tolerances = dict.fromkeys(found, TOLERANCE)
    dropped: dict[str, Any] = {}
    if row.get("paper_ratio") is not None and row["paper_counting"] not in RULES:
        print(f"{row['file']}: no file tells its {row['paper_counting']}: published without that ratio")
        dropped = {"paper_ratio": None, "paper_counting": ""}
    elif row.get("paper_ratio") is not None:
        counted = [count.ratio for count in recount(file, row["paper_counting"])]
        found["paper_ratio"] = min(counted, key=lambda ratio: abs(ratio - row["paper_ratio"]))
        tolerances["paper_ratio"] = 0.01 * found["paper_ratio"]
    for name, here in found.items():
        if abs(here - row[name]) > tolerances[name]:
            said = f"{row['metric'] if name == 'value' else name} {row[name]:.4f}"
            raise PublishError(f"{row['file']}: its record says {said}, here it is {here:.4f}: not published")
    return found | dropped | {"file_bytes": row["file"].stat().st_size, "ratio": file.ratio}


def publish(rows: Iterable[Mapping[str, Any]]) -> int:
    """Insert or update rows in published/table.csv, copy files, fronts and notebooks.

    A row is known by task, method and variant. One over fewer seeds than the published one does not replace it. Every
    row names the bytes and the SHA-256 of the first seed's file. The file itself is kept where published/main.csv names
    the row and it has fewer than LARGEST bytes, files of equal content once. Notebooks are those of first seeds, except
    those of tasks AT_HAND. All is done in a copy of the folder, which then takes its place: what is stopped halfway has
    done nothing.

    Args:
        rows: What `local_rows` or `imported_rows` returned.

    Returns:
        The count of rows inserted or updated.
    """
    require_writable()
    rows, published = list(rows), root() / "published"
    old, new = root() / ".work" / "published.old", root() / ".work" / "published.new"
    if old.exists() and not published.exists():  # stopped between the two renames below
        old.rename(published)
    for left in (old, new):
        shutil.rmtree(left, ignore_errors=True)
    shutil.copytree(published, new)
    count = _insert(rows, new)
    published.rename(old)
    new.rename(published)
    shutil.rmtree(old)
    return count


def _insert(rows: list[Mapping[str, Any]], folder: Path) -> int:
    table: dict[tuple[str, str, str], Mapping[str, Any]]
    main = {NAME(row) for row in tables.read(folder / "main.csv")}
    table = {NAME(row): row for row in tables.read(folder / "table.csv")}
    table = {name: row if name in main else dict(row) | {"file": ""} for name, row in table.items()}
    count = 0
    for row in aggregate(rows):
        before = table.get(NAME(row))
        if before and int(before["seeds"]) > row["seeds"]:
            print(f"{', '.join(NAME(row))}: kept, since it is over {before['seeds']} seeds, not {row['seeds']}")
            continue
        data = row["file"].read_bytes()
        sha256, file = hashlib.sha256(data).hexdigest(), ""
        if NAME(row) in main and len(data) < LARGEST:
            file = f"files/{row['task']}-{sha256[:12]}.bitbook"
            write_atomically(folder / file, data)
        table[NAME(row)] = dict(row) | {"sha256": sha256, "file": file and f"published/{file}"}
        count += 1
    for one in rows:
        results = Results(one["file"].parents[2])
        if (front := one["file"].parent / "front.csv").exists():
            write_atomically(folder / "fronts" / f"{one['key']}.csv", front.read_bytes())
        if one["task"] not in AT_HAND and seed_of(one["key"]) == 0 and results.executed(one["key"]).exists():
            shown = provenance.executed_notebook(results, one["key"])
            write_atomically(folder / "notebooks" / f"{one['key']}.ipynb", with_smaller_figures(shown))
    tables.write(folder / "table.csv", (table[name] for name in sorted(table)), COLUMNS)
    named = {Path(row["file"]).name for row in table.values()}
    for kept in (folder / "files").glob("*"):
        if kept.name not in named:
            kept.unlink()
    return count


def with_smaller_figures(notebook: str) -> str:
    """Return a notebook whose figures have COLOURS colours each, which is a third of their bytes."""
    from PIL import Image

    cells = json.loads(notebook)
    for output in (output for cell in cells["cells"] for output in cell.get("outputs", [])):
        if png := output.get("data", {}).get("image/png"):
            smaller = io.BytesIO()
            figure = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
            figure.quantize(COLOURS, dither=Image.Dither.NONE).save(smaller, "PNG", optimize=True)
            output["data"]["image/png"] = base64.b64encode(smaller.getvalue()).decode()
    return json.dumps(cells, indent=1, ensure_ascii=False) + "\n"
