"""The tables of runs for REPRODUCING.md: what each claims, costs and needs, and which have not been run."""

import re
from pathlib import Path
from typing import Any

from bitbook.pipeline import _notebook as notebook
from bitbook.pipeline import _tables as tables
from bitbook.pipeline._collect import seed_of
from bitbook.pipeline._params import read_params
from bitbook.report._markdown import table

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
