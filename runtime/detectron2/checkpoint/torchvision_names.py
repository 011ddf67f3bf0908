"""Torchvision's names of a ResNet's parameters, turned into Detectron2's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch

_RULES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^(conv1|bn1)\.", r"stem.\1."),
        (r"\bbn(\d)\.", r"conv\1.norm."),
        (r"\bdownsample\.0\.", "shortcut."),
        (r"\bdownsample\.1\.", "shortcut.norm."),
        (r"^fc\.", "linear."),
    )
)


def is_torchvision_resnet(names: Iterable[str]) -> bool:
    """Do the names look like those of ``torchvision.models.resnet*``?"""
    return {"conv1.weight", "layer1.0.conv1.weight", "layer4.0.conv1.weight"} <= set(names)


def convert_torchvision_resnet_names(
    weights: Mapping[str, torch.Tensor],
) -> dict[str, torch.Tensor]:
    """Renames the parameters; BatchNorm's step counters, of no use here, are left out."""
    return {
        _convert(name): weight
        for name, weight in weights.items()
        if not name.endswith("num_batches_tracked")
    }


def _convert(name: str) -> str:
    # Stage k is "layer<k>" there and "res<k + 1>" here.
    name = re.sub(r"^layer(\d)\.", lambda match: f"res{int(match[1]) + 1}.", name)
    for pattern, replacement in _RULES:
        name = pattern.sub(replacement, name)
    return name
