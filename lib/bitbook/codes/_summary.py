"""What of a network is coded and what is dense, in words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ._arrays import spell_shape

if TYPE_CHECKING:
    from ._compressed import Compressed


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
