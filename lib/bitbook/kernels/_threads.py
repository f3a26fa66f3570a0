"""Threads that stay: a layer's work is too short to start some for it."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise

LEAST = 1 << 18  # multiplications for which a thread is worth its call


@lru_cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads)  # one for each process: threads do not survive a fork


def in_parts(function: Callable[[int, int], None], count: int, work: int, threads: int) -> None:
    """Call function(start, stop) on consecutive ranges that make range(count), on as many threads as the work is worth.

    work: multiplications in all. The parts write to outputs of their own, so their number changes no result.
    """
    threads = max(1, min(threads, count, work // LEAST))
    if threads == 1:
        function(0, count)
        return
    cuts = [count * part // threads for part in range(threads + 1)]
    list(_pool(os.getpid(), threads).map(lambda cut: function(*cut), pairwise(cuts)))
