"""The kernel of a stage: `python -m bitbook.pipeline.kernel` is IPython's, which dies with the stage."""

from __future__ import annotations

import os
import sys

from ipykernel import kernelapp

from bitbook.pipeline import execute, processes

if __name__ == "__main__":
    processes.die_with_caller()
    os.environ[execute.TERMINAL] = str(os.dup(sys.stderr.fileno()))  # before IPython takes stderr over
    kernelapp.launch_new_instance()
