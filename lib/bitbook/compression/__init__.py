"""From a network to a file: assembly, GPTQ rounding, bit budgets, and the baseline that methods must beat."""

from bitbook.compression import _baseline as baseline
from bitbook.compression._allocate import allocate
from bitbook.compression._assemble import assemble, weight_tensors
from bitbook.compression._compensate import compensate, input_moments, layer_inputs
from bitbook.compression._divergence import Divergence
from bitbook.compression._front import beside, bytes_at, front, nondominated, pick
from bitbook.compression._grid_search import Rounded, grid_to_budget
from bitbook.compression._measure import measure
from bitbook.compression._rate_distortion import RateDistortionTable, rate_distortion_table

__all__ = [
    "Divergence",
    "RateDistortionTable",
    "Rounded",
    "allocate",
    "assemble",
    "baseline",
    "beside",
    "bytes_at",
    "compensate",
    "front",
    "grid_to_budget",
    "input_moments",
    "layer_inputs",
    "measure",
    "nondominated",
    "pick",
    "rate_distortion_table",
    "weight_tensors",
]
