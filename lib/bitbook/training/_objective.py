"""What a training minimises: cross-entropy, the distance from another network, the loss under attack."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bitbook.networks import unwrapped

from ._evaluation import evaluating, inputs

Objective = Callable[[nn.Module, Tensor, Tensor], Tensor]  # network, float images (N, C, H, W), labels (N,) -> loss ()


def cross_entropy(label_smoothing: float = 0.0) -> Objective:
    """The ordinary objective: mean cross-entropy between outputs and labels, in nats."""
    return lambda network, images, labels: F.cross_entropy(network(images), labels, label_smoothing=label_smoothing)


def distillation(teacher: nn.Module, *, temperature: float = 2.0, share: float = 0.8) -> Objective:
    """An objective for `fit`: share x T^2 x KL(teacher || network) at temperature T + (1 - share) x cross-entropy.

    The factor T^2 keeps the gradients' size when T changes (Hinton et al., arXiv 1503.02531, section 2). The teacher
    runs in evaluation mode and is not trained.
    """

    def objective(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        with evaluating(teacher), torch.no_grad():
            target = F.log_softmax(teacher(images) / temperature, 1)
        outputs = network(images)
        tempered = F.log_softmax(outputs / temperature, 1)
        divergence = F.kl_div(tempered, target, reduction="batchmean", log_target=True)
        return share * temperature**2 * divergence + (1 - share) * F.cross_entropy(outputs, labels)

    return objective


def pgd(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    step: float,
    steps: int,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Images within `epsilon` (largest change of a pixel, on the scale 0 to 1) that raise the network's loss most.

    `steps` times: go `step` along the sign of the gradient of the cross-entropy, return into the box around the image
    and into [0, 1] (Madry et al., arXiv 1706.06083, section 2.1). With `generator` the start is random in the box, else
    the image. images uint8 or float (N, C, H, W); returns floats on the network's device. The network runs in
    evaluation mode.
    """
    clean = inputs(network, images)
    labels = labels.to(clean.device)
    low, high = (clean - epsilon).clamp(min=0), (clean + epsilon).clamp(max=1)
    adversarial = clean
    if generator is not None:
        noise = torch.rand(clean.shape, generator=generator, dtype=clean.dtype).to(clean.device)
        adversarial = (clean + epsilon * (2 * noise - 1)).clamp(0, 1)
    with evaluating(network), torch.enable_grad():
        for _ in range(steps):
            adversarial = adversarial.detach().requires_grad_()
            loss = F.cross_entropy(network(adversarial), labels, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, adversarial)
            adversarial = torch.clamp(adversarial + step * gradient.sign(), low, high)
    return adversarial.detach()


def adversarial_training(*, epsilon: float, step: float, steps: int, objective: Objective | None = None) -> Objective:
    """An objective for `fit`: `objective`, else the cross-entropy, on images that `pgd` attacked from a random start.

    The attack itself always raises the cross-entropy.
    """
    base = objective or cross_entropy()

    def attacked(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        start = torch.Generator().manual_seed(int(torch.randint(2**62, ())))  # from the generator that `fit` seeded
        worst = pgd(unwrapped(network), images, labels, epsilon=epsilon, step=step, steps=steps, generator=start)
        return base(network, worst, labels)

    return attacked
