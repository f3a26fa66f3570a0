"""torch layers that compute with codes: for inference on the CPU, in float32."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from ._layer import EightBitLookup, Lookup, positions


class LookupLayer(nn.Module):
    """A linear layer or a 2-d convolution whose weights stay codes.

    Up to `most` rows, or positions of a convolution over all images, a call uses the lookup kernels. Beyond, where
    decoding is a small part of the work, it decodes the weights once, 256 outputs at a time, for torch's own product.
    Grouped convolutions are always decoded.
    """

    def __init__(self, layer: nn.Linear | nn.Conv2d, lookup: Lookup, *, most: int | None = None) -> None:
        super().__init__()
        self.lookup, self.bias, self.window, self.groups = lookup, _float_bias(layer), None, 1
        if isinstance(layer, nn.Conv2d):
            self.window, self.groups = (layer.kernel_size, layer.stride, layer.dilation), layer.groups
            self.padding = layer._reversed_padding_repeated_twice
            self.mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        self.most = most if most is not None else MOST_ROWS if self.window is None else MOST_POSITIONS

    @property
    def weight(self) -> Tensor:
        """The whole weight tensor, decoded each time that it is asked for."""
        whole = torch.zeros(self.lookup.shape)
        for outputs, weights in self.lookup.panels():
            whole[torch.from_numpy(outputs).long()] = torch.from_numpy(weights)
        return self._shaped(whole)

    def _shaped(self, weights: Tensor) -> Tensor:
        """Weights (o, n) as those of the layer."""
        return weights.reshape(len(weights), -1, *self.window[0]) if self.window else weights

    def extra_repr(self) -> str:
        m, n = self.lookup.shape
        forms = ", ".join(f"{type(band).__name__.lower()} of {band.count}" for band in self.lookup.bands)
        unit = "positions" if self.window else "rows"
        return f"{m} outputs, {n} inputs, {forms}, {self.lookup.nbytes} bytes, lookup up to {self.most} {unit}"

    def forward(self, x: Tensor) -> Tensor:
        inputs = on_the_cpu(x)
        return (self._multiplied(inputs) if self.window is None else self._convolved(inputs)).to(x.dtype)

    def _options(self) -> dict:
        bias = None if self.bias is None else self.bias.detach().numpy()
        return {"bias": bias, "threads": torch.get_num_threads()}

    def _multiplied(self, x: Tensor) -> Tensor:
        rows = x if x.ndim == 2 else x.reshape(-1, self.lookup.shape[1])
        if len(rows) <= self.most:
            y = torch.from_numpy(self.lookup.multiply(rows.numpy(), **self._options()))
        else:
            y = self._by_library(rows.new_zeros(len(rows), self.lookup.shape[0]), lambda w: functional.linear(rows, w))
        return y if x.ndim == 2 else y.reshape(*x.shape[:-1], -1)

    def _convolved(self, x: Tensor) -> Tensor:
        images = x if x.ndim == 4 else x[None]
        if any(self.padding):
            images = functional.pad(images, self.padding, self.mode)
        _, stride, dilation = self.window
        options = {"stride": stride, "dilation": dilation, "groups": self.groups}
        geometry, size = positions(tuple(images.shape), self.lookup.shape[0], self.window)
        if self.groups > 1:
            bias = None if self.bias is None else self.bias.detach()
            y = functional.conv2d(images, self.weight, bias, **options)
        elif len(geometry.bases) <= self.most:
            y = torch.from_numpy(self.lookup.convolve(images.numpy(), self.window, **self._options()))
        else:
            y = images.new_zeros(len(images), self.lookup.shape[0], *size)
            y = self._by_library(y, lambda w: functional.conv2d(images, w, **options))
        return y if x.ndim == 4 else y[0]

    @torch.no_grad()
    def _by_library(self, y: Tensor, multiply: Callable[[Tensor], Tensor]) -> Tensor:
        """Fill y (b, m, ...) with products by weights that are decoded piece by piece."""
        for outputs, weights in self.lookup.panels():
            y[:, torch.from_numpy(outputs).long()] = multiply(self._shaped(torch.from_numpy(weights)))
        return y if self.bias is None else y.add_(self.bias.reshape(-1, *[1] * (y.ndim - 2)))


class EightBitLinear(nn.Module):
    """A linear layer whose weights stay codes and whose inputs are rounded to 8 bits, with a scale for each row."""

    def __init__(self, layer: nn.Linear, lookup: EightBitLookup) -> None:
        super().__init__()
        self.lookup, self.bias = lookup, _float_bias(layer)

    def extra_repr(self) -> str:
        m, n = self.lookup.shape
        return f"{m} outputs, {n} inputs, 8-bit activations, {self.lookup.nbytes} bytes"

    def forward(self, x: Tensor) -> Tensor:
        rows = on_the_cpu(x).reshape(-1, self.lookup.shape[1])
        y = torch.from_numpy(self.lookup.multiply(rows.numpy(), threads=torch.get_num_threads()))
        y = y if self.bias is None else y.add_(self.bias.detach())
        return y.reshape(*x.shape[:-1], -1).to(x.dtype)


def _float_bias(layer: nn.Linear | nn.Conv2d) -> nn.Parameter | None:
    """The bias, in float32 for a layer of another type; the inputs' type comes back in the outputs."""
    if layer.bias is None or layer.bias.dtype == torch.float32:
        return layer.bias
    return nn.Parameter(layer.bias.detach().float(), requires_grad=False)


def on_the_cpu(x: Tensor) -> Tensor:
    """Return inputs as the kernels take them; ValueError for those of another device."""
    if x.device.type != "cpu":
        raise ValueError(f"lookup kernels run on the CPU, not on {x.device}: use to_module(kernel='dense')")
    return x.detach().float()


# Rows of a linear layer and positions of a convolution in a call: where bench/kernels.py saw both take the same time.
MOST_ROWS, MOST_POSITIONS = 256, 1024
