"""One look for every figure: size, type, and colours that colour-blind readers tell apart."""

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

_HEX = "0173b2 de8f05 029e73 d55e00 cc78bc ca9161 56b4e9 949494 fbafe4 ece133"  # seaborn's "colorblind", pale ones last
COLOURS = [to_rgb(f"#{colour}") for colour in _HEX.split()]
# seaborn's style "whitegrid", by hand: importing it takes longer than drawing a figure, for the statistics behind it.
STYLE = {
    "axes.axisbelow": True, "axes.edgecolor": ".8", "axes.grid": True, "axes.labelcolor": ".15", "axes.labelsize": 10.8,
    "axes.linewidth": 1.25, "axes.prop_cycle": plt.cycler(color=COLOURS), "axes.spines.right": False,
    "axes.spines.top": False, "axes.titlelocation": "left", "axes.titlesize": 10.8, "figure.dpi": 110,
    "font.size": 10.8,
    "font.sans-serif": ["Arial", "DejaVu Sans", "Liberation Sans", "Bitstream Vera Sans", "sans-serif"],
    "grid.color": ".8", "grid.linewidth": 1.0, "legend.fontsize": 9.9, "legend.title_fontsize": 10.8,
    "lines.solid_capstyle": "round", "patch.edgecolor": "w", "patch.force_edgecolor": True, "savefig.bbox": "tight",
    "svg.hashsalt": "bitbook", "text.color": ".15", "xtick.bottom": False, "xtick.color": ".15", "xtick.labelsize": 9.9,
    "xtick.major.size": 6.0, "xtick.major.width": 1.25, "xtick.minor.size": 4.0, "xtick.minor.width": 1.0,
    "ytick.major.size": 6.0, "ytick.major.width": 1.25, "ytick.minor.size": 4.0, "ytick.minor.width": 1.0,
    "ytick.color": ".15", "ytick.labelsize": 9.9, "ytick.left": False,
}  # fmt: skip


def figure(*, columns: int = 1, rows: int = 1, width: float = 7.2, height: float = 3.6, **options) -> list[Axes]:
    """Return the axes, row by row, of a new figure in the house style; its width and height are in inches."""
    plt.rcParams.update(STYLE)
    _, axes = plt.subplots(rows, columns, figsize=(width, height), layout="constrained", squeeze=False, **options)
    return list(axes.flat)
