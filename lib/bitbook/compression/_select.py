"""Which parameters are weights to code, by the kind of the module that holds them, and why others are not."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.parameter import is_lazy

_MATRICES = (nn.Linear, nn.Bilinear, _ConvNd)  # _ConvNd: one to three axes, transposed ones too
_ATTENTION = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")
SMALLEST, LARGEST = 1.2e-38, 1e18  # of a layer's largest weight: what float32 and its squares in float64 hold
_EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)


@dataclass(frozen=True)
class Selection:
    """The weights to code, float32 by parameter name, and why each other parameter with several axes stays dense."""

    tensors: dict[str, np.ndarray]
    dense: dict[str, str]


def layer_weights(network: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """Yield each layer that has weights to code, with the name of each such attribute.

    Linear, convolutional (transposed ones too), attention's projections and recurrent layers have.
    """
    for module in network.modules():
        if isinstance(module, _MATRICES):
            names = ["weight"]
        elif isinstance(module, nn.MultiheadAttention):
            names = [name for name in _ATTENTION if getattr(module, name) is not None]
        elif isinstance(module, nn.RNNBase | nn.RNNCellBase):
            names = [name for name, _ in module.named_parameters(recurse=False) if name.startswith("weight_")]
        else:
            continue
        for name in names:
            yield module, name


def select(network: nn.Module, *, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> Selection:
    """Choose the weights of a network to code: those of `layer_weights`, and what patterns add or take away.

    A parameter that several layers share is one weight, under the first of its names.

    Args:
        network: any module without parametrised weights, see `networks.plain_copy`.
        include: fnmatch patterns of further parameters, such as embeddings.
        exclude: fnmatch patterns of parameters that stay dense.

    Raises:
        ValueError: for a pattern that fits nothing, for weights that are lazy, complex or not finite, and where no
            weight is left.
    """
    names = {id(value): name for name, value in network.named_parameters()}
    chosen = {
        names[id(value)] for module, name in layer_weights(network) if id(value := getattr(module, name)) in names
    }
    embeddings = {names[id(m.weight)] for m in network.modules() if isinstance(m, _EMBEDDINGS)}
    for option, patterns in (("include", include), ("exclude", exclude)):
        if isinstance(patterns, str):
            raise ValueError(f"{option} is a list of patterns, such as [{patterns!r}]")
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in names.values()):
                raise ValueError(f"{option}: {pattern!r} fits none of the network's parameters")
    tensors, dense = {}, {}
    for name, value in network.named_parameters():
        if is_lazy(value):
            raise ValueError(f"{name}: a lazy layer has no weights yet; run the network once before compressing it")
        if value.is_meta:
            raise ValueError(f"{name}: is on the meta device, without numbers; load the weights first")
        if any(fnmatchcase(name, pattern) for pattern in exclude):
            dense[name] = "excluded"
        elif name not in chosen and not any(fnmatchcase(name, pattern) for pattern in include):
            if value.ndim > 1:
                what = "an embedding" if name in embeddings else "not the weight of a layer of a kind known here"
                dense[name] = f"{what}; name it in include= to code it"
        elif value.is_complex():
            raise ValueError(f"{name}: complex weights are not coded here; exclude it")
        elif not value.is_floating_point() or not value.numel():
            dense[name] = "empty" if not value.numel() else "holds whole numbers"
        else:
            tensors[name] = value.detach().cpu().float().numpy()
            largest = np.abs(tensors[name]).max()
            if not (largest == 0 or SMALLEST <= largest <= LARGEST):
                raise ValueError(
                    f"{name} holds NaN, infinity or nothing from {SMALLEST} to {LARGEST}: mend it before compressing it"
                )
    if isinstance(network, torch.jit.ScriptModule):
        raise ValueError("the network is scripted or traced: give the module that it was made of")
    if not tensors:
        raise ValueError(
            "the network has no weights to share: give one with convolutions or linear layers, or include="
        )
    return Selection(tensors, dense)


def weight_tensors(network: nn.Module) -> dict[str, np.ndarray]:
    """Return the weights of the layers that `select` chooses by itself, by parameter name, as float32.

    Raises ValueError as `select` does.
    """
    return select(network).tensors
