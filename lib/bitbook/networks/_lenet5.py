"""LeNet-5 in its Caffe form."""

from torch import Tensor, nn
from torch.nn import functional as F

from ._normalise import Normalise


class LeNet5(nn.Module):
    """Caffe's LeNet-5 for images (N, 1, 28, 28): 430,500 weights and 580 biases.

    As in Caffe's `lenet_train_test.prototxt`, the only ReLU follows fc1; between the convolutions max pooling is the
    only non-linearity. With `relu_after_pooling` the pooled maps pass a ReLU too, as in many later reimplementations.
    """

    def __init__(self, *, relu_after_pooling: bool = False) -> None:
        super().__init__()
        self.normalise = Normalise([0.1307], [0.3081])
        self.conv1 = nn.Conv2d(1, 20, 5)
        self.conv2 = nn.Conv2d(20, 50, 5)
        self.fc1 = nn.Linear(800, 500)
        self.fc2 = nn.Linear(500, 10)
        self.after_pooling = nn.ReLU() if relu_after_pooling else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        x = self.normalise(images)
        x = self.after_pooling(F.max_pool2d(self.conv1(x), 2))  # (N, 20, 12, 12)
        x = self.after_pooling(F.max_pool2d(self.conv2(x), 2))  # (N, 50, 4, 4)
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


lenet5 = LeNet5
