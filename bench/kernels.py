"""Kernels beside torch and the packages that compute with few bits, one core: CPU time as ratios within one process.

Every ratio is of medians of interleaved calls, so that other load falls on both sides. Peers that are not
installed are left out: pip install onnx onnxruntime openvino aqlm ik-llama-cpp-python. `python bench/kernels.py` runs
all and writes published/kernels.csv; sections alone print: products batches families networks crossover threads.
"""

import importlib.util
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from bitbook import Compressed, ScalarCode, SparseCode, VectorCode, networks
from bitbook.kernels import EightBitLookup, Lookup, bucket_products
from bitbook.kernels.layers import LookupLayer
from bitbook.kernels.measure import cpu_seconds, processor, read_bandwidth
from torch import nn
from torch.nn import functional

ROWS: list[tuple] = []  # processor, case, what, milliseconds, compared with, times faster
SHAPES = [(4096, 4096), (1024, 1024), (512, 4608)]


def coded(m: int, n: int, k: int, d: int = 1, seed: int = 0) -> tuple[ScalarCode | VectorCode, dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    if d == 1:
        return ScalarCode(rng.integers(0, k, (m, n)), "b"), {"b": np.sort(rng.normal(size=k)).astype(np.float16)}
    return VectorCode(rng.integers(0, k, (m, n // d)), "b", (m, n)), {"b": rng.normal(size=(k, d)).astype(np.float16)}


def onnx_session(nodes: list, initializers: list, n: int, m: int):
    import onnx
    import onnxruntime

    ends = [onnx.helper.make_tensor_value_info(name, 1, ["b", size]) for name, size in (("x", n), ("y", m))]
    graph = onnx.helper.make_graph(nodes, "g", ends[:1], ends[1:], initializers)
    opsets = [onnx.helper.make_opsetid("", 21), onnx.helper.make_opsetid("com.microsoft", 1)]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def matmul_nbits(m: int, n: int) -> Callable:
    """onnxruntime's 4-bit product, block 128, with activations of 8 bits inside (accuracy_level 4)."""
    import onnx

    rng, blocks = np.random.default_rng(0), n // 128
    b = onnx.numpy_helper.from_array(rng.integers(0, 256, (m, blocks, 64), dtype=np.uint8), "b")
    scales = onnx.numpy_helper.from_array(rng.random(m * blocks, dtype=np.float32), "s")
    options = {"K": n, "N": m, "bits": 4, "block_size": 128, "accuracy_level": 4, "domain": "com.microsoft"}
    session = onnx_session([onnx.helper.make_node("MatMulNBits", ["x", "b", "s"], ["y"], **options)], [b, scales], n, m)
    return lambda x: session.run(None, {"x": x})[0]


def openvino_u4(m: int, n: int) -> Callable:
    """OpenVINO's 4-bit weights, groups of 64."""
    import openvino
    from openvino import opset13 as ops

    rng, groups = np.random.default_rng(0), n // 64
    packed = rng.integers(0, 256, m * n // 2, dtype=np.uint8)
    codes = openvino.op.Constant(openvino.Tensor(packed, [m, groups, 64], openvino.Type.u4))
    scales = ops.constant(rng.random((m, groups, 1), dtype=np.float32).astype(np.float16))
    centred = ops.subtract(ops.convert(codes, "f16"), ops.constant(np.float16(8)))
    weights = ops.convert(ops.reshape(ops.multiply(centred, scales), [m, n], False), "f32")
    x = ops.parameter([-1, n], np.float32)
    model = openvino.Model([ops.matmul(x, weights, False, True)], [x])
    options = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    request = openvino.Core().compile_model(model, "CPU", options).create_infer_request()
    return lambda x: request.infer([x])


def torch_int4(m: int, n: int) -> Callable:
    """torch's 4-bit weights with bfloat16 activations, groups of 128."""
    weights = torch.randint(0, 16, (m, n), dtype=torch.int32)
    packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(weights, 1)
    scales = torch.rand(n // 128, m, 2, dtype=torch.bfloat16)
    return lambda x: torch.ops.aten._weight_int4pack_mm_for_cpu(torch.from_numpy(x).bfloat16(), packed, 128, scales)


def aqlm(m: int, n: int) -> Callable:
    """AQLM's Numba kernel, one codebook of 256 vectors of 8."""
    import numba

    numba.set_num_threads(1)
    folder = Path(importlib.util.find_spec("aqlm").submodule_search_locations[0])
    spec = importlib.util.spec_from_file_location("aqlm_kernel", folder / "inference_kernels" / "numba_kernel.py")
    spec.loader.exec_module(module := importlib.util.module_from_spec(spec))
    codes = torch.randint(-128, 128, (n // 8, m, 1), dtype=torch.int8)
    books, scales = torch.randn(1, 256, 1, 8), torch.ones(m, 1, 1, 1)
    return lambda x: module.numba_gemm_lut(torch.from_numpy(x), codes, books, scales, None)


PEERS = {
    "onnxruntime MatMulNBits, 8-bit activations": matmul_nbits,
    "OpenVINO u4": openvino_u4,
    "torch int4, bfloat16 activations": torch_int4,
}


def made(peers: dict[str, Callable], m: int, n: int, x: np.ndarray) -> dict[str, Callable]:
    """The peers that are there and run."""
    found = {}
    for name, make in peers.items():
        try:
            function = make(m, n)
            function(x)
            found[name] = lambda function=function: function(x)
        except Exception as error:  # a peer may be missing or refuse this processor
            print(f"  left out: {name} ({type(error).__name__}: {str(error).splitlines()[0][:80]})")
    return found


def report(case: str, times: dict[str, float], base: str) -> None:
    print(case)
    for name, measured in times.items():
        print(f"  {name}: {measured * 1e3:.3f} ms, {times[base] / measured:.2f} times {base}")
        ROWS.append((processor(), case, name, 1e3 * measured, base, times[base] / measured))


def products() -> None:
    speed = read_bandwidth()
    print(f"one core reads {speed / 1e9:.1f} GB/s")
    for m, n in SHAPES:
        code, books = coded(m, n, 16)
        lookup, eight = Lookup(code, books), EightBitLookup(code, books)
        weights, x = (
            torch.from_numpy(code.decode(books)),
            np.random.default_rng(1).normal(size=(1, n)).astype(np.float32),
        )
        vector = torch.from_numpy(x[0])
        functions = {
            "torch fp32": lambda w=weights, v=vector: torch.mv(w, v),
            "4 bits": lambda lookup=lookup, x=x: lookup.multiply(x),
            "4 bits, 8-bit activations": lambda eight=eight, x=x: eight.multiply(x),
        }
        print(f"reading the codes alone takes {lookup.nbytes / speed * 1e3:.3f} ms")
        report(f"{m}x{n}, 16 values, batch 1", cpu_seconds(functions | made(PEERS, m, n, x)), "torch fp32")


def batches() -> None:
    code, books = coded(4096, 4096, 16)
    lookup, weights = Lookup(code, books), torch.from_numpy(code.decode(books))
    for batch in (8, 32, 128):
        x = torch.randn(batch, 4096)
        packed, mkl = weights.to_mkldnn(), torch.ops.mkl._mkl_reorder_linear_weight(weights, batch)
        functions = {
            "F.linear": lambda x=x: functional.linear(x, weights),
            "prepacked by oneDNN": lambda x=x, p=packed: torch._C._nn.mkldnn_linear(x.to_mkldnn(), p).to_dense(),
            "prepacked by MKL": lambda x=x, p=mkl, b=batch: torch.ops.mkl._mkl_linear(x, p, weights, None, b),
            "4 bits": lambda x=x: lookup.multiply(x.numpy()),
        }
        report(f"4096x4096, 16 values, batch {batch}", cpu_seconds(functions, repeats=5), "prepacked by oneDNN")


def families() -> None:
    for m, n in SHAPES:
        rng, x = np.random.default_rng(0), np.random.default_rng(1).normal(size=(1, n)).astype(np.float32)
        weights, vector = torch.randn(m, n), torch.from_numpy(x[0])
        layers = {f"scalar, {k} values": coded(m, n, k) for k in (32, 64, 256)}
        layers |= {f"vector, d = {d}, k = {k}": coded(m, n, k, d) for d in (2, 4) for k in (16, 256)}
        layers |= {f"vector, d = {d}, k = 256": coded(m, n // d * d, 256, d) for d in (8, 9, 16)}
        positions = rng.random((m, n)) < 0.1
        sparse = SparseCode(positions, ScalarCode(rng.integers(0, 16, positions.sum()), "b"))
        layers["sparse, 10 % of the weights left, 16 values"] = sparse, {"b": np.arange(1, 17, dtype=np.float16)}
        lookups = {name: Lookup(*layer) for name, layer in layers.items()}
        functions = {"torch fp32": lambda w=weights, v=vector: torch.mv(w, v)}
        functions |= {
            name: lambda lookup=lookup, x=x: lookup.multiply(x[:, : lookup.shape[1]])
            for name, lookup in lookups.items()
        }
        if m == 4096:
            functions |= made({"AQLM's Numba kernel, d = 8, k = 256": aqlm}, m, n, x)
            code, books = coded(m, n, 16)
            functions["bucket accumulation, 16 values"] = partial(bucket_products, code.indices, books["b"], x[0])
        report(f"{m}x{n}, batch 1", cpu_seconds(functions, repeats=7), "torch fp32")


def head(*widths: int) -> nn.Sequential:
    layers = [layer for pair in pairwise(widths) for layer in (nn.Linear(*pair), nn.ReLU())]
    return nn.Sequential(*layers[:-1]).eval()


def at_four_bits(network: nn.Module) -> Compressed:
    """All weights of linear layers and convolutions by 16 random values a layer."""
    state, codes, books = {name: value.numpy() for name, value in network.state_dict().items()}, {}, {}
    rng = np.random.default_rng(0)
    for name, value in state.items():
        if value.ndim > 1:
            codes[name] = ScalarCode(rng.integers(0, 16, value.shape, dtype=np.uint8), name)
            books[name] = (rng.normal(size=16) * value.std()).astype(np.float16)
    return Compressed.from_state(state, codes=codes, codebooks=books, specification={})


def whole_networks() -> None:
    squeezenet = networks.torchvision_specification("squeezenet1_1")
    resnet = {"factory": "cifar_resnet", "arguments": {"depth": 20, "mean": [0.5] * 3, "std": [0.25] * 3}}
    nets = {
        "AlexNet's classifier": (lambda: head(9216, 4096, 4096, 1000), (9216,)),
        "VGG-16's classifier": (lambda: head(25088, 4096, 4096, 1000), (25088,)),
        "LeNet-5": (lambda: networks.build({"factory": "lenet5", "arguments": {}}), (1, 28, 28)),
        "ResNet-20": (lambda: networks.build(resnet), (3, 32, 32)),
        "SqueezeNet 1.1": (lambda: networks.build(squeezenet), (3, 224, 224)),
    }
    for name, (build, shape) in nets.items():
        dense = build().eval()
        lookup = at_four_bits(dense).to_module(into=build(), kernel="lookup")
        x = torch.randn(1, *shape)
        with torch.no_grad():
            functions = {"float network": lambda d=dense, x=x: d(x), "16 values": lambda n=lookup, x=x: n(x)}
            times = cpu_seconds(functions, repeats=15)
        own = sum(layer.lookup.nbytes for layer in lookup.modules() if isinstance(layer, LookupLayer))
        floats = 4 * sum(p.numel() for p in dense.parameters())
        case = f"{name}, batch 1: {floats / 1e6:.2f} MB of float32, {own / 1e6:.2f} MB of codes"
        report(case, times, "float network")


def crossover() -> None:
    """Products by kernels against weights decoded for torch's product: what `layers.MOST` is taken from."""
    for name, code in {"16 values": coded(1024, 1024, 16), "d = 8, k = 256": coded(1024, 1024, 256, 8)}.items():
        layer = nn.Linear(1024, 1024, bias=False)
        by_kernel, by_library = (LookupLayer(layer, Lookup(*code), most=most) for most in (1 << 30, 0))
        for batch in (8, 64, 256):
            x = torch.randn(batch, 1024)
            functions = {"library": lambda x=x, f=by_library: f(x), "kernel": lambda x=x, f=by_kernel: f(x)}
            times = cpu_seconds(functions, repeats=5)
            print(f"1024x1024, {name}, batch {batch}: {times['library'] / times['kernel']:.2f} times decoding")
    for channels, size in ((64, 8), (64, 32), (256, 14), (512, 7)):
        layer = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        lookup = Lookup(*coded(channels, 9 * channels, 16))
        by_kernel, by_library = (LookupLayer(layer, lookup, most=most) for most in (1 << 30, 0))
        for batch in (1, 8):
            x = torch.randn(batch, channels, size, size)
            functions = {"kernel": lambda x=x, f=by_kernel: f(x), "library": lambda x=x, f=by_library: f(x)}
            with torch.no_grad():
                times = cpu_seconds(functions | {"fp32": lambda x=x, f=layer: f(x)}, repeats=5)
            ratios = [f"{times[peer] / times['kernel']:.2f} times {peer}" for peer in ("library", "fp32")]
            print(f"{channels} channels 3x3, {size}x{size}, batch {batch}: {', '.join(ratios)}")


def threads() -> None:
    lookup, x = Lookup(*coded(4096, 4096, 16)), np.random.default_rng(0).normal(size=(1, 4096)).astype(np.float32)
    best, load = {1: np.inf, 2: np.inf}, os.getloadavg()[0]
    for _ in range(100):
        for count in best:
            start = time.perf_counter()
            lookup.multiply(x, threads=count)
            best[count] = min(best[count], time.perf_counter() - start)
    case = f"4096x4096, 16 values, batch 1: wall, best of 100, load of the machine before {load:.1f}"
    report(case, {"one thread": best[1], "two threads": best[2]}, "one thread")


def main() -> None:
    torch.set_num_threads(1)
    print(f"{processor()}, torch {torch.__version__}")
    sections = {"products": products, "batches": batches, "families": families, "networks": whole_networks}
    sections |= {"crossover": crossover, "threads": threads}
    for name in sys.argv[1:] or sections:
        sections[name]()
    if len(sys.argv) == 1:  # all of it: the notebook of the kernels shows the table
        path = Path(__file__).parents[1] / "published" / "kernels.csv"
        columns = ["processor", "case", "what", "milliseconds", "compared_with", "times"]
        table = pd.DataFrame(ROWS, columns=columns).round({"milliseconds": 4, "times": 3})
        if path.exists():
            others = pd.read_csv(path)
            table = pd.concat([others[others.processor != processor()], table])
        table.to_csv(path, index=False)


if __name__ == "__main__":
    main()
