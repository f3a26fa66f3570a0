"""Two processes that train together end where one process ends."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import pytest
from bitbook import datasets
from bitbook.training import Recipe, fit
from torch import nn

CHILD = """
import json, sys, torch
from bitbook import datasets, networks
from bitbook.clustering import kmeans1d_layers
from bitbook.codes import Coded
from bitbook.training import CodebookTuning, Recipe, fit
from bitbook.training import _distributed as distributed
torch.set_num_threads(1)
train = datasets.load("digits", split="train")
torch.manual_seed(0)
convolution = torch.nn.Conv2d(1, 8, 3)  # and no batch norm: each process would have statistics of its own
network = torch.nn.Sequential(convolution, torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(288, 10))
recipe = Recipe(epochs=2, batch_size=32, learning_rate=0.05, augmentation="crop1", label_smoothing=0.1)
with distributed.processes() as device:
    history = fit(network.to(device), train.images, train.labels, recipe, seed=0, progress=False)
    weights = torch.cat([p.detach().flatten() for p in network.parameters()])
    tensors = {name: p.detach().numpy() for name, p in network.cpu().named_parameters() if p.ndim > 1}
    found = {name: (layer.labels, layer.values) for name, layer in kmeans1d_layers(tensors, 4).items()}
    scheme = CodebookTuning(Coded.by_layer(found))
    tuned = fit(network.to(device), train.images, train.labels, recipe, seed=0, scheme=scheme, progress=False)
    books = {name: book.tolist() for name, book in tuned.coded.codebooks.items()}
    losses = [history.loss, tuned.loss]
    print(json.dumps({"rank": distributed.place()[0], "loss": losses, "weights": weights.tolist(), "books": books}))
"""


def start(**variables):
    environment = os.environ | {name: str(value) for name, value in variables.items()}
    return subprocess.Popen(
        [sys.executable, "-c", CHILD], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def finish(child):
    out, error = child.communicate(timeout=180)
    assert child.returncode == 0, error
    return json.loads(out.splitlines()[-1])


def test_two_processes_end_in_the_loss_of_one():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    together = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": 2, "CUDA_VISIBLE_DEVICES": ""}
    pair = [start(RANK=rank, LOCAL_RANK=rank, **together) for rank in (0, 1)]
    first, second = (finish(child) for child in pair)
    alone = finish(start(CUDA_VISIBLE_DEVICES=""))
    assert (first["rank"], second["rank"], alone["rank"]) == (0, 1, 0)
    assert first["weights"] == second["weights"]
    for together, single in zip(first["loss"], alone["loss"], strict=True):
        assert together == pytest.approx(single, abs=1e-4)
        assert together[1] < together[0]
    assert first["books"] == second["books"]
    for name, book in alone["books"].items():
        assert first["books"][name] == pytest.approx(book, abs=2e-3)
    assert first["weights"] == pytest.approx(alone["weights"], abs=1e-4)


def test_a_batch_that_cannot_be_shared_is_refused(monkeypatch):
    monkeypatch.setattr("bitbook.training._distributed.place", lambda: (0, 3))
    train = datasets.load("digits", split="train")
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with pytest.raises(ValueError, match="batch of 128 cannot be shared equally by 3 processes"):
        fit(network, train.images, train.labels, Recipe(epochs=1), seed=0, progress=False)
