"""Work spread over threads: the compiled kernels here release the interpreter's lock."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from numba import config


def thread_map(function: Callable, items: Iterable, threads: int | None = None) -> list:
    """Results of function(item) in the order of the items.

    threads: by default NUMBA_NUM_THREADS, which is the number of cores unless the environment says otherwise.
    Plain threads, not Numba's parallel loops: those abort a process that was forked after one ran.
    """
    threads = threads or config.NUMBA_NUM_THREADS
    if threads == 1:
        return [function(item) for item in items]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, items))
