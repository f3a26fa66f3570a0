"""From a network to a file."""

from bitbook.compression._grid_search import Rounded, grid_to_budget

__all__ = ["Rounded", "grid_to_budget"]
