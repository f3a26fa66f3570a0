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

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[1] / "full" / "gpu.py"
SHORT = {"net": "tiny", "epochs": 2, "learning_rate": 0.001}
BINS = {"kind": "bins", "net": "tiny", "fewest_bins": 4, "bins": 32, "population": 4, "generations": 2, "images": 100}
LAYERS = {"kind": "layers", "net": "tiny", "finest": 0.5, "coarsest": 2.0, "images": 64, "parents": 4, "candidates": 6}
LAYERS |= {"members": 2, "again": 0, "ratios": [4]}
QUEUE = {
    "lanes": 1,
    "common": {"batch_size": 128, "precision": "float32", "seed": 0, "minutes": 1.0, "fewest": 1},
    "runs": {
        "tiny": {"kind": "float", "task": "digits", "epochs": 3},
        "broken": {"kind": "combined", "net": "missing", "ratio": 8, "epochs": 1},
        "tiny-8x": {"kind": "combined", "net": "tiny", "ratio": 8, "epochs": 2, "every": 5, "learning_rate": 0.01},
        "tiny-bins": BINS,
        "tiny-layers": LAYERS,
        "tiny-vq": {**SHORT, "kind": "permuted_vq", "blocks": {"k": 16}, "regime": "small blocks"},
        "tiny-admm": {**SHORT, "kind": "admm", "left": 3000, "levels": 4, "rho": 0.05},
        "tiny-self": {**SHORT, "kind": "self_compression", "charge": "entropy", "gamma": 0.1},
    },
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """What the queue prints and packs, and the results that come out of the packed files."""
    folder = tmp_path_factory.mktemp("queue")
    (folder / "queue.yaml").write_text(yaml.safe_dump(QUEUE, sort_keys=False))
    command = [sys.executable, str(SCRIPT), str(folder / "queue.yaml"), "--minutes", "5", "--out", str(folder / "out")]
    command += ["--work", str(folder / "work"), "--commit", "abc"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=330).stdout
    unpack = [sys.executable, str(SCRIPT), "--unpack", str(folder / "out"), "--results", str(folder)]
    subprocess.run(unpack, capture_output=True, check=True, timeout=60)
    return printed, folder / "results"


def test_a_run_that_fails_is_printed_and_the_queue_goes_on(made):
    printed, results = made
    assert "broken: FAILED" in printed and "FileNotFoundError" in printed
    assert {path.stem for path in (results / "metrics").iterdir()} == QUEUE["runs"].keys() - {"broken"}


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
    rows = {row["variant"].removesuffix(" epochs, GPU"): row for row in publish.imported_rows(made[1])}
    methods = {variant: row["method"] for variant, row in rows.items()}
    assert methods == {
        "combined, 8x, 2": "dpnet",
        "NSGA-II, 0": "moea_bins",
        "NSGA-II + merge, 0": "moea_bins",
        "search, 4x, 0": "moea_bins",
        "small blocks, 2": "permuted_vq",
        "clustered, 3,000 weights, 5": "admm",
        "entropy, gamma 0.1, 2": "self_compression",
    }
    row = rows["combined, 8x, 2"]
    assert row["ratio"] >= 8 and row["commit"] == "abc" and row["test_reads"] == 1
    assert row["float_value"] == json.loads((made[1] / "metrics" / "tiny.json").read_text())["top1"]
