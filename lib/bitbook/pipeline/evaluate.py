"""The value of a file: always that of the file loaded back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bitbook.tasks import Task


def evaluate_file(path: Path, task: Task) -> dict[str, float]:
    """Load a .bitbook file, run it on the task's test images and return the task's metrics by name."""
    from bitbook import load
    from bitbook.training import evaluate

    test = task.test()
    return evaluate(load(path).to_module(), test.images, test.labels, task.metrics)
