"""What kernels take: CPU time of functions called in turn, and the instructions that a kernel is compiled to."""

import platform
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numba as nb
import numpy as np

from bitbook.simd import instruction_set

from ._layer import Lookup


def cpu_seconds(functions: Mapping[str, Callable], *, repeats: int = 15) -> dict[str, float]:
    """Return the median CPU seconds of this process, one call of each function in turn, so that load falls on all.

    Two calls of each go before, to compile and to warm up.
    """
    times: dict[str, list[float]] = {name: [] for name in functions}
    for repeat in range(repeats + 2):
        for name, function in functions.items():
            start = time.process_time()
            function()
            if repeat > 1:
                times[name].append(time.process_time() - start)
    return {name: float(np.median(measured)) for name, measured in times.items()}


def read_bandwidth(megabytes: int = 128) -> float:
    """Return the bytes a second that one core reads from memory."""
    numbers = np.ones(megabytes << 17)
    return numbers.nbytes / cpu_seconds({"read": numbers.sum}, repeats=5)["read"]


def processor() -> str:
    """Return the processor's name and the instructions that kernels use."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{(names or [platform.processor() or platform.machine()])[0]}, {instruction_set()}"


def inner_loop(lookup: Lookup) -> Counter[str]:
    """Return how often each instruction stands in the innermost loop of a layer's kernel for one input vector.

    The loop is the stretch between a label and a jump back to it, with no other jump in it, that has the most
    instructions on vectors. The kernel must have been called once.
    """
    cached: Any = lookup.bands[0].kernel()[0]
    kernel = nb.njit(nogil=True)(cached.py_func)  # what comes from the cache cannot be inspected
    kernel.compile(cached.signatures[0])
    (assembly,) = kernel.inspect_asm().values()
    labels: dict[str, int] = {}
    loops, lines = [], list[str]()
    for line in assembly.splitlines():
        if label := re.match(r"(\.L\w+):", line):
            labels[label[1]] = len(lines)
        elif instruction := re.match(r"\s+([a-z]\w*)\s*(.*)", line):
            lines.append(instruction[1])
            if instruction[1].startswith("j") and instruction[2] in labels:
                loops.append(lines[labels.pop(instruction[2]) :])
    innermost = [loop for loop in loops if not any(name.startswith("j") for name in loop[:-1])]
    return Counter(max(innermost or loops, key=lambda loop: sum(name.startswith("v") for name in loop)))
