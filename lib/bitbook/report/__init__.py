"""Figures, tables and pages; nothing else of the project draws."""
