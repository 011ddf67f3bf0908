"""How often the host waits for a GPU: a small number that does not depend on what is in the image.

The code for GPUs runs on CPU tensors that say to be on one; its results are compared with those of
the code for the CPU. With a GPU, the same is asked of CUDA itself.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from host_waits import counted_waits, on_device, put_on_device, to_host
from tiny_configs import unet_config
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.modeling import build_model
from seg_projects.modeling.instance_heads.device_targets import device_targets
from seg_projects.modeling.losses import LOSSES, parse_losses, weighted_losses
from seg_projects.postprocessing import (
    augmented_scores,
    group_panoptic,
    instances_of,
    merge_instances_and_stuff,
    segments_of_labels,
    sliding_window_scores,
    upsampled_labels,
)

HEIGHT, WIDTH = 48, 64
# For which the host does wait: what the function gives has a size, or is read, on the host.
MERGE, GROUPING, INSTANCES, SEGMENTS, BOUNDARY = 2, 1, 2, 2, 1
Call = Callable[[Callable[[Tensor], Tensor]], Any]


def _merge(instances: int) -> Call:
    masks = torch.rand(instances, HEIGHT, WIDTH) > 0.6
    boxes = torch.tensor([[0.0, 0.0, WIDTH, HEIGHT]]).repeat(instances, 1)
    scores, classes = torch.rand(instances), torch.randint(0, 5, (instances,))
    labels = torch.randint(0, 4, (HEIGHT, WIDTH))
    limits = {"overlap_threshold": 0.7, "stuff_area_limit": 10, "score_threshold": 0.1}
    return lambda put: merge_instances_and_stuff(
        *map(put, (masks, boxes, scores, classes, labels)), **limits
    )


def _grouping(centers: int) -> Call:
    heatmap = torch.zeros(HEIGHT, WIDTH)
    at = torch.randperm(HEIGHT * WIDTH)[:centers]
    heatmap.view(-1)[at] = torch.rand(centers) + 0.2
    offsets, labels = torch.randn(2, HEIGHT, WIDTH), torch.randint(0, 6, (HEIGHT, WIDTH))
    settings = {"label_divisor": 1000, "stuff_area": 5, "void_label": -1, "nms_kernel": 3}
    return lambda put: group_panoptic(
        *map(put, (labels, heatmap, offsets)), thing_ids=[1, 3], top_k=20, **settings
    )


def _panoptic(instances: int) -> Tensor:
    """Labels class * 1000 + number of so many things, of stuff 4 and of void."""
    things = 1000 + torch.arange(1, instances + 1)
    labels = torch.cat([things, torch.tensor([4000, -1])])
    return labels[torch.randint(0, len(labels), (HEIGHT, WIDTH))]


def _instances(instances: int) -> Call:
    panoptic, logits = _panoptic(instances), torch.randn(6, HEIGHT, WIDTH)
    heatmap = torch.rand(HEIGHT, WIDTH)

    def call(put: Callable[[Tensor], Tensor]) -> Any:
        found = instances_of(
            *map(put, (panoptic, logits, heatmap)), thing_ids=[1, 3], label_divisor=1000
        )
        return found.scores, found.pred_classes, found.pred_masks, found.pred_boxes.tensor

    return call


def _segments(instances: int) -> Call:
    panoptic = _panoptic(instances)
    return lambda put: segments_of_labels(put(panoptic), thing_classes=[1, 3], label_divisor=1000)


def _targets(instances: int) -> Call:
    ids = torch.randint(0, instances + 1, (HEIGHT, WIDTH), dtype=torch.int32)
    info = [{"id": i, "category_id": i % 5, "iscrowd": i % 7 == 0} for i in range(1, instances + 1)]
    return lambda put: device_targets(
        put(ids),
        info,
        ignore_label=255,
        thing_ids={1, 2},
        sigma=3.0,
        ignore_stuff_in_offset=True,
        small_instance_area=50,
        small_instance_weight=3,
        ignore_crowd_in_semantic=True,
    )


@pytest.mark.parametrize(
    ("make", "waits"),
    [
        (_merge, MERGE),
        (_grouping, GROUPING),
        (_instances, INSTANCES),
        (_segments, SEGMENTS),
        (_targets, 0),
    ],
)
@pytest.mark.parametrize("number", [1, 3, 30])
def test_waits_do_not_follow_the_number_of_instances(
    make: Callable[[int], Call], waits: int, number: int
) -> None:
    call = make(number)
    expected = call(lambda x: x)
    with counted_waits() as counted:
        got = call(on_device)
    assert counted.total() == waits, counted
    torch.testing.assert_close(to_host(got), expected)


@pytest.mark.parametrize("make", [_merge, _grouping])
def test_empty_images_wait_as_often(make: Callable[[int], Call]) -> None:
    call = make(0)
    with counted_waits() as counted:
        got = call(on_device)
    assert counted.total() == (MERGE if make is _merge else GROUPING)
    torch.testing.assert_close(to_host(got), call(lambda x: x))


WEIGHTED = {"class_weights": [1.0, 2.0, 3.0, 4.0]}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *((name, {}) for name in LOSSES),
        ("cross_entropy", WEIGHTED),
        ("hard_pixel_cross_entropy", WEIGHTED),
    ],
)
def test_losses_do_not_wait(name: str, options: dict[str, Any]) -> None:
    logits, target = torch.randn(2, 4, 8, 8), torch.randint(0, 4, (2, 8, 8))
    target[:, 0] = 255
    losses = parse_losses([[name, 1.0, options]], num_classes=4)
    expected = weighted_losses(losses, logits, target, ignore_value=255)
    with counted_waits() as counted:
        got = weighted_losses(losses, on_device(logits), on_device(target), ignore_value=255)
    # Exact distances are computed on the CPU.
    assert counted.total() == (BOUNDARY if "boundary" in name else 0), counted
    torch.testing.assert_close(to_host(got), expected)


def _windows(put: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
    return sliding_window_scores(
        put(image), torch.square, window=(16, 16), overlap=0.25, batch_size=4
    )


def _looks(put: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
    return augmented_scores(put(image), torch.square, sizes=[(24, 32), (48, 64)], flip=True)


def _labels(put: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
    return upsampled_labels(put(image), (2 * HEIGHT, 2 * WIDTH))


@pytest.mark.parametrize("function", [_windows, _looks, _labels])
def test_windows_looks_and_labels_do_not_wait(function: Callable[..., Tensor]) -> None:
    image = torch.randn(3, HEIGHT, WIDTH)
    with counted_waits() as counted:
        got = function(on_device, image)
    assert counted.total() == 0, counted
    torch.testing.assert_close(to_host(got), function(lambda x: x, image))


def _panoptic_deeplab(**keys: Any) -> CfgNode:
    metadata = MetadataCatalog.get("host_waits_panoptic")
    if not metadata.get("thing_classes"):
        metadata.set(
            thing_classes=["a", "b", "c"],
            stuff_classes=["a", "b", "c"],
            thing_dataset_id_to_contiguous_id={1: 0, 2: 1},
            stuff_dataset_id_to_contiguous_id={3: 2},
            label_divisor=1000,
            ignore_label=255,
        )
    cfg = unet_config(**{"DATASETS.TRAIN": ("host_waits_panoptic",)}, **keys)
    cfg.MODEL.META_ARCHITECTURE = "SegPanopticDeepLab"
    for head, name in (
        (cfg.MODEL.SEM_SEG_HEAD, "PanopticDeepLabSemSegHead"),
        (cfg.MODEL.INS_EMBED_HEAD, "PanopticDeepLabInsEmbedHead"),
    ):
        head.NAME, head.NORM = name, "BN"
        head.IN_FEATURES, head.PROJECT_CHANNELS = ["down1", "down2"], [4]
        head.COMMON_STRIDE, head.CONVS_DIM, head.HEAD_CHANNELS = 2, 8, 8
        head.ASPP_CHANNELS, head.ASPP_DROPOUT = 8, 0.0
    return cfg


def _one(with_targets: bool) -> dict[str, Any]:
    """An input whose image and targets are on the device, as a prefetching loader gives them."""
    one: dict[str, Any] = {"image": torch.randint(0, 256, (3, HEIGHT, WIDTH)).float()}
    if with_targets:
        one["sem_seg"] = torch.randint(0, 3, (HEIGHT, WIDTH))
        one["panoptic_ids"] = torch.randint(0, 4, (HEIGHT, WIDTH), dtype=torch.int32)
        one["segments_info"] = [{"id": i, "category_id": i - 1, "iscrowd": 0} for i in range(1, 4)]
    return one


def _put(one: dict[str, Any]) -> dict[str, Any]:
    return {k: on_device(v) if isinstance(v, Tensor) else v for k, v in one.items()}


SEMANTIC = {
    "whole": {},
    "windows": {"MODEL.SLIDING_WINDOW.SIZE": [16, 16]},
    "looks": {"TEST.AUG.ENABLED": True, "TEST.AUG.MIN_SIZES": (32, 48)},
}


@pytest.mark.parametrize("keys", SEMANTIC.values(), ids=list(SEMANTIC))
def test_semantic_inference_does_not_wait(keys: dict[str, Any]) -> None:
    _assert_no_waits(build_model(unet_config(**keys)).eval(), [_one(False)], tolerance=1e-5)


@pytest.mark.parametrize("head", ["UNetHead", "FCNHead", "SegDeepLabV3PlusHead", "SegFPNHead"])
def test_semantic_training_does_not_wait(head: str) -> None:
    keys = {
        "MODEL.SEM_SEG_HEAD.NAME": head,
        "MODEL.SEM_SEG_HEAD.LOSSES": [["hard_pixel_cross_entropy", 1.0], ["lovasz_softmax", 1.0]],
        "MODEL.SEM_SEG_HEAD.AUXILIARY": [["down2", 0.4]],
        "MODEL.SEM_SEG_HEAD.CONVS_DIM": 32,
        "MODEL.SEM_SEG_HEAD.COMMON_STRIDE": 1,
        "MODEL.SEM_SEG_HEAD.PROJECT_CHANNELS": [4, 4],
        "MODEL.SEM_SEG_HEAD.ASPP_CHANNELS": 8,
        "MODEL.SEM_SEG_HEAD.ASPP_DROPOUT": 0.0,
    }
    _assert_training_does_not_wait(unet_config(**keys))


def test_panoptic_deeplab_training_with_targets_does_not_wait() -> None:
    _assert_training_does_not_wait(_panoptic_deeplab())


def _assert_training_does_not_wait(cfg: CfgNode) -> None:
    _assert_no_waits(build_model(cfg).train(), [_one(True), _one(True)], tolerance=1e-4)


@torch.no_grad()
def _assert_no_waits(model: nn.Module, batch: list[dict[str, Any]], *, tolerance: float) -> None:
    expected = model(batch)
    put_on_device(model)
    with counted_waits() as counted:
        got = model([_put(one) for one in batch])
    assert counted.total() == 0, counted
    torch.testing.assert_close(to_host(got), expected, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("instances", [False, True])
@torch.no_grad()
def test_panoptic_deeplab_inference_waits_for_its_grouping(instances: bool) -> None:
    cfg = _panoptic_deeplab(**{"MODEL.PANOPTIC_DEEPLAB.PREDICT_INSTANCES": instances})
    model, batch = build_model(cfg).eval(), [_one(False), _one(False)]
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    expected = [one["panoptic_seg"][0] for one in model(batch)]
    put_on_device(model)
    with counted_waits() as counted:
        got = [one["panoptic_seg"][0] for one in model([_put(one) for one in batch])]
    assert counted.total() == len(batch) * (GROUPING + instances * INSTANCES), counted
    for a, b in zip(to_host(got), expected, strict=True):
        assert (a != b).float().mean() < 0.01


@pytest.mark.gpu
@pytest.mark.parametrize("make", [_merge, _grouping, _instances, _segments, _targets])
def test_results_on_a_gpu_are_those_on_the_cpu(make: Callable[[int], Call]) -> None:
    call = make(30)
    got = tree_map(lambda x: x.cpu() if isinstance(x, Tensor) else x, call(Tensor.cuda))
    torch.testing.assert_close(got, call(lambda x: x))


@pytest.mark.gpu
@pytest.mark.parametrize("number", [1, 30])
@pytest.mark.parametrize(("make", "waits"), [(_merge, MERGE), (_grouping, GROUPING), (_targets, 0)])
def test_cuda_itself_counts_as_many_waits(
    make: Callable[[int], Call], waits: int, number: int
) -> None:
    call = make(number)
    on_gpu: dict[int, Tensor] = {}

    def put(x: Tensor) -> Tensor:
        return on_gpu.setdefault(id(x), x.cuda())

    call(put)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            call(put)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert sum("synchronizing" in str(one.message) for one in found) == waits
