"""The residual networks of He et al. for 32 x 32 images: depth 6n + 2, three stages of 16, 32 and 64 channels."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from ._normalise import Normalise


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
    """ResNet-`depth` of He et al. 2016 (section 4.2) for images (N, 3, 32, 32).

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
        self.layer1 = self._stage(16, 16, blocks, 1, shortcut)
        self.layer2 = self._stage(16, 32, blocks, 2, shortcut)
        self.layer3 = self._stage(32, 64, blocks, 2, shortcut)
        self.classifier_name = "linear" if shortcut == "A" else "fc"
        self.add_module(self.classifier_name, nn.Linear(64, classes))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @staticmethod
    def _stage(channels_in: int, channels: int, blocks: int, stride: int, shortcut: str) -> nn.Sequential:
        first = BasicBlock(channels_in, channels, stride, shortcut)
        return nn.Sequential(first, *(BasicBlock(channels, channels, 1, shortcut) for _ in range(blocks - 1)))

    def forward(self, images: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(self.normalise(images))))
        x = self.layer3(self.layer2(self.layer1(x)))  # (N, 64, 8, 8)
        return self.get_submodule(self.classifier_name)(x.mean((2, 3)))


cifar_resnet = CifarResNet
