"""A small convolutional network for the bundled 8 x 8 digits."""

from torch import Tensor, nn
from torch.nn import functional as F

from ._normalise import Normalise


class DigitsCNN(nn.Module):
    """Three 3 x 3 convolutions with batch norm and one linear layer for images (N, 1, 8, 8): 14,288 weights.

    The last feature map is averaged to one value per channel: the linear layer stays small next to the convolutions.
    """

    def __init__(self, *, classes: int = 10) -> None:
        super().__init__()
        self.normalise = Normalise([0.306], [0.377])
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(32)
        self.conv3 = nn.Conv2d(32, 32, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(32)
        self.fc = nn.Linear(32, classes)

    def forward(self, images: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(self.normalise(images))))  # (N, 16, 8, 8)
        x = F.max_pool2d(F.relu(self.bn2(self.conv2(x))), 2)  # (N, 32, 4, 4)
        x = F.relu(self.bn3(self.conv3(x)))  # (N, 32, 4, 4)
        return self.fc(x.mean((2, 3)))


digits_cnn = DigitsCNN
