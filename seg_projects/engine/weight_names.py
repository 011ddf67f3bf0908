"""Whose names the weights of a file have, and what they are called in a model of ours.

Legend: a naming is a way from the names of a file to those of the model, decided by the names
alone: of all known ones, that which matches most of them.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import Tensor, nn

from seg_projects.modeling.backbones import TimmBackbone

Weights = dict[str, Tensor]
# What other programs put before all names.
WRAPPERS = ("", "module.", "model.", "backbone.", "module.backbone.")
# Where a backbone, given without the rest, has its place.
PLACES = ("", "backbone.", "backbone.bottom_up.", "backbone.model.", "backbone.bottom_up.model.")
# Of a ResNet of torchvision, and of timm, which names a deep stem as a sequence.
RESNET_RULES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^conv1\.0\.", "stem.conv1."),
        (r"^conv1\.1\.", "stem.conv1.norm."),
        (r"^conv1\.3\.", "stem.conv2."),
        (r"^conv1\.4\.", "stem.conv2.norm."),
        (r"^conv1\.6\.", "stem.conv3."),
        (r"^conv1\.", "stem.conv1."),
        (r"\.bn(\d)\.", r".conv\1.norm."),
        (r"\.downsample\.0\.", ".shortcut."),
        (r"\.downsample\.1\.", ".shortcut.norm."),
        (r"^layer1\.", "res2."),
        (r"^layer2\.", "res3."),
        (r"^layer3\.", "res4."),
        (r"^layer4\.", "res5."),
    )
)


class Naming(NamedTuple):
    """Weights under the names that a model may have for them."""

    origin: str  # for people
    weights: Weights
    fits: int  # how many of them the model has, of the same shape
    matches: int  # how many it has, of any shape


def rename_for(model: nn.Module, weights: Mapping[str, Tensor]) -> Naming:
    """``weights`` by the names of ``model``, whatever of the known programs wrote them.

    Known are the model's own names, those of Detectron2's and torchvision's ResNets, timm's, each
    for the whole model or for its backbone alone, with or without a wrapper's prefix. What fits
    nothing keeps a name that fits nothing.
    """
    own = {name: value.shape for name, value in model.state_dict().items()}
    best = Naming("unknown", dict(weights), 0, 0)
    for origin, rename in _renamings(model):
        if best.matches == len(own):
            break
        for wrapper in WRAPPERS:
            stripped = {n.removeprefix(wrapper): w for n, w in weights.items()}
            if wrapper and stripped.keys() == weights.keys():
                continue
            renamed = rename(stripped)
            for place in PLACES:
                placed = {f"{place}{name}": w for name, w in renamed.items()}
                found = [w.shape == own[n] for n, w in placed.items() if n in own]
                best = max(best, Naming(origin, placed, sum(found), len(found)), key=_quality)
    return best


def _quality(naming: Naming) -> tuple[int, int]:
    return naming.fits, naming.matches


def _renamings(model: nn.Module) -> list[tuple[str, Callable[[Weights], Weights]]]:
    renamings: list[tuple[str, Callable[[Weights], Weights]]] = [
        ("the model's", lambda weights: weights),
        ("a torchvision or timm ResNet's", _from_torchvision_resnet),
    ]
    for module in model.modules():
        if isinstance(module, TimmBackbone) and (convert := _timm_filter(module.model)):
            # Position embeddings of another size are resized, names of the publishers converted.
            renamings.append(("timm's", convert))
    return renamings


def _from_torchvision_resnet(weights: Weights) -> Weights:
    if "layer1.0.conv1.weight" not in weights:
        return {}
    deep_stem = "conv1.0.weight" in weights
    return {_resnet_name(name, deep_stem=deep_stem): w for name, w in weights.items()}


def _resnet_name(name: str, *, deep_stem: bool) -> str:
    name = re.sub(r"^bn1\.", "stem.conv3.norm." if deep_stem else "stem.conv1.norm.", name)
    if name.startswith("stem."):
        return name
    for pattern, replacement in RESNET_RULES:
        name = pattern.sub(replacement, name)
        if name.startswith("stem."):
            break
    return name


def _timm_filter(model: nn.Module) -> Callable[[Weights], Weights] | None:
    """What ``timm`` itself does to published weights before they are loaded into ``model``."""
    convert = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    return None if convert is None else lambda weights: convert(dict(weights), model)
