"""Residual networks for 32 x 32 images: those of He et al., wide ones, and the nine-layer one of cifar10-fast."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from ._normalise import Normalise


def _stage(
    block: type[nn.Module], blocks: int, channels_in: int, channels: int, stride: int, *more: Any
) -> nn.Sequential:
    """Blocks of which the first changes width and resolution."""
    first = block(channels_in, channels, stride, *more)
    return nn.Sequential(first, *(block(channels, channels, 1, *more) for _ in range(blocks - 1)))


def _initialise(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


class SubsampleAndPad(nn.Module):
    """Option A: every second pixel, new channels filled with zeros, half of them before and half after the old ones."""

    def __init__(self, new_channels: int) -> None:
        super().__init__()
        self.before = new_channels // 2
        self.after = new_channels - self.before

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.before, self.after))


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions with batch norm, added to the shortcut."""

    def __init__(self, channels_in: int, channels: int, stride: int, shortcut: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        if stride == 1:
            self.downsample = nn.Identity()
        elif shortcut == "A":
            self.downsample = SubsampleAndPad(channels - channels_in)
        else:
            projection = nn.Conv2d(channels_in, channels, 1, stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class CifarResNet(nn.Module):
    """ResNet-`depth` of He et al. 2016 (section 4.2) for images (N, 3, 32, 32): stages of 16, 32 and 64 channels.

    `shortcut` "A" subsamples and pads with zeros (no weights; the paper's choice on CIFAR-10), "B" projects by a 1 x 1
    convolution. The classifier is called `linear` with A and `fc` with B, as in the published weights of either kind.
    Raises ValueError for another depth or shortcut.
    """

    def __init__(
        self, *, depth: int, mean: Sequence[float], std: Sequence[float], shortcut: str = "A", classes: int = 10
    ) -> None:
        super().__init__()
        blocks, rest = divmod(depth - 2, 6)
        if rest or blocks < 1 or shortcut not in ("A", "B"):
            raise ValueError(f"cifar_resnet: depth {depth} must be 6n + 2 and shortcut {shortcut!r} 'A' or 'B'")
        self.normalise = Normalise(mean, std)
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(BasicBlock, blocks, 16, 16, 1, shortcut)
        self.layer2 = _stage(BasicBlock, blocks, 16, 32, 2, shortcut)
        self.layer3 = _stage(BasicBlock, blocks, 32, 64, 2, shortcut)
        self.classifier_name = "linear" if shortcut == "A" else "fc"
        self.add_module(self.classifier_name, nn.Linear(64, classes))
        _initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(self.normalise(images))))
        x = self.layer3(self.layer2(self.layer1(x)))  # (N, 64, 8, 8)
        return self.get_submodule(self.classifier_name)(x.mean((2, 3)))


class PreActivationBlock(nn.Module):
    """Batch norm and ReLU before each of two 3 x 3 convolutions; a change of width projects the activated input."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.projects = channels_in != channels
        if self.projects:
            self.shortcut = nn.Conv2d(channels_in, channels, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        activated = F.relu(self.bn1(x))
        y = self.conv2(F.relu(self.bn2(self.conv1(activated))))
        return y + (self.shortcut(activated) if self.projects else x)


class WideResNet(nn.Module):
    """WRN-`depth`-`width` of Zagoruyko and Komodakis 2016 (table 1) for images (N, 3, 32, 32).

    Its stages have 16, 32 and 64 times `width` channels. Raises ValueError for another depth.
    """

    def __init__(
        self, *, depth: int, width: int, mean: Sequence[float], std: Sequence[float], classes: int = 10
    ) -> None:
        super().__init__()
        blocks, rest = divmod(depth - 4, 6)
        if rest or blocks < 1:
            raise ValueError(f"wide_resnet: depth {depth} must be 6n + 4")
        self.normalise = Normalise(mean, std)
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.layer1 = _stage(PreActivationBlock, blocks, 16, 16 * width, 1)
        self.layer2 = _stage(PreActivationBlock, blocks, 16 * width, 32 * width, 2)
        self.layer3 = _stage(PreActivationBlock, blocks, 32 * width, 64 * width, 2)
        self.bn1 = nn.BatchNorm2d(64 * width)
        self.fc = nn.Linear(64 * width, classes)
        _initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        x = self.layer3(self.layer2(self.layer1(self.conv1(self.normalise(images)))))  # (N, 64k, 8, 8)
        return self.fc(F.relu(self.bn1(x)).mean((2, 3)))


class ConvNorm(nn.Module):
    """A 3 x 3 convolution, batch norm, ReLU and, where asked for, 2 x 2 max pooling."""

    def __init__(self, channels_in: int, channels: int, *, pool: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.pool = nn.MaxPool2d(2) if pool else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.relu(self.bn(self.conv(x))))


class Residual(nn.Module):
    """x plus two ConvNorms of it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.res1 = ConvNorm(channels, channels)
        self.res2 = ConvNorm(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.res2(self.res1(x))


class ResNet9(nn.Module):
    """ResNet-9 (cifar10-fast, David Page, 2018) for images (N, 3, 32, 32): 6,568,640 weights, 5,120 linear.

    `width`: channels of the first layer; 64 in the original, and each layer in proportion.
    """

    def __init__(self, *, mean: Sequence[float], std: Sequence[float], classes: int = 10, width: int = 64) -> None:
        super().__init__()
        self.normalise = Normalise(mean, std)
        self.prep = ConvNorm(3, width)
        self.layer1 = nn.Sequential(ConvNorm(width, 2 * width, pool=True), Residual(2 * width))
        self.layer2 = ConvNorm(2 * width, 4 * width, pool=True)
        self.layer3 = nn.Sequential(ConvNorm(4 * width, 8 * width, pool=True), Residual(8 * width))
        self.pool = nn.MaxPool2d(4)
        self.linear = nn.Linear(8 * width, classes, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        x = self.layer3(self.layer2(self.layer1(self.prep(self.normalise(images)))))  # (N, 8 * width, 4, 4)
        return 0.125 * self.linear(self.pool(x).flatten(1))
