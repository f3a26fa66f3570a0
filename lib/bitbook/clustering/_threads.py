"""Work spread over threads: the compiled kernels here release the interpreter's lock."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

from numba import config


class Workers(ThreadPoolExecutor):
    """A few threads, for use in a `with` statement.

    threads: by default NUMBA_NUM_THREADS, which is the number of cores unless the environment says otherwise.
    Plain threads, not Numba's parallel loops: those abort a process that was forked after one ran.
    """

    def __init__(self, threads: int | None = None):
        self.threads = threads or config.NUMBA_NUM_THREADS
        super().__init__(self.threads)

    def each(self, function: Callable, items: Iterable) -> list:
        """Results of function(item), in the order of the items."""
        return list(map(function, items) if self.threads == 1 else self.map(function, items))

    def ranges(self, function: Callable[[int, int], None], count: int) -> None:
        """Call function(start, stop) on consecutive ranges that together make range(count), one for each thread."""
        cuts = (count * part // self.threads for part in range(self.threads + 1))
        self.each(lambda cut: function(*cut), pairwise(cuts))
