"""Bytes at equal accuracy, compared with NNCodec: a table and the picture, made from published/ alone."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bitbook.report._markdown import table

FRONTS = {  # column of the comparison: run and variant of the fronts, none of them trained
    "baseline: one step": ("moea", "baseline"),
    "bins as in the paper": ("moea", "bins, plain"),
    "+ batch norm re-estimated": ("moea", "bins, re-estimated"),
    "+ GPTQ rounding": ("moea", "bins, compensated"),
    "searched layer by layer": ("search", "search"),
    "DP-Net within a bit budget": ("dpnet", "budget"),
    "bitbook.compress": ("compress", "grid"),
}


def fronts(published: Path, task: str, run: str, variant: str) -> list[pd.DataFrame]:
    """Return the front of one variant of a run, by bytes: a table for each seed, with file_bytes and top1."""
    paths = sorted((published / "fronts").glob(f"{task}-{run}*.csv"))
    seeds = [pd.read_csv(path) for path in paths if re.fullmatch(rf"{task}-{run}(-s\d+)?", path.stem)]
    return [rows[rows.variant == variant].sort_values("file_bytes") for rows in seeds]


def needed(seeds: list[pd.DataFrame], value: float) -> tuple[float, str] | None:
    """Return the bytes that fronts need for a top-1 accuracy, as a mean over seeds and in words, or None.

    Where the smallest file of a seed is better than asked for, its bytes are an upper bound and the words say so.
    """
    from bitbook.compression import bytes_at

    found, bound = [], False
    for front in seeds:
        size = bytes_at(front.file_bytes, front.top1, value)
        if size is None and value < front.top1.mean():  # below the whole front, since smoothing keeps the mean
            size, bound = front.file_bytes.min(), True
        found += [] if size is None else [size]
    if not found:
        return None
    some = "" if len(found) == len(seeds) else f", {len(found)} of {len(seeds)} seeds"
    return float(np.mean(found)), f"{'at most ' if bound else ''}{np.mean(found):,.0f}{some}"


def _peers(published: Path) -> pd.DataFrame:
    """Return the claims measured with NNCodec, and the float networks that it was given."""
    claims = pd.read_csv(published / "claims.csv")
    return claims[claims.id.str.startswith("nncodec-") & (claims.kind == "peer")]


def compared(published: Path) -> str:
    """Return what each front needs at the accuracy of each NNCodec file within five points of the float network."""
    peers = _peers(published)
    floats = peers[peers.method == "float"].set_index("task").paper_value
    near = peers.paper_value > peers.task.map(floats) - 0.05
    rows = []
    for peer in peers[near & (peers.method != "float")].itertuples():
        seeds = {name: fronts(published, peer.task, *front) for name, front in FRONTS.items()}
        sizes = {name: needed(found, peer.paper_value) for name, found in seeds.items()}
        least = min((size[0] for size in sizes.values() if size), default=None)
        cells = [f"{peer.network}, {peer.paper_value:.2%}", f"{peer.paper_bytes:,.0f}"]
        for name, size in sizes.items():
            missing = "not reached" if seeds[name] else "not run"
            text = f"{size[1]} ({size[0] / peer.paper_bytes - 1:+.1%})" if size else missing
            cells.append(f"**{text}**" if size and size[0] == least else text)
        rows.append(cells)
    return table(["network, at top-1", "NNCodec", *FRONTS], rows)


def picture(published: Path, path: Path) -> None:
    """Draw top-1 against bytes on ResNet-20, as SVG: NNCodec, the baseline and our best fronts."""
    import matplotlib.pyplot as plt

    from bitbook.report import figures

    def seed_0(name: str) -> tuple[Any, Any]:
        front = fronts(published, "cifar10", *FRONTS[name])[0]
        return front.file_bytes, front.top1

    rows = pd.read_csv(published / "table.csv").query("task == 'cifar10'").set_index("variant")
    trained = rows.loc[[f"combined, {ratio}x" for ratio in (30, 22, 12)]]
    peers = _peers(published).query("task == 'cifar10'")
    (original,), nncodec = peers[peers.method == "float"].itertuples(), peers[peers.method != "float"]
    axis = figures.fronts(
        {
            "baseline: one step for all layers": seed_0("baseline: one step"),
            "MOEA bins, GPTQ rounding": seed_0("+ GPTQ rounding"),
            "MOEA bins, searched layer by layer": seed_0("searched layer by layer"),
            "bitbook.compress, a minute": seed_0("bitbook.compress"),
            "DP-Net combined, trained 1 to 5 epochs": (trained.file_bytes, trained.value_mean),
        },
        points={"NNCodec 2.1.3": (nncodec.paper_bytes, nncodec.paper_value)},
        level=(f"float network, {original.paper_bytes / 1000:,.0f} kB", original.paper_value),
        ylabel="top-1 on CIFAR-10's test set",
        ylim=(0.86, 0.92),
    )
    axis.set_xlim(25_000, 150_000)
    path.parent.mkdir(parents=True, exist_ok=True)
    drawing: Any = axis.figure
    drawing.savefig(path, metadata={"Date": None})
    plt.close(axis.figure)
