"""Weight compression into codebooks: one file format, one size metric, five papers."""

from typing import Any

from .codes import BitbookFormatError, Compressed, GridCode, ScalarCode, SparseCode, VectorCode, load, save

__all__ = [
    "BitbookFormatError", "Compressed", "GridCode", "ScalarCode", "SparseCode", "VectorCode", "compress", "load",
    "save",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import what needs torch when it is asked for: `import bitbook` does not."""
    if name == "compress":
        from .compression import compress

        return compress
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
