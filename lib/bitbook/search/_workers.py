"""One object's methods called in several processes, through joblib: on this machine, or on a Dask or Ray cluster."""

import hashlib
import pickle
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from joblib import Parallel, cpu_count, delayed
from threadpoolctl import threadpool_limits

from bitbook.files import write_atomically

_LOCK = threading.Lock()  # an object works in place: one call at a time where a worker has several threads
_LOADED: dict[str, Any] = {}  # the object that this worker has read, by the path of its file


class Workers:
    """Calls methods of a picklable object, in this process or in several, with the same results.

    folder: the object is written there once and read once by each worker, so a cluster's workers must see that folder.
    workers: processes, at most one for each core; 1 works in this one, 0 takes backend and number from
    `joblib.parallel_config`. Every call runs on one thread, since sums over several threads round differently. Raises
    ValueError for a negative number.
    """

    def __init__(self, target: Any, folder: Path, *, workers: int = 1) -> None:
        if workers < 0:
            raise ValueError(f"workers must be 1 or more, or 0 for what joblib is configured to, not {workers}")
        self.target, self.folder, self.workers = target, folder, min(workers, cpu_count())
        self._path: str | None = None

    def each(self, method: str, items: Iterable[Any]) -> Iterator[Any]:
        """Yield target.method(item) in the order of the items, each as soon as it and all before it are there."""
        items = list(items)
        if self.workers == 1 or not items:
            for item in items:
                with _one_thread():
                    result = getattr(self.target, method)(item)
                yield result
            return
        path = self._path = self._path or self._written()
        parallel = Parallel(n_jobs=self.workers or None, return_as="generator", batch_size=1)
        yield from parallel(delayed(_call)(path, method, item) for item in items)

    def _written(self) -> str:
        data = pickle.dumps(self.target)
        path = self.folder.resolve() / f"{hashlib.sha256(data).hexdigest()[:16]}.pickle"
        write_atomically(path, data)
        return str(path)


class _one_thread:
    """One thread for torch and for NumPy's matrices; both as before afterwards."""

    def __enter__(self) -> None:
        self._torch, self._others = torch.get_num_threads(), threadpool_limits(1)
        torch.set_num_threads(1)

    def __exit__(self, *exception: object) -> None:
        self._others.restore_original_limits()
        torch.set_num_threads(self._torch)


def _call(path: str, method: str, item: Any) -> Any:
    with _LOCK, _one_thread():
        if path not in _LOADED:
            _LOADED.clear()
            _LOADED[path] = pickle.loads(Path(path).read_bytes())
        return getattr(_LOADED[path], method)(item)
