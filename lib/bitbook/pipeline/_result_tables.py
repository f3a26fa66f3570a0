"""The tables of results for the pages, made from published/ alone."""

import json
import re
from pathlib import Path

from bitbook.pipeline import _tables as tables
from bitbook.pipeline._claims import headlines
from bitbook.pipeline._equal_accuracy import compared
from bitbook.pipeline._tables import NAME
from bitbook.report import words
from bitbook.report._markdown import table

MODES = ("none", "DPR", "DPR + shared values", "DPQ", "DPQ + shared values", "k-means", "uniform")
COLUMNS = ("method", "variant", "seeds", "float", "top-1", "bytes", "ratio")
NUMBERS = ("seeds", "float", "bytes", "ratio", "epochs")


def _cells(row: dict[str, str]) -> list[str]:
    spread = f" ± {100 * float(row['value_std']):.2f}" if row["value_std"] else ""
    value = f"{100 * float(row['value_mean']):.2f}{spread}"
    size = [f"{int(row['file_bytes']):,}", f"{float(row['ratio']):.2f}"]
    names = [words.method(row["method"]), words.variant(row["variant"])]
    return [*names, row["seeds"], f"{100 * float(row['float_value']):.2f}", value, *size]


def main_rows(published: Path, *, readme: bool = False) -> list[dict[str, str]]:
    """Return the rows of the main tables in their order; or only those that the README shows."""
    rows = {NAME(row): row for row in tables.read(published / "table.csv")}
    return [rows[NAME(row)] for row in tables.read(published / "main.csv") if row["readme"] or not readme]


def main(published: Path) -> str:
    """Return the main tables, one for each network."""
    columns = [*COLUMNS, "epochs", "commit", "file or its SHA-256"]
    text, shown = "", main_rows(published)
    for task in dict.fromkeys(row["task"] for row in shown):  # in the order of main.csv
        rows = []
        for row in (row for row in shown if row["task"] == task):
            file = f"[`{Path(row['file']).stem}`]({row['file']})" if row["file"] else f"`{row['sha256'][:12]}…`"
            rows.append([*_cells(row), row["epochs"], row["commit"], file])
        text += f"### {words.capital(words.network(task))} (`{task}`)\n\n{table(columns, rows, numbers=NUMBERS)}\n"
    return text


def few(published: Path) -> str:
    """Return the README's rows."""
    cells = [[words.network(row["task"]), *_cells(row)] for row in main_rows(published, readme=True)]
    return table(["network", *COLUMNS], cells, numbers=NUMBERS)


def per_layer(published: Path) -> str:
    """Return top-1 with K centroids in every layer, untrained and by each kind of training."""
    rows = {NAME(row): row for row in tables.read(published / "table.csv")}
    lines = []
    for task, label in (("mnist", ""), ("cifar10", ", short")):
        for k in (2, 4, 8, 16):
            found = [rows[task, "dpnet", f"{mode}, k={k}{label}"] for mode in MODES]
            values = [f"{100 * float(row['value_mean']):.2f}" for row in found]
            lines.append([f"{words.network(task)}, K = {k}", f"{float(found[0]['ratio']):.1f}", *values])
    return table(["", "ratio, untrained", *map(words.variant, MODES)], lines)


def robust(published: Path) -> str:
    """Return natural accuracy and accuracy under attack of the float, the robust and the compressed networks."""
    rows = []
    for row in tables.read(published / "fronts" / "mnist-dpnet-robust.csv"):
        size = [f"{float(row['file_bytes']):,.0f}", f"{float(row['ratio']):.2f}"] if row["ratio"] else ["", ""]
        rates = [f"{100 * float(row[name]):.1f}" for name in ("natural", "attacked")]
        rows.append([words.variant(row["variant"]), *rates, *size])
    return table(["LeNet-5 on MNIST", "natural", "PGD-20", "bytes", "ratio"], rows, numbers={"bytes", "ratio"})


