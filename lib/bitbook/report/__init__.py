"""Figures, tables and pages; nothing else of the project draws."""

from bitbook.report import _figures as figures

__all__ = ["figures"]
