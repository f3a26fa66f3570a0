"""Weight compression by shared values: one file format, one ruler, five papers."""

from .codes import (
    BitbookFormatError,
    Compressed,
    GridCode,
    ScalarCode,
    SparseCode,
    VectorCode,
    load,
    save,
)

__all__ = [
    "BitbookFormatError",
    "Compressed",
    "GridCode",
    "ScalarCode",
    "SparseCode",
    "VectorCode",
    "load",
    "save",
]
