"""Huffman code lengths: the size by which papers count; files use the entropy coder, which is never larger."""

from __future__ import annotations

import heapq

import numpy as np


def huffman_bits(counts: np.ndarray) -> int:
    """Return the total bits of the Huffman code of symbols with these counts, without its table.

    counts: (k,) whole numbers >= 0; symbols that do not occur get no code. A single symbol takes one bit each time.
    Every merge of two subtrees adds one bit to all symbols below it (Huffman 1952).
    """
    heap = [int(count) for count in counts if count]
    if len(heap) == 1:
        return heap[0]
    heapq.heapify(heap)
    bits = 0
    while len(heap) > 1:
        merged = heapq.heappop(heap) + heapq.heappop(heap)
        bits += merged
        heapq.heappush(heap, merged)
    return bits
