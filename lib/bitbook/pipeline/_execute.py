"""Runs a notebook through papermill in a kernel of this environment that dies with this process."""

import json
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bitbook.files import write_atomically
from bitbook.pipeline import _notebook as notebook
from bitbook.pipeline import _processes as processes
from bitbook.pipeline import _provenance as provenance
from bitbook.pipeline._layout import Results, root
from bitbook.pipeline._parameters import check

TERMINAL = "BITBOOK_TERMINAL"  # a file descriptor of the kernel: the stage's own stderr
STAGE = "BITBOOK_STAGE"  # what the kernel runs for, as JSON


class NotebookFailed(RuntimeError):
    """A cell of a notebook raised, or its kernel died."""


def threads() -> int:
    """Return the number of threads to compute with: `$BITBOOK_THREADS`, else the cores this process may use."""
    return int(os.environ.get("BITBOOK_THREADS") or provenance.cores())


def environment() -> dict[str, str]:
    """Return the environment of a kernel: thread counts and hash seed fixed, nothing from the user's home folder."""
    counts = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    return {
        **os.environ,
        **dict.fromkeys(counts, str(threads())),
        "OMP_WAIT_POLICY": "PASSIVE",
        "PYTHONHASHSEED": "0",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "IPYTHONDIR": str(root() / ".work" / "ipython"),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }


def _kernel_manager(extra: Mapping[str, str]):
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    class Kernel(AsyncKernelManager):
        """The kernel python3 of this environment, whatever kernels the user has installed under that name."""

        @property
        def kernel_spec(self):
            quiet = ("--HistoryManager.enabled=False", "--log-level=ERROR")
            argv = [sys.executable, "-m", "bitbook.pipeline._kernel", "-f", "{connection_file}", *quiet]
            return KernelSpec(argv=argv, display_name="Python 3", language="python")

        async def start_kernel(self, **options):
            await super().start_kernel(**{**options, "env": {**environment(), **extra}})

    kernel = Kernel(kernel_name="python3")
    kernel.client_class = "jupyter_client.asynchronous.AsyncKernelClient"
    return kernel


def execute(source: Path, output: Path, parameters: Mapping[str, Any], *, stage: Mapping[str, str]) -> None:
    """Run the notebook with parameters and write the normalised result to output, which never exists half-written.

    What cells tagged `measures` show goes to the provenance, since it differs from run to run.

    Args:
        source: the notebook.
        output: where the result goes.
        parameters: the given ones; others are at their defaults.
        stage: what reaches `pipeline.start` in the kernel.

    Raises:
        ParameterError: before anything runs.
        NotebookFailed: with the cell's traceback; the notebook is left as `.work/failed/NAME.ipynb`.
    """
    import papermill
    from nbclient.exceptions import DeadKernelError
    from nbclient.util import run_sync

    logging.getLogger("papermill").setLevel(logging.ERROR)  # it warns of parameters whose types it cannot read
    values = check(parameters, notebook.parameters(notebook.read(source)))
    failed = root() / ".work" / "failed" / output.name
    failed.parent.mkdir(parents=True, exist_ok=True)
    about = Results(Path(stage["results"])).provenance(stage["key"])
    about.unlink(missing_ok=True)  # of an earlier run: DVC deletes its own outputs alone
    kernel = _kernel_manager({STAGE: json.dumps(dict(stage))})
    try:
        given = {name: values[name] for name in parameters}
        options = {"kernel_name": "python3", "cwd": root(), "progress_bar": False, "km": kernel}
        executed = papermill.execute_notebook(source, failed, given, **options)
    except papermill.PapermillExecutionError as error:
        raise NotebookFailed(f"{error}\nThe notebook up to there: {failed.relative_to(root())}") from None
    except DeadKernelError:
        raise NotebookFailed(f"{source.name}: the kernel died, killed or out of memory: run the stage again") from None
    finally:
        if kernel.has_kernel:
            group = kernel.provisioner.pgid
            run_sync(kernel.shutdown_kernel)(now=True)
            processes.kill_group(group)
    if not about.exists():
        raise NotebookFailed(f"{source.name} ends without a result: call run.finish(...) in its last cell")
    for cell in executed["cells"]:
        if any(output["output_type"] == "error" for output in cell.get("outputs", [])):  # for papermill all is well
            raise NotebookFailed(f"{source.name}: no cell may exit, as this one does:\n{cell['source']}")
    kept, measured = notebook.split(notebook.normalise(executed))
    write_atomically(output, notebook.text(kept))
    provenance.complete(about, output, measured)
    failed.unlink()
