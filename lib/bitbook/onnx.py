"""A compressed network as an ONNX model whose weights are codebooks and indices."""

import io
import os
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bitbook.codes import Compressed, ScalarCode, VectorCode
from bitbook.files import write_atomically
from bitbook.runtime import to_module


def export_onnx(
    compressed: Compressed, path: str | os.PathLike[str], example: Tensor, *, into: nn.Module | None = None
) -> None:
    """Write an ONNX model in which each ScalarCode or VectorCode stays a codebook and indices, read by `Gather`.

    The model is for interchange: onnxruntime and OpenVINO compute such weights once, when they load it, and hold them
    as float32 from then on. What has another code is written decoded. Needs the package onnx.

    Args:
        compressed: what a file holds.
        path: of the model.
        example: an input (N, ...), whose first axis is free in the model; the input is named "x", the output "y".
        into: the module to fill, where bitbook.networks does not know the network.

    Raises:
        ValueError: naming the entries where weights and module do not fit, or a weight that torch's exporter renames.
    """
    import onnx

    module, buffer = to_module(compressed, into=into), io.BytesIO()
    free = {name: {0: "n"} for name in ("x", "y")}
    options = {"input_names": ["x"], "output_names": ["y"], "dynamic_axes": free, "opset_version": 17}
    torch.onnx.export(module, (example,), buffer, dynamo=False, do_constant_folding=False, **options)
    model = onnx.load_from_string(buffer.getvalue())
    graph, nodes = model.graph, []
    weights = {tensor.name: tensor for tensor in graph.initializer}
    for name, code in compressed.codes.items():
        if not isinstance(code, ScalarCode | VectorCode):
            continue
        if name not in weights:
            raise ValueError(f"{name}: torch's exporter has merged or renamed this weight")
        graph.initializer.remove(weights[name])
        book = compressed.codebooks[code.codebook].astype(np.float32)
        indices = code.indices.astype(np.uint8 if len(book) <= 256 else np.int32)
        parts = {"codes": indices, "book": book, "shape": np.array(code.shape, np.int64)}
        steps = [("Cast", ["codes"], "int"), ("Gather", ["book", "int"], "flat"), ("Reshape", ["flat", "shape"], "")]
        if isinstance(code, ScalarCode) and code.scales is not None:
            parts["scales"] = code.scales.astype(np.float32).reshape(-1, *[1] * (len(code.shape) - 1))
            steps = [*steps[:2], ("Mul", ["flat", "scales"], "scaled"), ("Reshape", ["scaled", "shape"], "")]
        graph.initializer.extend(onnx.numpy_helper.from_array(v, f"{name}.{part}") for part, v in parts.items())
        for kind, sources, result in steps:
            cast: dict[str, Any] = {"to": onnx.TensorProto.INT32} if kind == "Cast" else {}
            to = f"{name}.{result}" if result else name
            nodes.append(onnx.helper.make_node(kind, [f"{name}.{source}" for source in sources], [to], **cast))
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *rest])
    onnx.checker.check_model(model)
    write_atomically(path, model.SerializeToString())
