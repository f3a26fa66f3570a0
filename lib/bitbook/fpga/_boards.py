"""Boards: what their part has, and how fast their memory is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

FINN = "resource tables of FINN (finn/util/platforms.py, commit 39f0c9a)"
USABLE = MappingProxyType({"luts": 0.7, "ffs": 0.5, "dsps": 0.8, "bram18": 0.8, "uram": 0.8})  # FINN's, to close timing


@dataclass(frozen=True)
class Board:
    """A part and its memory.

    luts: six-input look-up tables. bram18: memories of 18 kbit. uram: memories of 288 kbit. multiplier: widths of the
    DSP's two signed operands. bandwidth: peak of the memory, bytes a second. efficiency: the share of it that streams
    reach, 0.7 to 0.8 as a rule. clock: that designs of this kind reach as a rule, Hz; recalled, no measurement.
    usable: the shares of its resources that a design may take. sources: of part, memory and clock.
    """

    name: str
    luts: int
    dsps: int
    bram18: int
    uram: int
    multiplier: tuple[int, int]
    bandwidth: float
    clock: float
    sources: tuple[str, str, str]
    efficiency: float = 0.75
    usable: Mapping[str, float] = field(default_factory=lambda: USABLE)

    def budget(self, resource: str) -> int:
        """Return how many of a resource a design may take: "luts", "ffs", "dsps", "bram18" or "uram"."""
        return int(getattr(self, resource) * self.usable[resource])

    @property
    def ffs(self) -> int:
        """Flip-flops: two for each look-up table, in all of these families."""
        return 2 * self.luts

    @property
    def memory_bits(self) -> int:
        """Bits of on-chip memory that a design may take."""
        return self.budget("bram18") * 18432 + self.budget("uram") * 294912

    @property
    def bits_a_cycle(self) -> float:
        """Bits that the board's memory delivers in a cycle."""
        return 8 * self.bandwidth * self.efficiency / self.clock


# where each board's figures come from: its part, its memory, its clock
_ZYNQ = (FINN, "recalled: 16 bits of DDR3-1050", "recalled: 100 to 200 MHz in the 7 series")
_FAST = "recalled: 200 to 300 MHz in UltraScale+"
_ULTRA96 = (FINN, "recalled: 32 bits of LPDDR4-2133", _FAST)
_ZCU102 = (FINN, "recalled: 64 bits of DDR4-2133", _FAST)
_K26 = ("pages of the pccx project; look-up tables recalled", "data sheet DS987: 64 bits, 2,400 Mb/s", _FAST)
_U50 = (FINN, "recalled rating of its HBM2; UG1393 gives 460 GB/s as the most in theory", _FAST)
_U50_LUTS, _U50_DSPS = 374_400 + 368_160, 2_592 + 2_760  # the two regions that designs may take
_ULTRASCALE = (27, 18)

BOARDS: Mapping[str, Board] = MappingProxyType(
    {  # look-up tables, DSPs, BRAM18, URAM, DSP's operands, bytes a second, Hz
        "xc7z020": Board("XC7Z020 (PYNQ-Z2)", 53_200, 220, 280, 0, (25, 18), 2.1e9, 150e6, _ZYNQ),
        "zu3eg": Board("ZU3EG (Ultra96)", 71_000, 360, 412, 0, _ULTRASCALE, 8.5e9, 250e6, _ULTRA96),
        "zu9eg": Board("ZU9EG (ZCU102)", 274_000, 2_520, 1_824, 0, _ULTRASCALE, 17e9, 250e6, _ZCU102),
        "kv260": Board("K26 (KV260)", 117_120, 1_248, 288, 64, _ULTRASCALE, 19.2e9, 250e6, _K26),
        "u50": Board("Alveo U50", _U50_LUTS, _U50_DSPS, 2_256, 608, _ULTRASCALE, 316e9, 250e6, _U50),
    }
)


def board(name: str) -> Board:
    """Return a board by its name; ValueError for one that is not there."""
    if name.lower() not in BOARDS:
        raise ValueError(f"unknown board {name!r}; known: {', '.join(BOARDS)}")
    return BOARDS[name.lower()]
