"""What tasks, methods, variants and metrics are called on pages; tables and files keep the short names."""

import re

NETWORKS = {  # in the order of the pages
    "cifar10": "ResNet-20 on CIFAR-10",
    "cifar10-resnet56": "ResNet-56 on CIFAR-10",
    "cifar10-resnet9": "ResNet-9 on CIFAR-10",
    "cifar10-resnet9-quarter": "ResNet-9 of a quarter of the width on CIFAR-10",
    "cifar10-resnet18": "ResNet-18 on CIFAR-10",
    "cifar10-wrn16-4": "Wide ResNet-16-4 on CIFAR-10",
    "cifar100": "ResNet-20 on CIFAR-100",
    "cifar100-resnet56": "ResNet-56 on CIFAR-100",
    "imagenet": "SqueezeNet 1.1 on ImageNet",
    "imagenet-dev1000": "SqueezeNet 1.1 on 1,000 images of ImageNet",
    "imagenet-dev1000-efficientnet-lite0": "EfficientNet-Lite0 on 1,000 images of ImageNet",
    "imagenet-dev1000-mobilenet-v1-075": "MobileNet-v1 0.75 on 1,000 images of ImageNet",
    "mnist": "LeNet-5 on MNIST",
    "mnist-cnn": "the network of a public notebook on MNIST",
    "mnist-relu": "robust LeNet-5 on MNIST",
    "mnist-relu-crop2": "LeNet-5 with ReLUs on MNIST",
    "digits": "a small CNN on digits",
    "digits-mobilenet": "a small MobileNetV2 on digits",
}
METHODS = {
    "baseline": "baseline",
    "compress": "bitbook.compress",
    "moea_bins": "MOEA bins",
    "permuted_vq": "permuted VQ",
    "admm": "ADMM",
    "dpnet": "DP-Net",
    "self_compression": "self-compression",
    "your_network": "without labels",
    "lsq": "LSQ",
}
METRICS = {"top1": "top-1", "top5": "top-5", "macro_f1": "macro F1", "top1_loss": "top-1 loss", "box_ap": "box AP"}
METRICS |= {"mask_ap": "mask AP"}
COUNTS = {"moea": "MOEA bins", "pqf": "permuted VQ", "han2016": "Deep Compression", "admm": "ADMM"}  # who counts so
COUNTS |= {"deep-k-means": "Deep k-Means"}
_VARIANTS = {
    "baseline": "one grid step",
    "compensated": "GPTQ rounding",
    "shared values": "centroids trained",
    "budget": "bit budget",
    "none": "untrained",
    "moea_bins": "MOEA bins",
    "dpnet": "DP-Net",
}
_VARIANT = re.compile("|".join(rf"\b{word}\b" for word in _VARIANTS))


def network(task: str) -> str:
    """Return the network and the data set of a task."""
    return NETWORKS.get(task, task)


def method(name: str) -> str:
    """Return a method's name."""
    return METHODS.get(name, name)


def metric(name: str) -> str:
    """Return the name of a metric or of a column of numbers."""
    return METRICS.get(name, name.replace("_", " "))


def variant(name: str) -> str:
    """Return a variant of the table of results in the field's words."""
    return _VARIANT.sub(lambda found: _VARIANTS[found[0]], name)


def natural(text: str) -> list[str | int]:
    """Return a key that sorts names with numbers in them by the numbers' values."""
    return [int(part) if place % 2 else part for place, part in enumerate(re.split(r"(\d+)", text))]


def capital(text: str) -> str:
    """Return text that begins a line; the package's own name stays as it is."""
    return text if text.startswith("bitbook") else text[:1].upper() + text[1:]
