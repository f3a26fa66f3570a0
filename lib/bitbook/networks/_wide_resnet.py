"""The wide residual networks of Zagoruyko and Komodakis (2016) for 32 x 32 images: depth 6n + 4, width k."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from ._normalise import Normalise


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
    """WRN-`depth`-`width` (paper, table 1) for images (N, 3, 32, 32): stages of 16k, 32k and 64k channels, k the width.

    Raises ValueError for another depth.
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
        self.layer1 = self._stage(16, 16 * width, blocks, 1)
        self.layer2 = self._stage(16 * width, 32 * width, blocks, 2)
        self.layer3 = self._stage(32 * width, 64 * width, blocks, 2)
        self.bn1 = nn.BatchNorm2d(64 * width)
        self.fc = nn.Linear(64 * width, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @staticmethod
    def _stage(channels_in: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
        first = PreActivationBlock(channels_in, channels, stride)
        return nn.Sequential(first, *(PreActivationBlock(channels, channels, 1) for _ in range(blocks - 1)))

    def forward(self, images: Tensor) -> Tensor:
        x = self.layer3(self.layer2(self.layer1(self.conv1(self.normalise(images)))))  # (N, 64k, 8, 8)
        return self.fc(F.relu(self.bn1(x)).mean((2, 3)))


wide_resnet = WideResNet
