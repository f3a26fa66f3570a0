"""The metrics of files on the test set: each file is loaded back and measured once."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from torch import nn
from tqdm import tqdm

from bitbook import codes, training
from bitbook.files import Cache
from bitbook.tasks import Task


def measure(
    files: Iterable[Path], task: Task, *, folder: Path, into: nn.Module | None = None
) -> dict[Path, dict[str, float]]:
    """Load each file back and return the task's metrics on the test set, by file.

    folder: keeps what was measured, by the file's content, so that no file meets the test set twice. into: a module,
    for networks that bitbook.networks does not know. Raises BitbookFormatError for a damaged file, ValueError where the
    folder holds what was measured of another task.
    """
    known, results = Cache(folder, {"task": task.name}), {}
    for file in tqdm(list(files), desc="test set", unit="file"):
        name = hashlib.sha256(file.read_bytes()).hexdigest()[:16]
        if name not in known:
            module = codes.load(file).to_module(into=into).to(training.device())
            test = task.test()  # read again for every file, so that the loader's count of reads is the count of results
            known.add(name, training.evaluate(module, test.images, test.labels, task.metrics))
        results[file] = known[name]
    return results
