"""The five papers, each in its own symbols, and the baseline that they must beat."""

from bitbook.methods import baseline, dpnet, moea_bins
from bitbook.methods.allocate import allocate
from bitbook.methods.assemble import assemble, weight_tensors
from bitbook.methods.compensate import compensate, input_moments
from bitbook.methods.divergence import Divergence
from bitbook.methods.front import beside, bytes_at, front, nondominated, pick
from bitbook.methods.measure import measure
from bitbook.methods.sweep import Candidate, sweep

__all__ = [
    "Candidate",
    "Divergence",
    "allocate",
    "assemble",
    "baseline",
    "beside",
    "bytes_at",
    "compensate",
    "dpnet",
    "front",
    "input_moments",
    "measure",
    "moea_bins",
    "nondominated",
    "pick",
    "sweep",
    "weight_tensors",
]
