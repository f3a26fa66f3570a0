"""The residual nine-layer network of cifar10-fast (David Page, "How to train your ResNet", 2018)."""

from collections.abc import Sequence

from torch import Tensor, nn

from ._normalise import Normalise


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
    """ResNet-9 for images (N, 3, 32, 32): 6,568,640 weights, of which the linear layer, without bias, has 5,120."""

    def __init__(self, *, mean: Sequence[float], std: Sequence[float], classes: int = 10) -> None:
        super().__init__()
        self.normalise = Normalise(mean, std)
        self.prep = ConvNorm(3, 64)
        self.layer1 = nn.Sequential(ConvNorm(64, 128, pool=True), Residual(128))
        self.layer2 = ConvNorm(128, 256, pool=True)
        self.layer3 = nn.Sequential(ConvNorm(256, 512, pool=True), Residual(512))
        self.pool = nn.MaxPool2d(4)
        self.linear = nn.Linear(512, classes, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        x = self.layer3(self.layer2(self.layer1(self.prep(self.normalise(images)))))  # (N, 512, 4, 4)
        return 0.125 * self.linear(self.pool(x).flatten(1))


resnet9 = ResNet9
