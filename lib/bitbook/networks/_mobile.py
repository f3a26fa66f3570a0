"""Two small networks for ImageNet that are mostly pointwise convolutions: MobileNet-v1 and EfficientNet-Lite0."""

from torch import Tensor, nn
from torch.nn import functional as F

from ._normalise import Normalise

EPSILON = 1e-3  # of the batch norms, as in TensorFlow
WIDTHS = (64, 128, 128, 256, 256, *[512] * 6, 1024, 1024)  # of MobileNet-v1's blocks
HALVED = (1, 3, 5, 11)  # its blocks of stride 2
# EfficientNet-Lite0: repeats, kernel, stride, expansion, channels
STAGES = (
    *((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80)),
    *((3, 5, 1, 6, 112), (4, 5, 2, 6, 192), (1, 3, 1, 6, 320)),
)


class Same(nn.Conv2d):
    """A convolution without bias on maps of even size, padded as in TensorFlow: one pixel less at the top and left."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride=stride, groups=groups, bias=False)
        before, after = (kernel - stride) // 2, kernel - stride - (kernel - stride) // 2
        self.uneven = None if before == after else (before, after, before, after)
        if before == after:
            self.padding = (before, before)


def _padded(conv: Same, x: Tensor) -> Tensor:
    return conv(F.pad(x, conv.uneven) if conv.uneven else x)


class _Separable(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.dw, self.dw_bn = Same(inputs, inputs, 3, stride=stride, groups=inputs), nn.BatchNorm2d(inputs, EPSILON)
        self.pw, self.pw_bn = Same(inputs, outputs, 1), nn.BatchNorm2d(outputs, EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu6(self.dw_bn(_padded(self.dw, x)))
        return F.relu6(self.pw_bn(self.pw(x)))


class MobileNetV1(nn.Module):
    """MobileNet-v1 (arXiv 1704.04861) for images (N, 3, 224, 224), its channels times `width`."""

    def __init__(self, *, width: float = 1.0, classes: int = 1000) -> None:
        super().__init__()
        first, *widths = (int(width * channels) for channels in (32, *WIDTHS))
        self.normalise = Normalise([0.5] * 3, [0.5] * 3)
        self.conv1, self.bn1 = Same(3, first, 3, stride=2), nn.BatchNorm2d(first, EPSILON)
        pairs = zip([first, *widths], widths, strict=False)
        self.blocks = nn.Sequential(*(_Separable(a, b, 1 + (i in HALVED)) for i, (a, b) in enumerate(pairs)))
        self.fc = nn.Linear(widths[-1], classes)

    def forward(self, images: Tensor) -> Tensor:
        x = self.blocks(F.relu6(self.bn1(_padded(self.conv1, self.normalise(images)))))  # (N, C, 7, 7)
        return self.fc(x.mean((2, 3)))


class _Inverted(nn.Module):
    """Expansion, depthwise convolution, projection, and the input added where shapes agree."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        self.expands, self.adds, inner = expansion > 1, stride == 1 and inputs == outputs, inputs * expansion
        if self.expands:
            self.expand_conv, self.bn0 = Same(inputs, inner, 1), nn.BatchNorm2d(inner, EPSILON)
        self.depthwise_conv = Same(inner, inner, kernel, stride=stride, groups=inner)
        self.bn1 = nn.BatchNorm2d(inner, EPSILON)
        self.project_conv, self.bn2 = Same(inner, outputs, 1), nn.BatchNorm2d(outputs, EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self.bn0(self.expand_conv(x))) if self.expands else x
        y = F.relu6(self.bn1(_padded(self.depthwise_conv, y)))
        y = self.bn2(self.project_conv(y))
        return x + y if self.adds else y


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 for images (N, 3, 224, 224); names of weights as in efficientnet-lite-pytorch."""

    def __init__(self, *, classes: int = 1000) -> None:
        super().__init__()
        self.normalise = Normalise([127 / 255] * 3, [128 / 255] * 3)
        self.conv_stem, self.bn0 = Same(3, 32, 3, stride=2), nn.BatchNorm2d(32, EPSILON)
        blocks, width = [], 32
        for repeats, kernel, stride, expansion, channels in STAGES:
            for i in range(repeats):
                blocks.append(_Inverted(width, channels, kernel, 1 if i else stride, expansion))
                width = channels
        self.blocks = nn.Sequential(*blocks)
        self.conv_head, self.bn1 = Same(width, 1280, 1), nn.BatchNorm2d(1280, EPSILON)
        self.fc = nn.Linear(1280, classes)

    def forward(self, images: Tensor) -> Tensor:
        x = F.relu6(self.bn0(_padded(self.conv_stem, self.normalise(images))))
        x = F.relu6(self.bn1(self.conv_head(self.blocks(x))))  # (N, 1280, 7, 7)
        return self.fc(x.mean((2, 3)))
