"""torch layers that compute with codes: for inference on the CPU, in float32."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ._layer import Lookup


class LookupLayer(nn.Module):
    """A linear layer or a 2-d convolution whose weights stay codes.

    Up to `most` rows, or positions of a convolution over all images, a call uses the lookup kernels. Beyond, where
    decoding is a small part of the work, it decodes the weights once, 256 outputs at a time, for torch's own product.
    Grouped convolutions are always decoded.
    """

    def __init__(self, layer: nn.Linear | nn.Conv2d, lookup: Lookup, *, most: int | None = None) -> None:
        super().__init__()
        self.lookup, self.bias = lookup, layer.bias
        self.conv = (
            {}
            if isinstance(layer, nn.Linear)
            else {"stride": layer.stride, "dilation": layer.dilation, "groups": layer.groups}
        )
        self.size = getattr(layer, "kernel_size", ())
        if self.conv:
            zeros = layer.padding_mode == "zeros"
            self.padding = layer._reversed_padding_repeated_twice, "constant" if zeros else layer.padding_mode
        self.most = MOST[bool(self.conv)] if most is None else most

    @property
    def weight(self) -> Tensor:
        """The whole weight tensor, decoded each time that it is asked for."""
        whole = torch.zeros(self.lookup.shape)
        for outputs, weights in self.lookup.panels():
            whole[torch.from_numpy(outputs).long()] = torch.from_numpy(weights)
        return self._shaped(whole)

    def _shaped(self, weights: Tensor) -> Tensor:
        """Weights (o, n) as those of the layer."""
        return weights.reshape(len(weights), -1, *self.size) if self.conv else weights

    def extra_repr(self) -> str:
        m, n = self.lookup.shape
        forms = ", ".join(f"{type(band).__name__.lower()} of {band.count}" for band in self.lookup.bands)
        return f"{m} outputs, {n} inputs, {forms}, {self.lookup.nbytes} bytes, lookup up to {self.most} products"

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu":
            raise ValueError(f"lookup kernels run on the CPU, not on {x.device}: use to_module(kernel='dense')")
        return self._convolved(x.float()) if self.conv else self._multiplied(x.float())

    def _multiplied(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, self.lookup.shape[1])
        if len(rows) <= self.most:
            y = torch.from_numpy(self.lookup.multiply(rows.numpy(), threads=torch.get_num_threads()))
        else:
            y = rows.new_zeros(len(rows), self.lookup.shape[0])
            for outputs, weights in self.lookup.panels():
                y[:, torch.from_numpy(outputs).long()] = functional.linear(rows, torch.from_numpy(weights))
        y = y if self.bias is None else y.add_(self.bias)
        return y.reshape(*x.shape[:-1], -1)

    def _convolved(self, x: Tensor) -> Tensor:
        lengths, mode = self.padding
        images = (
            functional.pad(x if x.ndim == 4 else x[None], lengths, mode)
            if any(lengths)
            else x.reshape(-1, *x.shape[-3:])
        )
        spans = zip(images.shape[2:], self.size, self.conv["stride"], self.conv["dilation"], strict=True)
        h, w = ((length - d * (k - 1) - 1) // s + 1 for length, k, s, d in spans)
        if self.conv["groups"] > 1:
            y = functional.conv2d(images, self.weight, **self.conv)
        elif len(images) * h * w <= self.most:
            options = (self.size, self.conv["stride"], self.conv["dilation"])
            y = torch.from_numpy(self.lookup.convolve(images.numpy(), *options, threads=torch.get_num_threads()))
        else:
            y = images.new_zeros(len(images), self.lookup.shape[0], h, w)
            for outputs, weights in self.lookup.panels():
                part = functional.conv2d(images, self._shaped(torch.from_numpy(weights)), **self.conv)
                y[:, torch.from_numpy(outputs).long()] = part
        y = y if self.bias is None else y.add_(self.bias[:, None, None])
        return y if x.ndim == 4 else y[0]


MOST = {False: 96, True: 4096}  # rows of a linear layer, positions of a convolution: measured by bench/kernels.py
