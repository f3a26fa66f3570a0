"""Boards: what their part has, and how fast their memory is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

FINN = "resource tables of FINN (finn/util/platforms.py, commit 39f0c9a)"
USABLE = MappingProxyType({"luts": 0.7, "dsps": 0.8, "bram18": 0.8, "uram": 0.8})  # FINN's for timing closure


@dataclass(frozen=True, kw_only=True)
class Board:
    """A part and its memory.

    luts: six-input look-up tables. bram18: memories of 18 kbit. uram: memories of 288 kbit. multiplier: widths of the
    DSP's two signed operands. bandwidth: peak of the memory, bytes a second. efficiency: the share of it that streams
    reach, 0.7 to 0.8 as a rule. clock: that designs of this kind reach as a rule, Hz; recalled, no measurement.
    usable: the shares of its resources that a design may take. sources: where each figure comes from.
    """

    name: str
    luts: int
    dsps: int
    bram18: int
    uram: int
    multiplier: tuple[int, int]
    bandwidth: float
    clock: float
    sources: Mapping[str, str]
    efficiency: float = 0.75
    usable: Mapping[str, float] = field(default_factory=lambda: USABLE)

    def budget(self, resource: str) -> int:
        """Return how many of a resource a design may take: "luts", "dsps", "bram18" or "uram"."""
        return int(getattr(self, resource) * self.usable[resource])

    @property
    def memory_bits(self) -> int:
        """Bits of on-chip memory that a design may take."""
        return self.budget("bram18") * 18432 + self.budget("uram") * 294912

    @property
    def bits_a_cycle(self) -> float:
        """Bits that the board's memory delivers in a cycle."""
        return 8 * self.bandwidth * self.efficiency / self.clock


def _sources(part: str, bandwidth: str, clock: str = "recalled: 200 to 300 MHz in UltraScale+") -> dict[str, str]:
    return {"part": part, "bandwidth": bandwidth, "clock": clock}


BOARDS: Mapping[str, Board] = MappingProxyType(
    {
        "xc7z020": Board(
            name="XC7Z020 (PYNQ-Z2)",
            luts=53_200,
            dsps=220,
            bram18=280,
            uram=0,
            multiplier=(25, 18),
            bandwidth=2.1e9,
            clock=150e6,
            sources=_sources(FINN, "recalled: 16 bits of DDR3-1050", "recalled: 100 to 200 MHz in the 7 series"),
        ),
        "zu3eg": Board(
            name="ZU3EG (Ultra96)",
            luts=71_000,
            dsps=360,
            bram18=412,
            uram=0,
            multiplier=(27, 18),
            bandwidth=8.5e9,
            clock=250e6,
            sources=_sources(FINN, "recalled: 32 bits of LPDDR4-2133"),
        ),
        "zu9eg": Board(
            name="ZU9EG (ZCU102)",
            luts=274_000,
            dsps=2_520,
            bram18=1_824,
            uram=0,
            multiplier=(27, 18),
            bandwidth=17e9,
            clock=250e6,
            sources=_sources(FINN, "recalled: 64 bits of DDR4-2133"),
        ),
        "kv260": Board(
            name="K26 (KV260)",
            luts=117_120,
            dsps=1_248,
            bram18=288,
            uram=64,
            multiplier=(27, 18),
            bandwidth=19.2e9,
            clock=250e6,
            sources=_sources(
                "DSP, BRAM, URAM: pages of the pccx project; look-up tables recalled",
                "data sheet DS987: 64 bits, 2,400 Mb/s",
            ),
        ),
        "u50": Board(
            name="Alveo U50",
            luts=374_400 + 368_160,
            dsps=2_592 + 2_760,
            bram18=2 * 2 * 564,
            uram=2 * 304,
            multiplier=(27, 18),
            bandwidth=316e9,
            clock=250e6,
            sources=_sources(FINN, "recalled rating of its HBM2; UG1393 gives 460 GB/s as the most in theory"),
        ),
    }
)


def board(name: str) -> Board:
    """Return a board by its name; ValueError for one that is not there."""
    if name.lower() not in BOARDS:
        raise ValueError(f"unknown board {name!r}; known: {', '.join(BOARDS)}")
    return BOARDS[name.lower()]
