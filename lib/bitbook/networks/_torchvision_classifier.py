"""Any classifier of torchvision by name, normalising inside like our own networks."""

from collections.abc import Sequence

from torch import Tensor, nn

from ._normalise import Normalise


def torchvision_classifier(
    *, name: str, mean: Sequence[float], std: Sequence[float], classes: int = 1000, small_images: bool = False
) -> nn.Module:
    """torchvision's classifier of that name with its own state-dict names, for images (N, 3, 224, 224).

    With `small_images` a ResNet's first convolution is 3 x 3 without stride and its pooling is left out, as is usual
    for images (N, 3, 32, 32). Raises ValueError for an unknown name, and where there is no such beginning to change.
    """
    from torchvision import models

    if name not in models.list_models(module=models):
        raise ValueError(f"torchvision has no classifier {name!r}; torchvision.models.list_models() names them")
    network = models.get_model(name, weights=None, num_classes=classes)
    if small_images:
        if not isinstance(network, models.ResNet):
            raise ValueError(f"torchvision_classifier: small_images is for ResNets, not {name}")
        network.conv1 = nn.Conv2d(3, network.conv1.out_channels, 3, padding=1, bias=False)
        network.maxpool = nn.Identity()

    class Normalised(type(network)):  # type: ignore[misc]  # known when it runs
        """The same network behind a normalisation: a subclass, so that its state-dict names stay."""

        def forward(self, images: Tensor) -> Tensor:
            return super().forward(self.normalise(images))

    network.normalise = Normalise(mean, std)
    network.__class__ = Normalised
    return network
