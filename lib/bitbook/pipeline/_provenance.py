"""Where a result comes from (commit, versions, hardware, seconds) and the timings that it shows.

Never part of what the seed determines, so no output of DVC's: `dvc.lock` would differ after every run.
"""

import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from bitbook.files import write_atomically
from bitbook.pipeline import _notebook as notebook
from bitbook.pipeline._layout import Results
from bitbook.pipeline._tables import to_json

_PACKAGES = ("bitbook", "numpy", "numba", "torch", "constriction", "safetensors", "scikit-learn", "pymoo")


def commit(folder: Path) -> str:
    """Return the commit of the checkout, `+` appended where tracked files differ from it; empty outside of Git.

    What the pipeline itself writes (lock files, published results) does not count as a difference.
    """

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout

    written = (":!dvc.lock", ":!full/dvc.lock", ":!published")
    try:
        differs = git("status", "--porcelain", "-uno", "--", ".", *written)
        return git("rev-parse", "--short=12", "HEAD").strip() + ("+" if differs else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def hardware() -> str:
    """Return the GPU where there is one, else the processor and the number of cores that may be used."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = (line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line)
        name = next(models, name)
    return f"{name}, {cores()} cores"


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that results depend on."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def complete(path: Path, executed: Path, measured: Mapping[str, Any]) -> None:
    """Add to a provenance which executed notebook it is of, by its hash, and what cells tagged `measures` showed."""
    about = json.loads(path.read_text()) | {"executed": _hash(executed), "measured": measured}
    write_atomically(path, to_json(about, finite=False))


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read(results: Results, key: str) -> dict[str, Any] | None:
    """Return the provenance of a result; None where there is none, as after `dvc pull`, or it is another result's."""
    path, executed = results.provenance(key), results.executed(key)
    about = json.loads(path.read_text()) if path.exists() else None
    if about and "executed" in about and executed.exists() and about["executed"] != _hash(executed):
        return None
    return about


def executed_notebook(results: Results, key: str) -> str:
    """Return the text of an executed notebook, with what its cells tagged `measures` showed if that is known."""
    content = notebook.read(results.executed(key))
    return notebook.text(notebook.joined(content, (read(results, key) or {}).get("measured", {})))
