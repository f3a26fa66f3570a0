"""The small MNIST network of a public notebook on self-compression."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ._normalise import Normalise


class MnistCNN(nn.Module):
    """Four convolutions and one linear layer without biases for images (N, 1, 28, 28): 87,456 weights.

    Widths and kernels are those of mnist_self_compression.ipynb (geohot/ai-notebooks), whose batch norms have no affine
    part either. That they stand before the ReLU, so that a file folds them, and keep running statistics, is our choice.
    """

    def __init__(self) -> None:
        super().__init__()
        self.normalise = Normalise([0.1307], [0.3081])
        self.conv1 = nn.Conv2d(1, 32, 5, bias=False)
        self.conv2 = nn.Conv2d(32, 32, 5, bias=False)
        self.bn2 = nn.BatchNorm2d(32, affine=False)
        self.conv3 = nn.Conv2d(32, 64, 3, bias=False)
        self.conv4 = nn.Conv2d(64, 64, 3, bias=False)
        self.bn4 = nn.BatchNorm2d(64, affine=False)
        self.fc = nn.Linear(576, 10, bias=False)
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        x = F.relu(self.conv1(self.normalise(images)))  # (N, 32, 24, 24)
        x = F.max_pool2d(F.relu(self.bn2(self.conv2(x))), 2)  # (N, 32, 10, 10)
        x = F.relu(self.conv3(x))  # (N, 64, 8, 8)
        x = F.max_pool2d(F.relu(self.bn4(self.conv4(x))), 2)  # (N, 64, 3, 3)
        return self.fc(x.flatten(1))


mnist_cnn = MnistCNN
