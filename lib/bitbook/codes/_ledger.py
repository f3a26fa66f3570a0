"""The ledger: where every byte of a file goes, and what entropy allows."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Row:
    """One line of the ledger: `bytes` of the file hold this part of this section.

    bound: bytes of the symbols' zero-order entropy, which a coder without contexts cannot beat; 0 for coder tables,
    the bytes themselves for header and checksum.
    """

    section: str
    part: str
    bytes: int
    bound: float


@dataclass(frozen=True)
class Ledger:
    """All rows of a file, one for each section and part; every byte is counted once."""

    rows: tuple[Row, ...]

    @classmethod
    def of(cls, pieces: Iterable[Row]) -> Self:
        """Return the ledger of pieces in any order: sections in the order of their first piece, parts summed."""
        sections: dict[str, dict[str, Row]] = {}
        for piece in pieces:
            parts = sections.setdefault(piece.section, {})
            old = parts.get(piece.part, Row(piece.section, piece.part, 0, 0.0))
            parts[piece.part] = Row(piece.section, piece.part, old.bytes + piece.bytes, old.bound + piece.bound)
        return cls(tuple(row for parts in sections.values() for row in parts.values()))

    @property
    def total(self) -> int:
        """Bytes of the file."""
        return sum(row.bytes for row in self.rows)

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
