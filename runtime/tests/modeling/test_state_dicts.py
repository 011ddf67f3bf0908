"""Names, order, shapes and types of the parameters and buffers of published models."""

from __future__ import annotations

import pytest
from golden import reference_json

from detectron2 import model_zoo
from detectron2.modeling.meta_arch import build_model

MODELS = [
    "COCO-Detection/faster_rcnn_R_50_FPN_3x",
    "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x",
    "COCO-InstanceSegmentation/mask_rcnn_R_101_FPN_3x",
    "Misc/cascade_mask_rcnn_R_50_FPN_3x",
    "COCO-PanopticSegmentation/panoptic_fpn_R_50_3x",
    "COCO-PanopticSegmentation/panoptic_fpn_R_101_3x",
    "Misc/semantic_R_50_FPN_1x",
]


@pytest.mark.parametrize("name", MODELS)
def test_entries_are_the_recorded_ones(name: str) -> None:
    want = reference_json("state_dicts.json")[name]
    cfg = model_zoo.get_config(f"{name}.yaml")
    cfg.MODEL.DEVICE = "cpu"
    model = build_model(cfg)
    assert type(model).__name__ == want["meta_architecture"]

    parameters = dict(model.named_parameters())
    entries = {}
    for key, tensor in model.state_dict().items():
        kind = "param" if key in parameters else "buffer"
        trained = kind == "param" and parameters[key].requires_grad
        entries[key] = [list(tensor.shape), str(tensor.dtype).removeprefix("torch."), kind, trained]
    assert entries == want["entries"]
    assert list(entries) == list(want["entries"])

    unsaved = {k: list(v.shape) for k, v in model.named_buffers() if k not in entries}
    assert unsaved == want["non_persistent_buffers"]
    modules = {k: type(v).__name__ for k, v in model.named_modules() if len(k.split(".")) <= 3}
    assert modules == want["submodule_types"]
    counts = [p.numel() for p in parameters.values()]
    assert sum(counts) == want["total_parameters"]
