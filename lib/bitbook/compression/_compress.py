"""Any network to a compressed one, with data or without: the one door for users."""

import numbers
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bitbook import training
from bitbook.clustering import kmeans1d, kmeans1d_layers, sort_weights
from bitbook.codes import Code, Coded, Compressed, ScalarCode, small_floats
from bitbook.compression._assemble import assemble
from bitbook.compression._baseline import grid
from bitbook.compression._calibration import batches
from bitbook.compression._compensate import compensate, factored
from bitbook.compression._grid_search import InTurn, finest_grid
from bitbook.compression._inputs import input_moments
from bitbook.compression._select import select
from bitbook.compression._sensitivity import layer_scales
from bitbook.compression._sequential import watchable
from bitbook.networks import is_plain, plain_copy, unwrapped
from bitbook.tasks import Task

RATE = 0.1  # the rate-distortion weight at which a uniform quantiser trades squared error for bits
MOST_CENTROIDS = 65_536  # a layer
LARGE, LARGE_BINS = 2**24, 2**20  # weights from which a layer is clustered by its histogram, and the bins of that
WATCHED = 0.9  # share of the weights
SEARCH_IMAGES, FEWEST_IMAGES = 1000, 200
IMAGE_NUMBERS = 2**22  # of all images of the search together
MULTIPLICATIONS = 5e10  # in a pass that rounds in turn: a minute on a core
MOMENT_SAMPLES = 1024  # images or sequences that the layers' inputs are watched on


def compress(
    network: nn.Module,
    *,
    calibration: Tensor | Iterable | None = None,
    ratio: float | None = None,
    budget: int | None = None,
    k: int | None = None,
    method: str | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    task: Task | None = None,
    memory: int = 2**32,
    progress: bool = True,
) -> Compressed:
    """Compress any torch network; the network is left as it is.

    Weights are chosen by the kind of their layer: linear, convolutional, attention's projections, recurrent. With
    calibration data, layers are rounded such that their outputs stay close (GPTQ) and batch norms are re-estimated;
    without, each weight is rounded to the nearest value and batch norms stay. `summary()` of the result lists what was
    coded how, and what stays dense and why.

    Args:
        network: any module; wrappers (compiled, parallel, averaged) are taken off.
        calibration: what the network takes, without labels: a tensor (N, ...), an iterable of batches, or a DataLoader,
            whose labels are left out; a few hundred samples like those of training, augmented as there.
        ratio: 4 bytes times the trainable parameters, divided by the bytes of the file.
        budget: most bytes of the file, instead of a ratio.
        k: centroids of each layer, instead of a ratio or budget.
        method: "grid", a uniform grid for each layer, as fine as the budget and its share in the divergence of the
                outputs allow; "kmeans", the k optimal
            clusters of each layer. By default what ratio, budget or k ask for.
        include: fnmatch patterns of further parameters to code, such as embeddings.
        exclude: fnmatch patterns of parameters that stay dense.
        task: gives calibration images of its own, where no calibration is given.
        memory: bytes that the statistics of the layers' inputs may take; see `input_moments`.
        progress: whether to show a progress bar.

    Raises:
        ValueError: for options that do not fit together, weights or calibration data that are not finite, data that the
            network does not take, and a budget that cannot be kept.
    """
    _check_options(ratio, budget, k, method, memory)
    if not isinstance(network, nn.Module):
        kind = getattr(network, "__name__", type(network).__name__)
        raise ValueError(f"compress takes a torch module, not {kind}; `bitbook compress` takes files of weights")
    plain = unwrapped(network)
    if calibration is not None or task is not None or not is_plain(plain):
        plain = plain_copy(plain)  # a network may change its own buffers and embeddings when it runs
    chosen = select(plain, include=include, exclude=exclude)
    data, moments, scales, in_turn, reference = None, {}, {}, {}, None
    if calibration is not None:
        data = batches(plain, calibration)
    elif task is not None:
        data = task.calibration(seed=0).split(100)
    if data is not None:
        images = None if k else _images(plain, data)
        if images is not None:
            in_turn = _in_turn(plain, chosen.tensors, images, memory)
        if not in_turn:
            sizes = np.cumsum([training.batch_length(batch) for batch in data])
            watched = data[: 1 + int(np.searchsorted(sizes, MOMENT_SAMPLES))]
            moments = input_moments(plain, watched, memory=memory, only=chosen.tensors)
            # Rounding in turn takes one step for all, and the statistics of its images, of which there are many.
            scales = {} if k else layer_scales(plain, chosen.tensors, data)
            reference = plain_copy(plain)
            training.reestimate_batch_norm(reference, data)

    factors = {}
    for name in list(moments):  # one after the other: both together would fill the memory
        factors[name] = factored(moments.pop(name))

    def by_inputs(step: float, _: bool) -> tuple[Coded, dict]:
        return compensate(chosen.tensors, grid(chosen.tensors, step, scales), factors, rate_weight=RATE), {}

    if k is None:
        trainable = [value for value in plain.parameters() if value.requires_grad] or list(plain.parameters())
        budget = int(budget or min(4 * sum(value.numel() for value in trainable) / ratio, 2**63))
        tensors = {name: tensor / scales[name] if scales else tensor for name, tensor in chosen.tensors.items()}
        rounding = InTurn(plain, tensors, images, in_turn) if in_turn else by_inputs
        known = {"calibration": data, "reference": reference}
        file = finest_grid(plain, tensors, budget, rounding, **known, progress=progress)
    else:
        clusters = compensate(chosen.tensors, _clusters(chosen.tensors, int(k)), factors, rate_weight=RATE)
        file = assemble(plain, clusters, calibration=data, reference=reference)
    notes = dict(chosen.dense)
    for name in chosen.tensors:
        if data and name not in factors and name not in in_turn:
            notes[name] = "rounded to the nearest value: what its layer multiplies it with cannot be watched"
        elif len(factors.get(name, ())) > 1:
            notes[name] = f"rounded in {len(factors[name])} blocks of inputs, to keep the memory"
        if chosen.tensors[name].any() and not file.codes[name].decode(file.codebooks).any():
            notes[name] = "all of it became zero, far below the grid's step: exclude it, or take k= or a smaller ratio"
    return file.noted(notes)


