"""README.md, RESULTS.md and REPRODUCING.md: prose written by hand, every table and the picture made here."""

import re
from pathlib import Path
from typing import Any

from bitbook.files import write_atomically
from bitbook.pipeline import _notebook as notebook
from bitbook.pipeline import _tables as tables
from bitbook.pipeline._collect import seed_of
from bitbook.pipeline._equal_accuracy import picture
from bitbook.pipeline._params import read_params
from bitbook.pipeline._result_tables import main_rows, of_results
from bitbook.report._markdown import fill, table

_CLAIM = re.compile(r"\*\*The claim\*\* \((.+?)\): (.+?\.)(?=\s)", re.DOTALL)


def _entries(root: Path) -> dict[str, dict[str, Any]]:
    """Return every run of both params files by the address of its stage, with its task and its own key."""
    found = {}
    for folder in ("full", "."):
        params = read_params(root / folder / "params.yaml")
        for key, run in params["runs"].items():
            address = f"run@{key}" if folder == "." else f"{folder}/dvc.yaml:run@{key}"
            task = params["nets"][run["net"]]["task"]
            found[address] = {"key": key, "notebook": run["notebook"], "task": task}
    return found


def claims(root: Path) -> str:
    """Return the claim that each notebook reproduces, as its first cell says, and where the claim stands."""
    rows = []
    for name in sorted({entry["notebook"] for entry in _entries(root).values()}):
        opening = notebook.read(root / "notebooks" / f"{name}.ipynb")["cells"][0]["source"]
        claim = _CLAIM.search(opening)
        said = [claim[1], " ".join(claim[2].split())] if claim else ["none", opening.splitlines()[0].strip("# ")]
        rows.append([f"[`{name}`](notebooks/{name}.ipynb)", *said])
    return table(["notebook", "source", "claim"], rows)


def runs(root: Path) -> str:
    """Return the runs that stand in published/table.csv, seeds of a run in one row, with what they took."""
    published = {row["command"]: row for row in tables.read(root / "published" / "table.csv")}
    rows = []
    for address, entry in _entries(root).items():
        row = published.get(f"dvc repro {address}")
        if row is None or seed_of(entry["key"]) > 0:
            continue
        seeds = int(row["seeds"])
        minutes = float(row["seconds"]) / seeds / 60
        further = ", ".join(f"`-s{seed}`" for seed in range(1, seeds))
        names = f"`dvc repro {address}`" + (f", {further}" if further else "")
        rows.append([entry["notebook"], entry["task"], names, f"{max(minutes, 1):.0f}", row["hardware"], row["commit"]])
    columns = ["notebook", "task", "command", "minutes a seed", "hardware", "commit"]
    return table(columns, rows, numbers={"minutes a seed"})


def not_run(root: Path) -> str:
    """Return the full runs that have no row in published/table.csv and are no further seed of one."""
    published = {row["command"] for row in tables.read(root / "published" / "table.csv")}
    rows = []
    for address, entry in _entries(root).items():
        first = re.sub(r"-s\d+$", "-s0", address)
        if address.startswith("full/") and not {f"dvc repro {address}", f"dvc repro {first}"} & published:
            rows.append([entry["notebook"], entry["task"], f"`dvc repro {address}`"])
    return table(["notebook", "task", "command"], rows)


def of_runs(root: Path) -> dict[str, str]:
    """Return every table of runs, by its name on the pages."""
    return {function.__name__.replace("_", "-"): function(root) for function in (claims, runs, not_run)}


PAGES = ("README.md", "RESULTS.md", "REPRODUCING.md")
PICTURE = "published/top1_against_bytes.svg"


def pages(root: Path) -> dict[str, str]:
    """Return the pages with their tables as published/ and the params files now have them, by name."""
    made = of_results(root / "published") | of_runs(root)
    return {name: fill((root / name).read_text(), made) for name in PAGES}


def write(root: Path) -> None:
    """Make the tables of the pages and the picture anew."""
    for name, text in pages(root).items():
        write_atomically(root / name, text)
    picture(root / "published", root / PICTURE)


def write_report(root: Path, folder: Path) -> None:
    """Write HTML pages of everything published, with the README's rows first."""
    from bitbook.report._html import Page, write_report

    published = root / "published"
    entries = read_params(root / "full" / "params.yaml")["runs"]
    notebooks = {path.stem: path for path in sorted((published / "notebooks").glob("*.ipynb"))}
    pages = [Page("run", key, notebooks[key], entry, {}) for key, entry in entries.items() if key in notebooks]
    rows = tables.read(published / "table.csv")
    write_report(folder, pages=pages, rows=rows, first=main_rows(published, readme=True), files=root)
