"""Figures, tables and pages; nothing else of the project draws."""

from bitbook.report import _figures as figures
from bitbook.report import _hardware as hardware
from bitbook.report import _words as words

__all__ = ["figures", "hardware", "words"]
