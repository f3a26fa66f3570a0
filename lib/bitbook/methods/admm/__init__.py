"""ADMM: pruning, then clustering or quantisation, as constraints on the weights (arXiv 1811.01907).

In the symbols of ADMM: W, the weights that train; Z, their copies in the constraint set; U, the scaled duals; rho, the
weight of the penalty. The paper's text could not be read, but for abstract and introduction: the loop, the order of the
stages, the equally spaced levels and the freezing rounds follow the authors' released code. Centroid updates and
clustering retraining are not in it: here the former are exact projections on sets of free values, the latter trains
the codebooks with fixed assignments. Both are our choice, as are global cardinalities and their scores, rho that grows,
cardinalities that come down round by round, several prunings in a row, and distillation.
"""

from ._compress import Pruning, Schedule, Stage, Training, compressed, run, without_dead_channels
from ._constraints import Both, Cardinality, Channels, EqualLevels, FreeClusters, GlobalCardinality, Levels
from ._retrain import Freezing, Masked
from ._scheme import ADMM, residuals

__all__ = [
    "ADMM",
    "Both",
    "Cardinality",
    "Channels",
    "EqualLevels",
    "FreeClusters",
    "Freezing",
    "GlobalCardinality",
    "Levels",
    "Masked",
    "Pruning",
    "Schedule",
    "Stage",
    "Training",
    "compressed",
    "residuals",
    "run",
    "without_dead_channels",
]
