"""The ledger: where every byte of a file goes, beside what entropy allows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One line of the ledger: `bytes` of the file hold this part of this section; no code can beat `bound` bytes.

    The bound of coded symbols is their zero-order entropy; other rows are their own bound.
    """

    section: str
    part: str
    bytes: int
    bound: float


@dataclass(frozen=True)
class Ledger:
    """All rows of a file; every byte is counted once."""

    rows: tuple[Row, ...]

    @property
    def total(self) -> int:
        """Bytes of the file."""
        return sum(row.bytes for row in self.rows)

    def by_row(self) -> dict[tuple[str, str], int]:
        """Return the bytes of each section and part, in the order of the file."""
        sums: dict[tuple[str, str], int] = {}
        for row in self.rows:
            sums[row.section, row.part] = sums.get((row.section, row.part), 0) + row.bytes
        return sums

    def by_part(self) -> dict[str, int]:
        """Return the bytes of each part (codes, coder tables, codebooks, ...), largest first."""
        sums: dict[str, int] = {}
        for row in self.rows:
            sums[row.part] = sums.get(row.part, 0) + row.bytes
        return dict(sorted(sums.items(), key=lambda item: -item[1]))

    def __str__(self) -> str:
        lines = [f"{'section':40} {'part':14} {'bytes':>10} {'bound':>12}"]
        lines += [f"{row.section:40} {row.part:14} {row.bytes:10,} {row.bound:12,.1f}" for row in self.rows]
        return "\n".join([*lines, f"{'total':40} {'':14} {self.total:10,}"])
