"""Where a result comes from: commit, versions, hardware. Never part of what the seed determines."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

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
