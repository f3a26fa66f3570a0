"""How coarse a grid each layer bears: the curvature of the outputs' divergence, from gradients without labels."""

import copy
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from bitbook import training

SAMPLES, NUMBERS = 256, 2**23  # images or sequences that are run backwards at most, and the numbers in all of them
TOGETHER = 8  # samples that are run backwards at once; each pass is one draw
WIDEST = 16.0  # scales stay within this factor of the median


def layer_scales(
    network: torch.nn.Module, tensors: Mapping[str, np.ndarray], data: Sequence[training.Batch]
) -> dict[str, np.ndarray]:
    """Return how coarse the grid of each layer is, compared with the others', so that a bit buys the same everywhere.

    A grid of step d moves each weight by d^2 / 12 on average of squares, and its bits grow as log2(1 / d). So with n
    weights of mean curvature s, a change of a bit a weight changes the divergence by the same for each weight where
    s d^2 is. The curvature is the diagonal of the Fisher information: the mean square of a weight's gradient, where the
    label of each sample is drawn from the network's own softmax; of outputs that are no logits (N, C), that of half
    their squared error. One backward pass gives it for many samples at once, as random signs keep these apart.

    Args:
        network: any module; left as it is.
        tensors: the weights, by parameter name.
        data: batches as `training.run` takes them.

    Returns:
        float16 numbers without axes, by name, 1 for the median of all weights; none where the outputs have no gradient,
        and for a network that takes batches of one size only.
    """
    generator, squares = torch.Generator().manual_seed(0), dict.fromkeys(tensors, 0.0)
    # cuDNN does not run recurrent layers backwards in evaluation mode.
    with torch.inference_mode(False), torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
        network = copy.deepcopy(network).eval()
        named = dict(network.named_parameters())
        weights = [named[name].requires_grad_() for name in tensors]
        try:
            for outputs in training.run(network, _samples(data), batch_size=1):
                score = _score(training.joined(outputs), generator)
                if not score.requires_grad:
                    return {}
                for name, found in zip(tensors, torch.autograd.grad(score, weights, allow_unused=True), strict=True):
                    squares[name] += 0.0 if found is None else found.double().square().mean().item()
        except (TypeError, ValueError, RuntimeError, IndexError):  # the network took these samples in whole batches
            return {}
    seen = [name for name, square in squares.items() if 0 < square < math.inf]
    steps = {name: -0.5 * math.log(squares[name]) for name in seen}
    order = sorted(seen, key=steps.__getitem__)
    middle = np.searchsorted(np.cumsum([tensors[name].size for name in order]), sum(tensors[n].size for n in seen) / 2)
    centre, most = steps[order[middle]] if seen else 0.0, math.log(WIDEST)
    logs = {name: min(max(steps.get(name, centre) - centre, -most), most) for name in tensors}
    return {name: np.asarray(math.exp(log), np.float16) for name, log in logs.items()}


def _samples(data: Sequence[training.Batch]) -> Iterator[training.Batch]:
    """Batches of about SAMPLES samples, evenly spread; small ones, where they are tensors."""
    total = sum(map(training.batch_length, data))
    for i, batch in enumerate(data):
        tensor = batch[0] if isinstance(batch, tuple) and len(batch) == 1 else batch
        if isinstance(tensor, Tensor) and tensor.numel():
            numbers = tensor[0].numel()
            chosen = tensor[:: math.ceil(total / max(min(SAMPLES, NUMBERS // numbers), 1))].clone()
            parts = chosen.split(TOGETHER)
            yield from parts if tensor is batch else zip(parts, strict=True)
        elif i % math.ceil(total / SAMPLES) == 0:
            yield batch


def _score(outputs: Tensor, generator: torch.Generator) -> Tensor:
    """A sum over samples, the square of whose gradient estimates the curvature, summed over them."""
    if outputs.ndim == 2 and outputs.shape[1] > 1:
        logs = outputs.float().log_softmax(1)
        labels = torch.multinomial(logs.detach().exp().cpu(), 1, generator=generator)
        signs = 2 * torch.randint(2, labels.shape, generator=generator) - 1
        return (signs.to(logs.device) * logs.gather(1, labels.to(logs.device))).sum()
    return (outputs * torch.randn(outputs.shape, generator=generator).to(outputs)).sum()
