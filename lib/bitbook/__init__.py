"""Weight compression by shared values: one file format, one ruler, five papers."""

from .codes import BitbookFormatError, Compressed, ScalarCode, load, save

__all__ = ["BitbookFormatError", "Compressed", "ScalarCode", "load", "save"]
