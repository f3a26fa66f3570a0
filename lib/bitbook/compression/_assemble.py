"""From codes to the file that they make, which is where every method ends."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from bitbook import training
from bitbook.codes import Code, Coded, Compressed
from bitbook.compression._fold import foldable
from bitbook.networks import is_plain, plain_copy, specification_of, unwrapped


def assemble(
    network: nn.Module,
    coded: Coded,
    *,
    calibration: Tensor | Iterable[training.Batch] | None = None,
    reference: nn.Module | None = None,
    mantissa: int = 10,
) -> Compressed:
    """Return a network with these codes as Compressed; the network itself is left as it is.

    A batch norm is folded with its own epsilon, unless something else reads its numbers, see `foldable`. A parameter
    with several names is stored under the first. A network without a `specification`, of which bitbook.networks knows
    nothing, can be loaded back only `into` a module.

    Args:
        network: any module; wrappers are taken off, parametrised weights are stored as the network computes them.
        coded: codes of parameters, by name, with their codebooks.
        calibration: on which the batch norms' statistics are taken again: (N, C, H, W) images such as
            `Task.calibration` draws, or batches as `training.run` takes them; None keeps them.
        reference: the float network, re-estimated on the same data, see `training.reestimate_batch_norm`.
        mantissa: bits that the float16 numbers of batch norms and biases keep of their 10.

    Raises:
        ValueError: naming the tensor, for entries that no file can hold.
    """
    network = unwrapped(network)
    if calibration is not None and not isinstance(calibration, Tensor | Sequence):
        calibration = list(calibration)
    parameters = list(network.parameters())
    if calibration is not None or not is_plain(network):
        network = plain_copy(network)
        named = dict(network.named_parameters())
        with torch.no_grad():
            for name, weights in coded.decode().items():
                named[name].copy_(torch.from_numpy(weights))
        if calibration is not None:
            training.reestimate_batch_norm(network, calibration, reference=reference)
    norms = {
        name: norm.eps for name, norm in foldable(network, calibration).items() if f"{name}.weight" not in coded.codes
    }
    trainable = [value for value in parameters if value.requires_grad] or parameters
    usual = Counter(eps for eps in norms.values() if 0 < eps < 1).most_common(1)
    return Compressed.from_state(
        _state(network, coded.codes),
        codes=coded.codes,
        codebooks=coded.codebooks,
        specification=specification_of(network),
        original_parameters=sum(value.numel() for value in trainable),
        half_source=all(value.dtype == torch.float16 for value in parameters),
        epsilon=usual[0][0] if usual else 1e-5,
        epsilons=norms,
        mantissa=mantissa,
    )


def _state(network: nn.Module, codes: Mapping[str, Code]) -> dict[str, np.ndarray]:
    """The entries without a code, each tensor once, under the name that has a code or else the first."""
    entries = network.state_dict(keep_vars=True)
    seen: set[int] = set()
    state: dict[str, np.ndarray] = {}
    for name in sorted(entries, key=lambda name: name not in codes):
        value = entries[name]
        if is_lazy(value):
            raise ValueError(f"{name}: a lazy layer has no weights yet; run the network once before compressing it")
        if id(value) not in seen and name not in codes:
            state[name] = _array(name, value)
            if not np.isfinite(state[name]).all():
                raise ValueError(
                    f"{name} holds NaN or infinity: mend the network before compressing it, or register a buffer that "
                    "the network makes itself, such as a mask, with persistent=False"
                )
        seen.add(id(value))
    return state


def _array(name: str, value: Tensor) -> np.ndarray:
    """Return a tensor as an array: floats as float32, whole numbers, booleans and complex numbers as they are."""
    try:
        value = value.detach().cpu().resolve_conj().resolve_neg()
        narrow = value.is_floating_point() and value.dtype != torch.float64
        return (value.float() if narrow else value).numpy()
    except (AttributeError, RuntimeError, TypeError) as error:  # an extra state, a quantised or a sparse tensor
        raise ValueError(f"{name}: {type(value).__name__} is not stored in files; remove it ({error})") from None
