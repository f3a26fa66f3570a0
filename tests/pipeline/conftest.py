"""A tiny project: the real dvc.yaml, two notebooks that take a second each, no data set, no torch."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

NETWORKS = [
    ("markdown", "# A network of one weight"),
    ("parameters", 'task: str = "tiny"  # data\nseed: int = 0  # of the steps\nepochs: int = 3  # of training'),
    ("code", "import sys, time\nimport numpy as np\nfrom bitbook import pipeline"),
    ("code", 'run = pipeline.start("01_networks", globals())'),
    (
        "code",
        """path = run.work / "checkpoint.npy"
weight, done = np.load(path) if path.exists() else (0.0, 0)
for epoch in range(int(done), epochs):
    weight = 0.9 * weight + np.random.default_rng([seed, epoch]).normal()
    np.save(run.work / "partial.npy", [weight, epoch + 1])
    (run.work / "partial.npy").replace(path)
    with (pipeline.root() / "epochs.txt").open("a") as trace:
        print(epoch, file=trace)
    print("epoch", epoch, file=sys.stderr)
    time.sleep(PAUSE)""",
    ),
    ("code", '(run.folder / "network.safetensors").write_bytes(np.float64(weight).tobytes());'),
    ("code", 'run.finish({"weight": weight})'),
]
RUN = [
    ("markdown", "# Twice"),
    ("parameters", 'net: str = "tiny-s0"  # network\nk: int = 2  # factor\nrate: float = 0.5  # unused'),
    ("code", 'from bitbook import pipeline\nrun = pipeline.start("02_twice", globals())'),
    ("code", "def compute():\n    (run.work / 'computed.txt').open('a').write('once ')\n    return {'value': 2 * k}"),
    ("code", 'kept = run.keep("kept.json", compute)'),
    ("figure", "print(object(), kept, rate, pipeline.root())\nobject()"),
    ("measures", "import time\nprint('measured', time.time())"),
    ("code", 'run.finish({"value": kept["value"]}, front=[{"variant": "a", "file_bytes": 10, "value": 0.5}])'),
]
PARAMS = """tasks: []
notebooks: [01_networks, 02_twice]
nets:
  tiny-s0: {task: tiny, seed: 0, epochs: 3}
runs:
  tiny-a: {notebook: 02_twice, net: tiny-s0, k: 3}
  tiny-b: {notebook: 02_twice, net: tiny-s0, k: 4, rate: 1}
"""


def write_notebook(path: Path, cells: Sequence[tuple[str, str]]) -> None:
    """Write a notebook of (kind, source) cells; any kind but markdown and code is a code cell's tag."""
    content = []
    for kind, source in cells:
        code = {} if kind == "markdown" else {"execution_count": None, "outputs": []}
        metadata = {} if kind in ("markdown", "code") else {"tags": [kind]}
        cell = {"cell_type": "code" if code else "markdown", "id": str(len(content)), "metadata": metadata}
        content.append({**cell, "source": source, **code})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"cells": content, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))


class Project:
    """A project folder and the commands that are run in it."""

    def __init__(self, folder: Path):
        self.folder = folder
        # the interpreter's own folder first: `bitbook` and `dvc` are found without an activated environment
        self.environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}

    def start(self, *command: str) -> subprocess.Popen:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "env": self.environment}
        return subprocess.Popen(command, cwd=self.folder, start_new_session=True, **pipes)

    def run(self, *command: str, fails: bool = False) -> str:
        process = self.start(*command)
        output, _ = process.communicate(timeout=600)
        assert bool(process.returncode) == fails, output
        return output

    def repro(self, *targets: str) -> list[str]:
        """Reproduce and return the stages that ran."""
        lines = self.run("dvc", "repro", *targets).splitlines()
        return [line.split("'")[1] for line in lines if line.startswith("Running stage")]

    def json(self, path: str) -> dict:
        return json.loads((self.folder / path).read_text())


def make_project(folder: Path, *, pause: float = 0, more: Sequence[tuple[str, str]] = ()) -> Project:
    """Lay out the tiny project, with `more` cells in the run.

    Each epoch of the network takes `pause` seconds longer; where that is not zero, a worker process runs beside it.
    """
    worker = [("code", 'import subprocess\nworker = subprocess.Popen(["sleep", "300"])')] if pause else []
    networks = [*NETWORKS[:4], *worker, *NETWORKS[4:]]
    copied = (
        "dvc.yaml",
        ".dvcignore",
        ".dvc/config",
        ".dvc/.gitignore",
        ".gitignore",
        "published/claims.csv",
        ".dvc/plots/front.json",
    )
    for name in copied:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    (folder / "params.yaml").write_text(PARAMS)
    write_notebook(folder / "notebooks/01_networks.ipynb", [(k, s.replace("PAUSE", str(pause))) for k, s in networks])
    write_notebook(folder / "notebooks/02_twice.ipynb", [*RUN, *more])
    (folder / "results/data").mkdir(parents=True)
    (folder / "results/data/tiny.json").write_text("{}\n")
    for package in ("lib/bitbook", "lib/bitbook/report"):  # for dvc.yaml; the installed package is what runs
        (folder / package).mkdir(parents=True)
        (folder / package / "__init__.py").touch()
    project = Project(folder)
    who = ("config user.name t", "config user.email t@example.org")  # experiments of DVC need it
    for command in ("init -q", *who, "add -A", "commit -qm base"):
        project.run("git", *command.split())
    return project


@pytest.fixture(scope="session")
def new_project() -> Callable[..., Project]:
    """Lays out a tiny project in a folder."""
    return make_project


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, list[str]]:
    """A tiny project after `dvc repro`, never changed, and the stages that ran."""
    project = make_project(tmp_path_factory.mktemp("finished"))
    return project, project.repro()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A fresh tiny project, which is also the current folder."""
    monkeypatch.chdir(tmp_path)
    return make_project(tmp_path)


@pytest.fixture
def notebook_file(tmp_path: Path) -> Callable[[Sequence[tuple[str, str]]], Path]:
    """Writes a notebook of (kind, source) cells and returns its path."""

    def write(cells: Sequence[tuple[str, str]]) -> Path:
        write_notebook(tmp_path / "cells.ipynb", cells)
        return tmp_path / "cells.ipynb"

    return write
