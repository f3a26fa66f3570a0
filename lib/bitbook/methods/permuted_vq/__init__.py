"""Permute, quantise, fine-tune: codewords for blocks of weights of permuted channels (arXiv 2010.15703).

In the paper's symbols: d, the weights of a block; k, the codewords of a layer. Only the abstract and the opening of the
paper could be read, and facts about its public code; what these leave open is our choice, and the modules say so.
"""

from ._ablation import quantisation_errors
from ._blocks import Blocks
from ._compress import Quantisation, Quantised, compress, finish, permute_and_quantise
from ._mask_rcnn import MASK_RCNN, mask_rcnn_graph
from ._permute import Permuted, permute
from ._quantise import fitted_to_outputs, quantise

__all__ = [
    "MASK_RCNN", "Blocks", "Permuted", "Quantisation", "Quantised", "compress", "finish", "fitted_to_outputs",
    "mask_rcnn_graph", "permute", "permute_and_quantise", "quantisation_errors", "quantise",
]  # fmt: skip
