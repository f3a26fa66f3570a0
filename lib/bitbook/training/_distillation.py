"""Learning from the outputs of another network."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ._evaluation import evaluating
from ._objective import Objective


def distillation(teacher: nn.Module, *, temperature: float = 2.0, share: float = 0.8) -> Objective:
    """An objective for `fit`: share x T^2 x KL(teacher || network) at temperature T + (1 - share) x cross-entropy.

    The factor T^2 keeps the gradients' size when T changes (Hinton et al., arXiv 1503.02531, section 2). The teacher
    runs in evaluation mode and is not trained.
    """

    def objective(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        with evaluating(teacher), torch.no_grad():
            target = F.log_softmax(teacher(images) / temperature, 1)
        outputs = network(images)
        softened = F.log_softmax(outputs / temperature, 1)
        divergence = F.kl_div(softened, target, reduction="batchmean", log_target=True)
        return share * temperature**2 * divergence + (1 - share) * F.cross_entropy(outputs, labels)

    return objective
