"""All methods of a task side by side, and what each step of a method brings: made from published/ alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from bitbook.pipeline._equal_accuracy import needed
from bitbook.report import words

_SETTING = re.compile(r",? *([\d.]+x\b|[kK]=\d+|gamma [\d.]+|\d+ epochs|short\b|GPU|least F1 loss|[\d,]+ weights)")
RIVALS = {"k-means": "k-means codebooks, trained", "uniform": "uniform grid, trained"}  # peers that we train ourselves
LOSSES = (0.005, 0.01, 0.02, 0.05)
# Each method's steps from the baseline on, each with those before it unless said: task, families of variants.
ATTRIBUTION = {
    "moea_bins": ("cifar10", ("one grid step", "bins, plain", "bins, re-estimated", "bins, GPTQ rounding", "search")),
    "dpnet": (
        "cifar10",
        (
            *("one grid step", "no training, one K, re-estimated", "no training, one K, GPTQ rounding"),
            *("no training, bit budget", "combined"),
        ),
    ),
    "dpnet, trained instead": ("cifar10", ("untrained", *RIVALS.values(), "DPR", "DPQ", "DPQ + centroids trained")),
    "permuted_vq": ("cifar10", ("one grid step", "ablation identity", "ablation annealed", "outputs", "tuned")),
    "admm": ("mnist-relu-crop2", ("one grid step", "pruned", "clustered")),
    "self_compression": ("mnist", ("one grid step", "depth", "entropy")),
}


def family(method: str, variant: str) -> str:
    """Return what a variant is without its setting, such as its ratio, in the field's words."""
    name = words.variant(_SETTING.sub("", variant))
    trained = ", long" if "GPU" in variant else ""
    return "one grid step" if method == "baseline" else RIVALS.get(name, name) + trained


def points(published: Path, task: str) -> pd.DataFrame:
    """Return every result on a task: ours, peers measured by us, and what others report.

    Columns: method, family, kind ("ours", "measured" or "quoted"), file_bytes, top1 (a mean over seeds), std, epochs,
    float_value. Ours are rows of table.csv, the others claims with both a value and bytes.
    """
    rows = pd.read_csv(published / "table.csv").query("task == @task and metric == 'top1'")
    rows = rows.assign(family=[family(*names) for names in zip(rows.method, rows.variant, strict=True)], kind="ours")
    peers = rows.family.isin(RIVALS.values()) | rows.method.eq("baseline")
    rows.loc[peers, "kind"] = "measured"
    rows["method"] = rows.method.where(~rows.family.isin(RIVALS.values()), rows.family)
    rows = rows.rename(columns={"value_mean": "top1", "value_std": "std"})
    claims = pd.read_csv(published / "claims.csv").query("task == @task and metric == 'top1' and method != 'float'")
    claims = claims[claims.kind.isin(["peer", "rival", "sister"]) & claims.paper_bytes.notna()]
    quoted = ["measured" if kind == "peer" else "quoted" for kind in claims.kind]
    fitted = claims.claim.str.contains("re-estimated").map({True: ", re-estimated", False: ""})
    names = claims.method + fitted
    others = pd.DataFrame({"method": names, "family": names, "kind": quoted, "file_bytes": claims.paper_bytes})
    columns = ["method", "family", "kind", "file_bytes", "top1", "std", "epochs", "float_value"]
    return pd.concat([rows, others.assign(top1=claims.paper_value)])[columns].reset_index(drop=True)


def _title(method: str, name: str) -> str:
    return name if name == method or method == "baseline" else f"{method}: {name}"


def least_bytes(found: pd.DataFrame, losses: Sequence[float] = LOSSES) -> pd.DataFrame:
    """Return what each family needs at a loss of so many points (rows: families, columns: losses), in words.

    Each family is interpolated as in the table of NNCodec; "at most" where its smallest file is better than asked for,
    empty where it does not get there.
    """
    level, table = found.float_value.max(), {}
    for (method, name), rows in found[found.kind != "quoted"].groupby(["method", "family"], sort=False):
        table[_title(method, name)] = [needed([rows.sort_values("file_bytes")], level - loss) for loss in losses]
    return pd.DataFrame(table, index=[f"{100 * loss:g} point{'s' * (loss != 0.01)}" for loss in losses]).T


def epochs(found: pd.DataFrame) -> pd.Series:
    """Return how many epochs of retraining the files of each family took, by the titles of `least_bytes`."""
    spans = found.assign(title=[_title(*names) for names in zip(found.method, found.family, strict=True)])
    ends = spans.groupby("title").epochs.agg(["min", "max"]).fillna(0).astype(int)
    return (
        ends["min"]
        .astype(str)
        .where(ends["min"] == ends["max"], ends["min"].astype(str) + "-" + ends["max"].astype(str))
    )


def in_sentences(task: str, needs: pd.DataFrame) -> list[str]:
    """Return who needs least at each loss, by how much, and who does not get there, as the table has it."""
    said = []
    where = words.capital(words.network(task))
    for loss, cells in needs.items():
        reached = sorted((cell, name) for name, cell in cells.items() if cell)
        if not reached:
            said.append(f"{where}, {loss} below the float network: nothing gets there.")
            continue
        (best, text), first = reached[0]
        sentence = f"{where}, {loss} below the float network: {first} needs least, {text} bytes"
        for (size, need), name in reached[1:2]:
            sentence += f"; {name} is next with {need} ({size / best - 1:+.0%})"
        missed = [name for name, cell in cells.items() if not cell]
        said.append(f"{sentence}; {len(missed)} of {len(cells)} do not get there." if missed else f"{sentence}.")
    return said


def attribution(published: Path, method: str, loss: float = 0.01) -> tuple[dict[str, float], list[str]]:
    """Return the bytes that each step of a method needs at a loss, and the steps that have no row or do not get there.

    Every step has the same coder; the baseline is one grid step for the whole network with batch norms re-estimated.
    """
    task, steps = ATTRIBUTION[method]
    found = points(published, task)
    sizes: dict[str, float] = {}
    gaps = []
    for step in steps:
        rows = found[(found.family == step) | found.family.str.startswith(f"{step},")]
        rows = rows[~rows.family.str.endswith(", long")]
        size = needed([rows.sort_values("file_bytes")], found.float_value.max() - loss) if len(rows) else None
        if size:
            sizes[step] = size[0]
        else:
            gaps.append(f"{step}: {'does not get there' if len(rows) else 'not run'}")
    return sizes, gaps


def coder_steps(published: Path, run: str, variant: str, loss: float, level: float) -> dict[str, float]:
    """Return the bytes of one variant's front at a loss, with indices of fixed length, Huffman codes, and our coder."""
    front = pd.read_csv(published / "fronts" / f"{run}.csv").query("variant == @variant").sort_values("file_bytes")
    coders = {"fixed length": "fixed_bytes", "Huffman": "huffman_bytes", "zero-order entropy": "entropy_bytes"}
    coders |= {"this coder, whole file": "file_bytes"}
    sizes = {name: needed([front.assign(file_bytes=front[column])], level - loss) for name, column in coders.items()}
    return {name: size[0] for name, size in sizes.items() if size}


def tasks(published: Path) -> list[str]:
    """Return the tasks of real data with results of two methods and more, in the order of the pages."""
    rows = pd.read_csv(published / "table.csv").query("task != 'digits'")
    counts = rows.groupby("task").method.nunique()
    return [
        task for task in [*words.NETWORKS, *sorted(set(counts.index) - set(words.NETWORKS))] if counts.get(task, 0) > 1
    ]
