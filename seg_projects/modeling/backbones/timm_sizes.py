"""The image sizes that a ``timm`` model takes: found by trying, since not all families tell them.

Attention in windows that are not padded (MaxViT, GC ViT, HaloNet) wants whole windows; a position
learnt for each cell (BEiT, CoAtNet, LeViT) wants the one size of the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

Size = tuple[int, int]  # height, width
# The widest window that is looked for, in cells of the coarsest map.
MOST_CELLS = 16
# Sides of the images that are tried: as primes they are divided by no window.
SIDES = (17, 19)


class Sizes(NamedTuple):
    """The image sizes that a model takes."""

    multiple: int  # divides both sides
    only: Size | None = None  # the one size that it takes
    whole: bool = True  # does each map have a cell per stride, none less at the border?


def accepted_sizes(
    backbone: nn.Module, strides: Mapping[str, int], *, channels: int, trained: Size
) -> Sizes | None:
    """Tries ``backbone`` on images without content (on ``meta``); None where it takes none of them.

    Args:
        backbone: from (N, channels, H, W) to maps by name.
        strides: of the maps.
        channels: of the image.
        trained: the size of the images that the model is made for.

    Raises:
        ValueError: the maps have other sizes than their strides say.
    """
    maps_of = _trial(backbone, channels)
    stride = max(strides.values())
    for cells in range(1, MOST_CELLS + 1):
        multiple = cells * stride
        size = (SIDES[0] * multiple, SIDES[1] * multiple)
        got, wanted = maps_of(size), _whole_maps(size, strides)
        if got == wanted:
            return Sizes(multiple)
        if cells == 1 and got is not None and _lack_borders(got, wanted):
            return Sizes(multiple, whole=False)
    got, wanted = maps_of(trained), _whole_maps(trained, strides)
    if got is None:
        return None
    if got != wanted:
        raise ValueError(f"its maps have the sizes {got} where their strides ask for {wanted}")
    return Sizes(max(trained), only=trained)


def _trial(backbone: nn.Module, channels: int) -> Callable[[Size], dict[str, Size] | None]:
    """A function from an image's size to the maps' sizes; None where the model refuses it."""
    tensors = [*backbone.named_parameters(), *backbone.named_buffers()]
    on_meta: dict[str, Tensor] = {name: tensor.detach().to("meta") for name, tensor in tensors}

    @torch.no_grad()
    def maps_of(size: Size) -> dict[str, Size] | None:
        try:
            with torch.device("meta"):
                maps = functional_call(backbone, on_meta, (torch.empty(1, channels, *size),))
        except Exception:  # each family has its own way to refuse
            return None
        return {name: (m.shape[-2], m.shape[-1]) for name, m in maps.items()}

    return maps_of


def _whole_maps(size: Size, strides: Mapping[str, int]) -> dict[str, Size]:
    return {name: (-(-size[0] // s), -(-size[1] // s)) for name, s in strides.items()}


def _lack_borders(got: Mapping[str, Size], whole: Mapping[str, Size]) -> bool:
    """Are all maps at most a few cells smaller than ``whole``, as after unpadded convolutions?"""
    lacking = [w - g for name in whole for w, g in zip(whole[name], got[name], strict=True)]
    return min(lacking) >= 0 and max(lacking) <= 4


def with_borders(features: Tensor, size: Size) -> Tensor:
    """``features``, (N, C, h, w), with the outermost cells repeated around them up to ``size``."""
    missing = [side - have for side, have in zip(size, features.shape[-2:], strict=True)]
    (above, left), (below, right) = zip(*((m // 2, m - m // 2) for m in missing), strict=True)
    return nn.functional.pad(features, (left, right, above, below), mode="replicate")
