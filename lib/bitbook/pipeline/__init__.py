"""The pipeline: one run = one notebook = one DVC stage."""

from bitbook.pipeline._compared import at_equal_value, claims, draw_fronts, results_table, shown
from bitbook.pipeline._layout import root
from bitbook.pipeline._provenance import hardware
from bitbook.pipeline._run import Run, start

__all__ = ["Run", "at_equal_value", "claims", "draw_fronts", "hardware", "results_table", "root", "shown", "start"]
