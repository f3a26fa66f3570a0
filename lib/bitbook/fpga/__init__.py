"""What a codebook buys on an FPGA: cycles that equal those of our own circuits (`fpga.rtl`), resources, whole networks.

Nothing here needs a vendor's tool, torch or Amaranth, but for `fpga.rtl`, which is in Amaranth.
"""

from ._beats import Beats, beats, row_beats, sparse_groups, words
from ._boards import BOARDS, Board, board
from ._cycles import Memory, cycles
from ._network import LayerTime, Report, layer_time, network_time
from ._resources import SYNTHESIS, resources, synthesised
from ._search import DESIGNS, Latency, candidates, claim, fits, search, searched, text
from ._unit import Unit
from ._workload import Layer, layers

__all__ = [
    "BOARDS", "DESIGNS", "SYNTHESIS", "Beats", "Board", "Latency", "Layer", "LayerTime", "Memory", "Report", "Unit",
    "beats", "board", "candidates", "claim", "cycles", "fits", "layer_time", "layers", "network_time", "resources",
    "row_beats", "search", "searched", "sparse_groups", "synthesised", "text", "words",
]  # fmt: skip