def _printed(notebook: Path, pattern: str) -> re.Match | None:
    cells = json.loads(notebook.read_text())["cells"]
    printed = ["".join(output.get("text", [])) for cell in cells for output in cell.get("outputs", [])]
    return next((found for text in printed if (found := re.search(pattern, text))), None)


def searched(published: Path) -> str:
    """Return how close the paper's search comes to trying every bin count, as its notebooks have printed it."""
    rows = []
    for task, network in words.NETWORKS.items():
        notebook = published / "notebooks" / f"{task}-paper.ipynb"
        if not notebook.exists():
            continue
        tried = _printed(notebook, r"(\d+) of (\d+) bin counts evaluated")
        share = _printed(notebook, r"hypervolume ([\d.]+) of that of a sweep")
        rows.append([network, *(tried.groups() if tried else ["", ""]), f"{float(share[1]):.2%}" if share else ""])
    return table(["network", "bin counts tried", "of", "hypervolume of the sweep's"], rows)


def fpga_claim(published: Path) -> str:
    """Return how much faster accumulating units multiply one matrix, by board, where weights lie, and K."""
    rows = tables.read(published / "fpga_claim.csv")
    over = ("over MAC, 16 bits", "over MAC, 8 bits packed", "over MAC with decoder")
    found = {(row["board"], row["weights"], row["K"], row["design"]): row for row in rows}
    cells = []
    for key in dict.fromkeys(name[:3] for name in found):
        both = [found[*key, f"accumulate, {width}"] for width in ("16 bits", "8 bits")]
        ratios = [(both[0], over[0]), (both[0], over[2]), (both[1], over[0]), (both[1], over[1]), (both[1], over[2])]
        cells.append([*key, *(f"{float(row[name]):.2f}" for row, name in ratios)])
    names = ["16 / MAC 16", "16 / decoder 16", "8 / MAC 16", "8 / MAC 8", "8 / decoder 8"]
    return table(["board", "weights", "K", *names], cells, numbers=["K", *names])


def fpga(published: Path) -> str:
    """Return the latency of files that the README shows or of one K, by board, and what it gains over dense arrays.

    Of the fastest accumulating unit; without a codebook, of the fastest dense one that decodes.
    """
    shown = {NAME(row) for row in main_rows(published, readme=True)}
    files: dict[tuple, dict[str, dict]] = {}  # by file, then board
    for row in tables.read(published / "fpga.csv"):
        fits = row["design"].startswith("accumulate" if int(row["codewords"]) else "MAC with decoder")
        if fits and (NAME(row) in shown or "k=" in row["variant"].lower() or row["task"] == "imagenet"):
            boards = files.setdefault((*NAME(row), row["codewords"]), {})
            boards[row["board"]] = min(boards.get(row["board"], row), row, key=lambda row: float(row["latency_ms"]))
    columns, cells = ["network", "method", "variant", "K"], []
    for board in next(iter(files.values()), {}):
        columns += [f"{board.split(' (')[0]}: ms", "over MAC 16 / 8"]
    for (task, method, variant, k), boards in files.items():
        cells.append([words.network(task), words.method(method), words.variant(variant), k])
        for row in boards.values():
            over = (f"{float(row[f'over_mac_{width}']):.2f}" for width in (16, 8))
            cells[-1] += [f"{float(row['latency_ms']):.3g}", " / ".join(over)]
    return table(columns, cells, numbers=columns[3:])


def unclean(published: Path) -> str:
    """Say how many rows were made from a checkout with changes that were not committed, and of which tasks."""
    rows = tables.read(published / "table.csv")
    tasks = [row["task"] for row in rows if not row["commit"] or row["commit"].endswith("+")]
    if not tasks:
        return f"Of all {len(rows)} rows every commit is clean."
    names = ", ".join(f"`{task}`" for task in sorted(set(tasks)))
    return f"{len(tasks)} of {len(rows)} rows were made so, all of them of {names}."


def of_results(published: Path) -> dict[str, str]:
    """Return every table of results, by its name on the pages."""
    made = (headlines, compared, main, few, per_layer, robust, searched, fpga_claim, fpga, unclean)
    return {function.__name__.replace("_", "-"): function(published) for function in made}
