"""What a file holds, and what differs between two files, in words."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ._arrays import spell_shape
from ._compressed import Compressed
from ._container import describe


def summary(compressed: Compressed) -> str:
    """Return a line for the coded weights, one for each tensor with a note, and one for each dense tensor with axes."""
    weights = sum(math.prod(code.shape) for code in compressed.codes.values())
    lines = [f"coded           {len(compressed.codes):,} tensors, {weights:,} weights"]
    coded = {name: note for name, note in compressed.notes.items() if name in compressed.codes}
    lines += [f"  {name:38} {note}" for name, note in sorted(coded.items())]
    if compressed.batch_norm:
        folded = sum(len(rows) == 2 for rows in compressed.batch_norm.values())
        whole = len(compressed.batch_norm) - folded
        lines.append(f"batch norms     {folded:,} folded to scale and shift, {whole:,} whole")
    listed = [name for name, values in compressed.dense.items() if values.ndim > 1 or name in compressed.notes]
    size = sum(values.size for values in compressed.dense.values())
    lines.append(f"dense           {len(compressed.dense):,} tensors, {size:,} numbers; those with several axes:")
    for name in listed:
        values = compressed.dense[name]
        what = f"{values.dtype} {spell_shape(values.shape)}"
        lines.append(f"  {name:38} {what:24} {compressed.notes.get(name, '')}".rstrip())
    return "\n".join(lines if listed else [*lines[:-1], lines[-1].partition(";")[0]])


@dataclass(frozen=True)
class Difference:
    """One thing that is not the same: where, of what kind ("header", "weights", "codes", "bytes"), and how."""

    section: str
    kind: str
    what: str


def differences(one: Compressed, other: Compressed) -> list[Difference]:
    """Return all that differs between two networks, the first taken as the old one."""
    return [*_header(one, other), *_weights(one, other), *_codes(one, other), *_bytes(one, other)]


def _header(one: Compressed, other: Compressed) -> Iterator[Difference]:
    for field in ("specification", "original_parameters", "half_source", "epsilon"):
        old, new = getattr(one, field), getattr(other, field)
        if old != new:
            yield Difference("file", "header", f"{field}: {old} -> {new}")


def _weights(one: Compressed, other: Compressed) -> Iterator[Difference]:
    before, after = one.decode(), other.decode()
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        if old is None or new is None:
            yield Difference(name, "weights", "only in the " + ("second" if old is None else "first"))
        elif old.shape != new.shape:
            yield Difference(name, "weights", f"shape {old.shape} -> {new.shape}")
        elif old.dtype != new.dtype:
            yield Difference(name, "weights", f"{old.dtype} -> {new.dtype}")
        elif changed := np.count_nonzero(old != new):
            kind = np.complex128 if old.dtype.kind == "c" else np.float64
            most = np.abs(np.subtract(old, new, dtype=kind, casting="unsafe")).max()
            yield Difference(name, "weights", f"{changed:,} of {old.size:,} differ, by up to {most:.3g}")


def _codes(one: Compressed, other: Compressed) -> Iterator[Difference]:
    for name in sorted(one.codes.keys() & other.codes.keys()):
        old, new = one.codes[name], other.codes[name]
        if describe(old) != describe(new):
            yield Difference(name, "codes", f"{describe(old)} -> {describe(new)}")
        for part, values in vars(old).items():
            now = getattr(new, part, None)
            if isinstance(values, np.ndarray) and isinstance(now, np.ndarray) and values.shape == now.shape:
                changed = np.count_nonzero(values != now)
                if changed:
                    yield Difference(name, "codes", f"{changed:,} of {values.size:,} {part} differ")
    for name in sorted(one.codebooks.keys() | other.codebooks.keys()):
        before, after = one.codebooks.get(name), other.codebooks.get(name)
        if before is None or after is None or not np.array_equal(before, after):
            sizes = " -> ".join("none" if book is None else f"{book.dtype} {book.shape}" for book in (before, after))
            yield Difference(name, "codes", f"codebook {sizes}")


def _bytes(one: Compressed, other: Compressed) -> Iterator[Difference]:
    before, after = ({(r.section, r.part): r.bytes for r in c.ledger().rows} for c in (one, other))
    for section, part in dict.fromkeys([*before, *after]):
        old, new = before.get((section, part), 0), after.get((section, part), 0)
        if old != new:
            yield Difference(section, "bytes", f"{part}: {old:,} -> {new:,}")
    old, new = one.ledger().total, other.ledger().total
    if old != new:
        yield Difference("file", "bytes", f"total: {old:,} -> {new:,} ({new / old - 1:+.1%})")
