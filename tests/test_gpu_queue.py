"""The queue for a GPU, end to end on the processor: trained, compressed, packed, unpacked, measured again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from bitbook import networks, tasks, training
from bitbook.pipeline import _publish as publish
from safetensors import safe_open
from safetensors.torch import load_file

SCRIPT = Path(__file__).parents[1] / "full" / "gpu.py"
QUEUE = {
    "lanes": 1,
    "common": {"batch_size": 128, "precision": "float32", "seed": 0, "minutes": 1.0, "fewest": 1},
    "runs": {
        "tiny": {"kind": "float", "task": "digits", "epochs": 3},
        "broken": {"kind": "combined", "net": "missing", "ratio": 8, "epochs": 1},
        "tiny-8x": {"kind": "combined", "net": "tiny", "ratio": 8, "epochs": 2, "every": 5, "learning_rate": 0.01},
    },
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """What the queue prints and packs, and the results that come out of the packed files."""
    folder = tmp_path_factory.mktemp("queue")
    (folder / "queue.yaml").write_text(yaml.safe_dump(QUEUE, sort_keys=False))
    command = [sys.executable, str(SCRIPT), str(folder / "queue.yaml"), "--minutes", "2", "--out", str(folder / "out")]
    command += ["--work", str(folder / "work"), "--commit", "abc"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=150).stdout
    unpack = [sys.executable, str(SCRIPT), "--unpack", str(folder / "out"), "--results", str(folder)]
    subprocess.run(unpack, capture_output=True, check=True, timeout=60)
    return printed, folder / "results"


def test_a_run_that_fails_is_printed_and_the_queue_goes_on(made):
    printed, results = made
    assert "broken: FAILED" in printed and "FileNotFoundError" in printed
    assert {path.stem for path in (results / "metrics").iterdir()} == {"tiny", "tiny-8x"}


def test_the_float_network_comes_back_as_it_was_measured(made):
    path = made[1] / "nets" / "tiny" / "network.safetensors"
    with safe_open(path, "np") as file:
        about = json.loads(file.metadata()["bitbook"])
    network = networks.build(about["specification"])
    network.load_state_dict(load_file(path))
    task = tasks.get(about["task"])
    test = task.test()
    assert training.evaluate(network, test.images, test.labels, task.metrics) == about["values"]
    assert about["values"]["top1"] > 0.5
    assert all(torch.equal(value, value.half().float()) for value in network.parameters() if value.ndim > 1)


def test_publish_measures_the_files_again(made):
    (row,) = publish.imported_rows(made[1])
    assert (row["task"], row["method"], row["variant"]) == ("digits", "dpnet", "combined, 8x, 2 epochs, GPU")
    assert row["ratio"] >= 8 and row["commit"] == "abc" and row["test_reads"] == 1
    assert row["float_value"] == json.loads((made[1] / "metrics" / "tiny.json").read_text())["top1"]
