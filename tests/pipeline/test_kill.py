"""kill -9 of each process of a stage, amid a training, then another run: same weights, one epoch lost, no orphan."""

from __future__ import annotations

import time

import numpy as np
import psutil
import pytest

EPOCHS = 4
PARAMS = f"tasks: []\nnotebooks: [01_networks]\nnets: {{tiny-s0: {{task: tiny, epochs: {EPOCHS}}}}}\nruns: {{}}\n"


def expected_weight() -> float:
    weight = 0.0
    for epoch in range(EPOCHS):
        weight = 0.9 * weight + np.random.default_rng([0, epoch]).normal()
    return weight


def epochs(project) -> list[int]:
    trace = project.folder / "epochs.txt"
    return [int(line) for line in trace.read_text().split()] if trace.exists() else []


def find(processes: list[psutil.Process], text: str) -> psutil.Process:
    """The last process with the text in its command line: a shell, where there is one, comes before what it runs."""
    return [process for process in processes if text in " ".join(process.cmdline())][-1]


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize("victim", ["dvc", "papermill", "kernel"])
def test_a_killed_training_goes_on_where_it_was(victim, tmp_path, new_project):
    project = new_project(tmp_path, pause=0.25)
    (tmp_path / "params.yaml").write_text(PARAMS)
    dvc = project.start("dvc", "repro", "net@tiny-s0")
    while len(epochs(project)) < 2:
        assert dvc.poll() is None, dvc.stdout.read()
        time.sleep(0.02)
    processes = [psutil.Process(dvc.pid), *psutil.Process(dvc.pid).children(recursive=True)]
    stage, kernel = find(processes, "stage net"), find(processes, "bitbook.pipeline._kernel")
    worker = find(processes, "sleep 300")
    assert len({dvc.pid, stage.pid, kernel.pid, worker.pid}) == 4

    {"dvc": processes[0], "papermill": stage, "kernel": kernel}[victim].kill()
    output, _ = dvc.communicate(timeout=30)
    assert dvc.returncode != 0
    _, orphans = psutil.wait_procs(processes, timeout=10)
    assert alive(orphans) == []
    if victim == "kernel":
        assert "the kernel died" in output

    before = epochs(project)
    assert before == list(range(len(before)))
    assert len(before) < EPOCHS
    project.repro("net@tiny-s0")
    again = epochs(project)[len(before) :]
    assert again[0] >= len(before) - 1  # at most the epoch that was under way is done again
    assert again == list(range(again[0], EPOCHS))
    weights = (tmp_path / "results/nets/tiny-s0/network.safetensors").read_bytes()
    assert weights == np.float64(expected_weight()).tobytes()
