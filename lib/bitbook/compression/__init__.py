"""From a network to a file: assembly, GPTQ rounding, bit budgets, and the baseline that methods must beat."""

from bitbook.compression import _baseline as baseline
from bitbook.compression._assemble import assemble
from bitbook.compression._compensate import compensate, factored
from bitbook.compression._compress import compress
from bitbook.compression._divergence import Divergence
from bitbook.compression._front import bytes_at, front, nondominated, pick
from bitbook.compression._inputs import Moments, input_moments
from bitbook.compression._measure import measure
from bitbook.compression._rate_distortion import RateDistortionTable, allocate, rate_distortion_table
from bitbook.compression._retrain import Retraining, retrain
from bitbook.compression._rivals import LSQ, LearnedStep, kmeans_layers
from bitbook.compression._select import select, weight_tensors
from bitbook.compression._state_dict import compress_state_dict, read_state_dict

__all__ = [
    "LSQ", "Divergence", "LearnedStep", "Moments", "RateDistortionTable", "Retraining", "allocate", "assemble",
    "baseline", "bytes_at", "compensate", "compress", "compress_state_dict", "factored", "front", "input_moments",
    "kmeans_layers", "measure", "nondominated", "pick", "rate_distortion_table", "read_state_dict", "retrain", "select",
    "weight_tensors",
]  # fmt: skip
