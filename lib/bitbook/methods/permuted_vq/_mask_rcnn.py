"""Mask R-CNN with a ResNet-50 backbone: which layers share channels, by a table, since torch.fx cannot trace it."""

from collections.abc import Iterator

import numpy as np
from torch import fx, nn

from bitbook.methods.permuted_vq._blocks import Blocks
from bitbook.networks.channel_graph import ChannelGraph, Site

DEPTHS = (3, 4, 6, 3)  # blocks in the backbone's stages
LEVELS = range(4)  # of the feature pyramid
MASK_RCNN = Blocks(
    own={"roi_heads.box_head.fc6.weight": (256, 16), "backbone.body.layer1.0.conv1.weight": (128, 4)},
    dense=("rpn.head.cls_logits.*", "rpn.head.bbox_pred.*", "roi_heads.mask_predictor.mask_fcn_logits.*"),
)


def mask_rcnn_graph(network: nn.Module) -> ChannelGraph:
    """Return the channel graph of torchvision's `maskrcnn_resnet50_fpn`, for `permute` and `channel_graph.groups`."""
    modules, count = dict(network.named_modules()), 0
    outputs: dict[str, np.ndarray] = {}
    inputs: dict[str, np.ndarray] = {}
    for parents, children in _streams():
        ids = np.arange(count, count := count + len(modules[parents[0]].weight))
        outputs |= dict.fromkeys(parents, ids)
        inputs |= {name: ids.repeat(modules[name].weight.shape[1] // len(ids)) for name in children}
    moving, sites = count, []
    for name in outputs | inputs:
        module = modules[name]
        if name not in outputs:  # predictors, whose outputs stay
            outputs[name] = np.arange(count, count := count + len(module.weight))
        tensors = dict(module.named_parameters(recurse=False)) | dict(module.named_buffers(recurse=False))
        along = [entry for entry, value in tensors.items() if value.ndim]
        if isinstance(module, nn.ConvTranspose2d):  # its inputs lie along axis 0
            along = ["weight"]
        sites.append(Site(name, 0, tuple(f"{name}.{entry}" for entry in along), outputs[name]))
        if name in inputs:
            sites.append(Site(name, 1, (f"{name}.weight",), inputs[name]))
    return ChannelGraph(fx.Graph(), (), tuple(sites), np.arange(moving, count), count)


def _streams() -> Iterator[tuple[list[str], list[str]]]:
    """Layers and batch norms that make the same channels, and the layers that read these."""
    body, fpn = "backbone.body", "backbone.fpn"
    yield [f"{body}.conv1", f"{body}.bn1"], [f"{body}.layer1.0.conv1", f"{body}.layer1.0.downsample.0"]
    for stage, depth in enumerate(DEPTHS, 1):
        blocks = [f"{body}.layer{stage}.{block}" for block in range(depth)]
        for block in blocks:
            yield [f"{block}.conv1", f"{block}.bn1"], [f"{block}.conv2"]
            yield [f"{block}.conv2", f"{block}.bn2"], [f"{block}.conv3"]
        makes = [f"{blocks[0]}.downsample.{part}" for part in (0, 1)]
        makes += [f"{block}.{part}" for block in blocks for part in ("conv3", "bn3")]
        reads = [f"{block}.conv1" for block in blocks[1:]] + [f"{fpn}.inner_blocks.{stage - 1}.0"]
        if stage < len(DEPTHS):
            reads += [f"{body}.layer{stage + 1}.0.{part}" for part in ("conv1", "downsample.0")]
        yield makes, reads
    outputs = [f"{fpn}.layer_blocks.{level}.0" for level in LEVELS]
    yield [f"{fpn}.inner_blocks.{level}.0" for level in LEVELS], outputs
    box, mask = "roi_heads.box_head", "roi_heads.mask_head"
    yield outputs, ["rpn.head.conv.0.0", f"{box}.fc6", f"{mask}.0.0"]
    yield ["rpn.head.conv.0.0"], ["rpn.head.cls_logits", "rpn.head.bbox_pred"]
    yield [f"{box}.fc6"], [f"{box}.fc7"]
    yield [f"{box}.fc7"], ["roi_heads.box_predictor.cls_score", "roi_heads.box_predictor.bbox_pred"]
    for layer in range(3):
        yield [f"{mask}.{layer}.0"], [f"{mask}.{layer + 1}.0"]
    yield [f"{mask}.3.0", "roi_heads.mask_predictor.conv5_mask"], []
