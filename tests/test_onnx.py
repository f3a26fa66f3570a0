"""An exported model gives what the decoded network gives, by another runtime."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from bitbook import Compressed, GridCode, ScalarCode, VectorCode
from bitbook.onnx import export_onnx
from torch import nn


def mine():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(128, 16), nn.Linear(16, 5)
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's exporter without dynamo needs no further package
def test_onnxruntime_computes_the_same(tmp_path):
    torch.manual_seed(0)
    rng, path = np.random.default_rng(0), tmp_path / "network.onnx"
    codes = {
        "0.weight": ScalarCode(rng.integers(0, 16, (8, 3, 3, 3)), "values", rng.random(8).astype(np.float16)),
        "2.weight": VectorCode(rng.integers(0, 300, (8, 8)), "vectors", (8, 8, 3, 3)),
        "4.weight": ScalarCode(rng.integers(0, 16, (16, 128)), "values", np.float16(0.25)),
        "5.weight": GridCode(rng.integers(-4, 4, (5, 16)), np.full(5, 3), np.full(5, -3)),
    }
    books = {"values": rng.normal(size=16), "vectors": rng.normal(size=(300, 9)) / 9}
    books = {name: book.astype(np.float16) for name, book in books.items()}
    state = {name: value.numpy() for name, value in mine().state_dict().items()}
    compressed = Compressed.from_state(state, codes=codes, codebooks=books, specification={"class": "mine"})
    images = torch.rand(3, 3, 8, 8)
    export_onnx(compressed, path, images[:1], into=mine())
    found = onnxruntime.InferenceSession(path).run(["y"], {"x": images.numpy()})[0]
    expected = compressed.to_module(into=mine())(images).detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    graph = onnx.load(path).graph
    held = {tensor.name: tensor.data_type for tensor in graph.initializer}
    assert held["0.weight.codes"] == onnx.TensorProto.UINT8 and held["2.weight.codes"] == onnx.TensorProto.INT32
    assert [node.op_type for node in graph.node].count("Gather") == 3
    assert not held.keys() & {"0.weight", "2.weight", "4.weight"} and "5.weight" in held
