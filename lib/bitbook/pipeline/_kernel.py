"""The kernel of a stage: `python -m bitbook.pipeline._kernel` is IPython's, which dies with the stage."""

from __future__ import annotations

import os
import sys

from ipykernel.kernelapp import IPKernelApp

from bitbook.pipeline import _execute as execute
from bitbook.pipeline import _processes as processes


class Kernel(IPKernelApp):
    """IPython's kernel, whose own look after its parent would leave its workers behind."""

    def init_poller(self) -> None:
        processes.die_with_caller(self.parent_handle)


if __name__ == "__main__":
    os.environ[execute.TERMINAL] = str(os.dup(sys.stderr.fileno()))  # before IPython takes stderr over
    Kernel.launch_instance()
