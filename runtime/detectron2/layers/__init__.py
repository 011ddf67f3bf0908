"""Building blocks of networks: convolutions, normalisations, ROI operators, losses."""

from detectron2.layers import (
    aspp,
    batch_norm,
    blocks,
    deform_conv,
    losses,
    mask_ops,
    shape_spec,
    wrappers,
)
from detectron2.layers.aspp import ASPP
from detectron2.layers.batch_norm import FrozenBatchNorm2d, NaiveSyncBatchNorm, get_norm
from detectron2.layers.blocks import CNNBlockBase, DepthwiseSeparableConv2d
from detectron2.layers.deform_conv import DeformConv, ModulatedDeformConv
from detectron2.layers.losses import ciou_loss, diou_loss
from detectron2.layers.mask_ops import paste_masks_in_image

# The names `nms` and `roi_align` of this package are the functions; their modules are reached by
# `from detectron2.layers.nms import ...`.
from detectron2.layers.nms import batched_nms, nms
from detectron2.layers.roi_align import ROIAlign, roi_align
from detectron2.layers.shape_spec import ShapeSpec
from detectron2.layers.wrappers import (
    BatchNorm2d,
    Conv2d,
    ConvTranspose2d,
    Linear,
    cat,
    cross_entropy,
    empty_input_loss_func_wrapper,
    interpolate,
    move_device_like,
    nonzero_tuple,
    shapes_to_tensor,
)

__all__ = [
    "ASPP",
    "BatchNorm2d",
    "CNNBlockBase",
    "Conv2d",
    "ConvTranspose2d",
    "DeformConv",
    "DepthwiseSeparableConv2d",
    "FrozenBatchNorm2d",
    "Linear",
    "ModulatedDeformConv",
    "NaiveSyncBatchNorm",
    "ROIAlign",
    "ShapeSpec",
    "aspp",
    "batch_norm",
    "batched_nms",
    "blocks",
    "cat",
    "ciou_loss",
    "cross_entropy",
    "deform_conv",
    "diou_loss",
    "empty_input_loss_func_wrapper",
    "get_norm",
    "interpolate",
    "losses",
    "mask_ops",
    "move_device_like",
    "nms",
    "nonzero_tuple",
    "paste_masks_in_image",
    "roi_align",
    "shape_spec",
    "shapes_to_tensor",
    "wrappers",
]