def _images(network: nn.Module, data: Sequence[training.Batch]) -> Tensor | None:
    """Images for rounding layer by layer, which holds them all in memory; None where the batches are no images."""
    batches: list[Any] = [batch[0] if isinstance(batch, tuple) and len(batch) == 1 else batch for batch in data]
    if not all(isinstance(batch, Tensor) and batch.ndim == 4 for batch in batches):
        return None
    if len({batch.shape[1:] for batch in batches}) > 1 or batches[0][0].numel() * FEWEST_IMAGES > IMAGE_NUMBERS:
        return None
    raw = isinstance(data[0], Tensor)  # those of a task
    images = torch.cat([training.inputs(network, batch) if raw else batch for batch in batches])
    most = min(len(images), SEARCH_IMAGES, IMAGE_NUMBERS // images[0].numel())
    return images[torch.linspace(0, len(images) - 1, most).round().long()]


def _in_turn(network: nn.Module, tensors: Mapping[str, np.ndarray], images: Tensor, memory: int) -> dict[str, bool]:
    """The layers to round in turn, see `watchable`; none unless these hold nearly all weights, and soon done."""
    layers = {name: free for name, free in watchable(network, images).items() if name in tensors}
    seen, whole = (sum(tensors[name].size for name in names) for names in (layers, tensors))
    inputs = np.array([tensors[name][0].size for name in layers] or [0], np.float64)
    # What cannot be watched is rounded to the nearest value; of a layer's inputs there are five matrices of moments,
    # to factor which takes so many multiplications.
    fits = 40 * inputs.max() ** 2 <= memory and (inputs**3).sum() <= MULTIPLICATIONS
    return layers if seen >= WATCHED * whole and fits else {}


def _check_options(ratio: float | None, budget: int | None, k: int | None, method: str | None, memory: int) -> None:
    given = [name for name, value in (("ratio", ratio), ("budget", budget), ("k", k)) if value is not None]
    if len(given) != 1:
        raise ValueError(f"give one of ratio=, budget= (bytes) and k= (centroids a layer), not {given or 'none'}")
    for name, value in (("ratio", ratio), ("budget", budget), ("k", k), ("memory", memory)):
        if value is not None and not (isinstance(value, numbers.Real) and 0 < value < 2**63):
            raise ValueError(f"{name} must be a finite number above zero, not {value!r}")
    if k is not None and not (k == int(k) and k <= MOST_CENTROIDS):
        raise ValueError(f"k must be a whole number up to {MOST_CENTROIDS:,}, not {k!r}")
    own = "grid" if k is None else "kmeans"
    if method not in (None, own):
        wants = {"grid": "ratio= or budget=", "kmeans": "k="}.get(method)
        raise ValueError(f"method {method!r} takes {wants}" if wants else f"unknown method {method!r}: grid or kmeans")


def _clusters(tensors: Mapping[str, np.ndarray], k: int) -> Coded:
    """The optimal clusters of each layer; of very large ones those of a fine histogram."""
    codes: dict[str, Code] = {}
    books = {}
    layers = {name: tensor for name, tensor in tensors.items() if tensor.size <= LARGE}
    for name, found in kmeans1d_layers(layers, k).items():
        codes[name], books[name] = ScalarCode(found.labels, name), small_floats(found.values)
    for name in tensors.keys() - layers.keys():
        codes[name], books[name] = _large(tensors[name], name, k)
    return Coded(codes, books)


def _large(tensor: np.ndarray, name: str, k: int) -> tuple[Code, np.ndarray]:
    """As the clusters of a layer whose prefix sums would fill the memory, each weight moved by 1e-6 of the range."""
    counts, edges = np.histogram(tensor, LARGE_BINS)
    used = np.flatnonzero(counts)
    centres = (edges[used] + edges[used + 1]) / 2
    values = kmeans1d(sort_weights(centres, counts=counts[used]), k).values
    borders = ((values[1:] + values[:-1]) / 2).astype(np.float32)
    indices = np.empty(tensor.size, np.min_scalar_type(len(values) - 1))
    for start in range(0, tensor.size, LARGE):
        indices[start : start + LARGE] = np.searchsorted(borders, tensor.ravel()[start : start + LARGE])
    return ScalarCode(indices.reshape(tensor.shape), name), small_floats(values)
