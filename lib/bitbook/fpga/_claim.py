"""How much faster a codebook multiplies one matrix: by traffic, by accumulating, against which baseline."""

from collections.abc import Iterator, Sequence

import numpy as np

from ._boards import Board
from ._search import search
from ._workload import Layer

DECODERS = {"accumulate, 16 bits": "MAC with decoder, 16 bits", "accumulate, 8 bits": "MAC with decoder, 8 bits packed"}


def claim(size: int, codewords: Sequence[int], boards: Sequence[Board], *, vectors: int = 64) -> Iterator[dict]:
    """Yield the speed-up of accumulating units over dense ones for a matrix of codes, each the fastest on its board.

    Weights stay on chip and many vectors are multiplied, as in a convolution; or they stream from the board's memory
    for one vector, as in a linear layer.

    Args:
        size: Rows and columns of the matrix.
        codewords: The values of K.
        boards: The boards.
        vectors: Vectors where weights stay on chip.

    Returns:
        Rows with the latency in microseconds, the speed-ups over arrays of 16 bits and of packed 8 bits whose weights
        are no codes, and over the dense array of the same width that decodes the same codes.
    """
    for board in boards:
        for weights, count in (("on chip", vectors), ("streamed", 1)):

            def latency(design: str, k: int, count: int = count, weights: str = weights, board: Board = board) -> float:
                layer = Layer("matrix", size, size, 1, count, k, 1, np.ones((size, size), bool))
                return search(design, [layer], board, on_chip=weights == "on chip").latency

            dense = {width: latency(f"MAC, {width}", 0) for width in ("16 bits", "8 bits packed")}
            for k in codewords:
                for design, decoder in DECODERS.items():
                    own = latency(design, k)
                    ratios = {f"over MAC, {width}": time / own for width, time in dense.items()}
                    row = {"board": board.name, "weights": weights, "K": k, "design": design, "microseconds": 1e6 * own}
                    yield row | ratios | {"over MAC with decoder": latency(decoder, k) / own}
