"""What the five papers claim first, compared with our results: made from published/ alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from bitbook.pipeline import _tables as tables
from bitbook.report._markdown import table

Row = Mapping[str, str]
FRACTIONS = ("top1", "macro_f1", "top1_loss")


def ours(claim: Row, results: Sequence[Row], where: str) -> Row | None:
    """Return our row for a claim, by the patterns in its column `same` or `nearest`; None where there is none.

    Patterns are `task|method|variant`, several in the order of preference. Of several rows of one pattern it is the one
    whose ratio is nearest to the paper's, as the paper counts where that is known, never that of the highest accuracy.
    """
    for pattern in filter(None, claim[where].split("; ")):
        names = pattern.split("|")
        found = [r for r in results if all(map(fnmatchcase, (r["task"], r["method"], r["variant"]), names))]
        if found:
            asked = math.log(float(claim["paper_ratio"]))
            return min(found, key=lambda row: abs(math.log(float(row["paper_ratio"] or row["ratio"])) - asked))
    return None


def _number(value: str, metric: str) -> str:
    return f"{100 * float(value):.4g} %" if metric in FRACTIONS else value


def _span(claim: Row, column: str, metric: str = "") -> str:
    ends = [_number(claim[name], metric) for name in (column, f"{column}_to") if claim[name]]
    return " to ".join(ends)


def _said(claim: Row) -> str:
    """Return what the paper claims: value and ratio."""
    value, ratio = _span(claim, "paper_value", claim["metric"]), _span(claim, "paper_ratio")
    return ", ".join(filter(None, [value and f"{claim['metric']} {value}", ratio and f"{ratio} times"]))


def _reached(row: Row, networks: Mapping[str, str]) -> str:
    """Return what a row of ours reached: value, spread, bytes, and the ratio by the file and as a paper counts."""
    spread = f" ± {100 * float(row['value_std']):.2f}" if row["value_std"] else ""
    value = f"{100 * float(row['value_mean']):.2f}{spread} (float {100 * float(row['float_value']):.2f})"
    counted = f", {float(row['paper_ratio']):.1f} counted as `{row['paper_counting']}`" if row["paper_ratio"] else ""
    size = f"{int(row['file_bytes']):,} B, **{float(row['ratio']):.1f} times**{counted}"
    return f"{networks.get(row['task'], row['task'])}: {row['metric']} {value}, {size}"


def _fpga(published: Path) -> str:
    """Return how much faster the accumulating circuits are in our model, over every board and count of values."""
    rows, found = tables.read(published / "fpga_claim.csv"), []
    for weights in ("on chip", "streamed"):
        ours = [row for row in rows if row["weights"] == weights and row["design"] == "accumulate, 16 bits"]
        times = [float(row["over MAC, 16 bits"]) for row in ours]
        found.append(f"weights {weights}: {min(times):.2f} to {max(times):.1f} times")
    return "; ".join(found)


def headlines(published: Path, networks: Mapping[str, str]) -> str:
    """Return two tables: each headline claim with ours, and how ours was made. networks: names of tasks in words."""
    claims, results = tables.read(published / "claims.csv"), tables.read(published / "table.csv")
    rows: list[list[str]] = []
    made: dict[tuple[str, str, str], Row] = {}
    for claim in (claim for claim in claims if claim["same"] or claim["nearest"] or claim["gap"]):
        both = [ours(claim, results, where) for where in ("same", "nearest")]
        cells = [_reached(row, networks) if row else "not run" for row in both]
        if claim["metric"] == "speedup":
            cells[1] = _fpga(published)
        paper = f"{_said(claim)}{claim['paper_counting'] and ' (' + claim['paper_counting'] + ')'}"
        about = [f"{claim['method']}: {claim['claim']}", f"{claim['network']}, {claim['dataset']}", paper]
        rows.append([*about, *cells, "" if both[0] else claim["gap"]])
        made |= {(row["task"], row["method"], row["variant"]): row for row in both if row}
    lines = []
    for (task, *name), row in made.items():
        minutes = max(float(row["seconds"]) / int(row["seeds"]) / 60, 1)
        how = [row["seeds"], f"`{row['command']}`", f"{minutes:.0f}", row["hardware"]]
        lines.append([networks.get(task, task), *name, *how])
    columns = ["claim", "network", "paper", "ours, same network", "ours, nearest network run", "why not the same"]
    how = ["network", "method", "variant", "seeds", "command", "minutes a seed", "hardware"]
    return f"{table(columns, rows)}\n{table(how, lines, numbers={'seeds', 'minutes a seed'})}"
