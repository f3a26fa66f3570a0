"""The kernel of a stage: `python -m bitbook.pipeline._kernel` is IPython's, which dies with the stage."""

import json
import os
import sys
from pathlib import Path
from typing import Any

from ipykernel.kernelapp import IPKernelApp

from bitbook.pipeline import _execute as execute
from bitbook.pipeline import _notebook as notebook
from bitbook.pipeline import _processes as processes
from bitbook.pipeline._layout import root


class Kernel(IPKernelApp):
    """IPython's kernel, whose own look after its parent would leave its workers behind."""

    def init_poller(self) -> None:
        processes.die_with_caller(self.parent_handle)


def watch_published(source: Path) -> None:
    """Raise where a notebook opens a table of published/ although its code does not name that folder.

    DVC then does not know that the notebook depends on it. The claims are a dependency of every run.
    """
    if notebook.reads_published(notebook.read(source)):
        return
    folder = os.path.join(root(), "published", "")

    def check(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[0], str):
            path = os.path.abspath(arguments[0])
            if path.startswith(folder) and path != f"{folder}claims.csv":
                raise PermissionError(
                    f'{source.name} opens {os.path.relpath(path, root())}: write root() / "published" in its code, '
                    "so that DVC runs it again when these tables change"
                )

    sys.addaudithook(check)


if __name__ == "__main__":
    os.environ[execute.TERMINAL] = str(os.dup(sys.stderr.fileno()))  # before IPython takes stderr over
    watch_published(Path(json.loads(os.environ[execute.STAGE])["notebook"]))
    Kernel.launch_instance()
