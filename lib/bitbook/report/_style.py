"""One look for every figure: size, type, and colours that colour-blind readers tell apart."""

from __future__ import annotations

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.axes import Axes

COLOURS = sns.color_palette("colorblind")


def figure(*, columns: int = 1, rows: int = 1, width: float = 7.2, height: float = 3.6, **options) -> list[Axes]:
    """Return the axes, row by row, of a new figure in the house style; its width and height are in inches."""
    sns.set_theme(style="whitegrid", palette=COLOURS, font_scale=0.9)
    plt.rcParams.update(
        {"figure.dpi": 110, "savefig.bbox": "tight", "axes.titlelocation": "left", "svg.hashsalt": "bitbook"}
    )
    _, axes = plt.subplots(rows, columns, figsize=(width, height), layout="constrained", squeeze=False, **options)
    for axis in axes.flat:
        sns.despine(ax=axis)
    return list(axes.flat)
