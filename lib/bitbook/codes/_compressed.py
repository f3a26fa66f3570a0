"""Compressed: a network as codes, codebooks and the little that stays dense."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ._arrays import LARGEST, NUMBERS, frozen_numbers, rounded, small_floats
from ._code import Code
from ._ledger import Ledger
from ._names import check_name
from ._specification import frozen_json

if TYPE_CHECKING:
    from torch import nn

FAR = 64  # standard deviations
BATCH_NORM = ("weight", "bias", "running_mean", "running_var")
COUNTER = "num_batches_tracked"  # of a norm with running statistics: says nothing once training is over


@dataclass(frozen=True, eq=False)
class Compressed:
    """A compressed network: pure data, checked when it is made, never changed afterwards.

    codes: a code for each coded parameter, by state-dict name. codebooks: float16 or float32 arrays by name, (k,) for
    scalar and (k, d) for vector codes; several codes may name one. dense: parameters and buffers that are stored as
    they are: float16 or float32, whole numbers of any width, booleans, complex numbers. batch_norm: by module name, (2,
    C) scale and shift of a folded batch norm, or (4, C) weight, bias, mean and variance of a whole one. specification:
    a factory of bitbook.networks and its JSON arguments. original_parameters: trainable parameters of the network
    before compression. half_source: whether its weights were really float16. epsilon: the batch norms' own.
    notes: remarks on tensors, by name, for `summary`; not part of the file. compact: whether the file has the short
    header, some 100 bytes instead of 900, which readers of safetensors do not know.

    Raises ValueError, naming the tensor, where parts do not fit together.
    """

    codes: Mapping[str, Code]
    codebooks: Mapping[str, np.ndarray]
    dense: Mapping[str, np.ndarray]
    specification: Mapping[str, Any]
    original_parameters: int
    batch_norm: Mapping[str, np.ndarray] = field(default_factory=dict)
    half_source: bool = False
    epsilon: float = 1e-5
    notes: Mapping[str, str] = field(default_factory=dict)
    compact: bool = False

    def __post_init__(self) -> None:
        codebooks = {name: frozen_numbers(book, f"codebook {name!r}") for name, book in self.codebooks.items()}
        dense = {name: frozen_numbers(values, name, kinds=NUMBERS) for name, values in self.dense.items()}
        norms = {name: frozen_numbers(rows, name) for name, rows in self.batch_norm.items()}
        for name, book in codebooks.items():
            if book.ndim not in (1, 2) or not book.size:
                raise ValueError(f"codebook {name!r}: shape {book.shape} is neither (k,) nor (k, d)")
        for name, code in self.codes.items():
            try:
                code.check(codebooks)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        for name, rows in norms.items():
            if rows.ndim != 2 or len(rows) not in (2, 4):
                raise ValueError(f"{name}: a batch norm has shape (2, C) or (4, C), not {rows.shape}")
            if len(rows) == 4 and rows[3].min(initial=0) < 0:
                raise ValueError(f"{name}: has negative variances")
            if len(rows) == 2 and float(np.abs(rows[0]).max(initial=0)) * math.sqrt(2) > LARGEST:
                raise ValueError(f"{name}: its scale times sqrt(1 + epsilon) goes beyond float32")
        for name in (*codebooks, *self.codes, *dense, *norms):
            check_name(name)
        twice = [name for name in self.codes if name in dense]
        taken = {*dense, *self.codes}
        twice += [name for module in norms for entry in BATCH_NORM if (name := f"{module}.{entry}") in taken]
        if twice:
            raise ValueError(f"given twice: {', '.join(twice)}")
        if type(self.original_parameters) is not int or not 0 <= self.original_parameters < 2**63:
            raise ValueError("original_parameters must be a whole number, 0 or more")
        if type(self.half_source) is not bool or type(self.epsilon) is not float or not 0 < self.epsilon < 1:
            raise ValueError("half_source must be a bool, epsilon a float between 0 and 1")
        if not isinstance(self.specification, Mapping):
            raise ValueError("specification must be a dict that JSON can hold")
        try:
            text = json.dumps(self.specification, allow_nan=False, ensure_ascii=False)
            specification = frozen_json(json.loads(text.encode()))
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"specification must be a dict that JSON can hold: {error}") from None
        parts = {"codes": self.codes, "codebooks": codebooks, "dense": dense, "batch_norm": norms, "notes": self.notes}
        for name, value in parts.items():
            object.__setattr__(self, name, MappingProxyType(dict(sorted(value.items()))))
        object.__setattr__(self, "specification", specification)

    @classmethod
    def from_state(
        cls,
        state: Mapping[str, np.ndarray],
        *,
        codes: Mapping[str, Code],
        codebooks: Mapping[str, np.ndarray],
        specification: Mapping[str, Any],
        batch_norm: str = "folded",
        dtype: type = np.float16,
        mantissa: int = 10,
        original_parameters: int | None = None,
        half_source: bool = False,
        epsilon: float = 1e-5,
        epsilons: Mapping[str, float] | None = None,
    ) -> Compressed:
        """Return a Compressed of a whole state dict: what has no code is stored dense, batch norms folded or whole.

        batch_norm: "folded" or "whole". dtype: float16 or float32, of dense entries and batch norms; mantissa: bits
        that float16 numbers keep of their 10; what float16 cannot hold is stored as float32, and what is no float as it
        is. original_parameters: by default counted from the state. epsilons: each batch norm's own, by module name; by
        default everything with a weight and a running variance is one, with this epsilon.
        """
        if batch_norm not in ("folded", "whole") or not 0 <= mantissa <= 10:
            raise ValueError("batch_norm must be 'folded' or 'whole', mantissa a number from 0 to 10")
        state = {name: np.asarray(v) for name, v in state.items()}
        counters = {name.removesuffix("running_var") + COUNTER for name in state if name.endswith("running_var")}
        state = {name: v for name, v in state.items() if name not in counters}
        if epsilons is None:
            modules = [name.removesuffix(".running_var") for name in state if name.endswith(".running_var")]
            epsilons = {m: epsilon for m in modules if all(f"{m}.{entry}" in state for entry in BATCH_NORM)}

        def stored(name: str, *rows: np.ndarray, half: bool = True) -> list[np.ndarray]:
            """Return arrays in the type of the file, all in float32 where float16 cannot hold one of them.

            Whole numbers, such as indices that are kept as floats, are not rounded.
            """
            if rows[0].dtype.kind != "f":
                return [*rows]
            try:
                held = [small_floats(row) for row in rows]
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
            if half and dtype == np.float16 and all(row.dtype == dtype for row in held):
                held = [rounded(row, mantissa) for row in held]
                fits = [
                    np.isfinite(new).all() and not _whole_but_rounded(row, new)
                    for row, new in zip(rows, held, strict=True)
                ]
                if all(fits):
                    return held
            if any(_whole_but_rounded(row, row.astype(np.float32)) for row in rows):
                raise ValueError(f"{name}: whole numbers beyond float32's 24 bits; make it a tensor of int64")
            return [row.astype(np.float32) for row in rows]

        norms = {}
        for module, own in epsilons.items():
            weight, bias, mean, var = (state[f"{module}.{entry}"].astype(np.float64) for entry in BATCH_NORM)
            scale = weight / np.sqrt(var + own)  # (C,)
            # Decoded, the stored one is multiplied by sqrt(1 + epsilon), and the module divides by sqrt(1 + own).
            same = math.sqrt(1 + own) / math.sqrt(1 + epsilon)
            rows = {"folded": (scale * same, bias - mean * scale), "whole": (weight, bias, mean, var)}[batch_norm]
            # Means many deviations away, and variances below its precision, need more bits than float16 has.
            near = np.abs(mean * scale).max(initial=0) <= FAR
            with np.errstate(over="ignore"):
                half = var.astype(np.float16).astype(np.float64)
            held = np.allclose(np.sqrt(half + own), np.sqrt(var + own), rtol=2**-9, atol=0)
            norms[module] = np.stack(stored(module, *rows, half=near and (held or batch_norm == "folded")))
        buffers = {f"{module}.{entry}" for module in epsilons for entry in BATCH_NORM}
        if original_parameters is None:
            trained = [v for name, v in state.items() if ".running_" not in name and v.dtype.kind in "fc"]
            original_parameters = sum(v.size for v in trained)
        dense = {name: v for name, v in state.items() if name not in codes and name not in buffers}
        return cls(
            codes=codes,
            codebooks=codebooks,
            dense={name: stored(name, v, half=".running_" not in name)[0] for name, v in dense.items()},
            specification=specification,
            original_parameters=original_parameters,
            batch_norm=norms,
            half_source=half_source,
            epsilon=epsilon,
        )

    def decode(self) -> dict[str, np.ndarray]:
        """Return every parameter and stored buffer under its state-dict name: floats as float32, others as they are.

        A folded batch norm comes back as weight = scale * sqrt(1 + epsilon), bias = shift, mean 0 and variance 1.
        """
        state = {name: code.decode(self.codebooks) for name, code in self.codes.items()}
        for name, values in self.dense.items():
            state[name] = values.astype(np.float32 if values.dtype.kind == "f" else values.dtype)
        for module, rows in self.batch_norm.items():
            rows = rows.astype(np.float64)
            if len(rows) == 2:
                rows = np.stack([rows[0] * math.sqrt(1 + self.epsilon), rows[1], 0 * rows[0], 0 * rows[0] + 1])
            state |= {f"{module}.{entry}": row.astype(np.float32) for entry, row in zip(BATCH_NORM, rows, strict=True)}
        return state

    def __reduce__(self) -> tuple[type, tuple]:
        fields = (getattr(self, name) for name in self.__dataclass_fields__)
        return type(self), tuple(dict(value) if isinstance(value, Mapping) else value for value in fields)

    @cached_property
    def _file(self) -> tuple[bytes, Ledger]:
        from ._container import encode

        return encode(self)

    def to_bytes(self) -> bytes:
        """Return the file as bytes; equal content gives equal bytes."""
        return self._file[0]

    def ledger(self) -> Ledger:
        """Return where every byte of the file goes."""
        return self._file[1]

    def noted(self, notes: Mapping[str, str]) -> Compressed:
        """Return the same with these notes."""
        other = dataclasses.replace(self, notes=notes)
        vars(other).update(vars(self) | {"notes": other.notes})  # what was encoded is not encoded again
        return other

    def summary(self) -> str:
        """Return what is coded and what is dense, tensor by tensor, with the notes of whoever compressed it."""
        from ._words import summary

        return summary(self)

    @property
    def ratio(self) -> float:
        """4 bytes times the original trainable parameters, divided by the bytes of the file."""
        return 4 * self.original_parameters / len(self.to_bytes())

    @property
    def ratio_fp16(self) -> float | None:
        """The ratio from 2 bytes a parameter, where the source weights were really float16."""
        return self.ratio / 2 if self.half_source else None

    def save(self, path: str | PathLike[str]) -> None:
        """Write the file, atomically."""
        from ._container import save

        save(self, path)

    def to_module(
        self, *, into: nn.Module | None = None, kernel: Literal["dense", "lookup", "lookup8"] = "dense"
    ) -> nn.Module:
        """Return a torch module with the decoded weights, or one that computes with codes: see bitbook.runtime."""
        from bitbook.runtime import to_module

        return to_module(self, into=into, kernel=kernel)


def _whole_but_rounded(values: np.ndarray, held: np.ndarray) -> bool:
    """Tell whether floats are whole numbers one and all, but not any more as they are held."""
    return not np.array_equal(values, held) and bool((values == np.rint(values)).all())
