"""Figures, tables and pages; nothing else of the project draws."""

from bitbook.report import _figures as figures
from bitbook.report import _hardware as hardware

__all__ = ["figures", "hardware"]
