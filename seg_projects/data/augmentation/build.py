"""Augmentations as a config names them: Detectron2's own keys, then ``INPUT.AUGMENTATIONS``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

from detectron2.config import CfgNode
from detectron2.data import transforms as T
from seg_projects.data.augmentation.albumentations_pipeline import Albumentations
from seg_projects.data.augmentation.colour import (
    RandomBlur,
    RandomColour,
    RandomCutout,
    RandomGrey,
    RandomNoise,
)
from seg_projects.data.augmentation.copy_paste import CopyPaste
from seg_projects.data.augmentation.geometry import (
    LargeScaleJitter,
    RandomFlips,
    RandomQuarterTurns,
    RandomRotations,
    ShortestEdge,
)
from seg_projects.data.augmentation.ranges import as_probability
from seg_projects.data.label_maps import IGNORED
from seg_projects.errors import UserError

KEY = "INPUT.AUGMENTATIONS"

Step: TypeAlias = T.Augmentation | T.Transform | CopyPaste


def _resize(*, short_side: Sequence[int], max_size: int, sampling: str = "choice") -> ShortestEdge:
    """Scales the shorter side to one of ``short_side``, or into that range."""
    if sampling not in ("choice", "range"):
        raise ValueError(f"sampling is {sampling!r}; it is choice or range.")
    return ShortestEdge(short_side, max_size, sampling)


def _crop(
    *, size: Sequence[float], type: str = "absolute", single_category_max_area: float = 1.0
) -> T.Augmentation:
    """Cuts out a part; see Detectron2's INPUT.CROP."""
    if type not in ("relative", "relative_range", "absolute", "absolute_range"):
        raise ValueError(
            f"type is {type!r}; it is relative, relative_range, absolute or absolute_range."
        )
    if len(size) != 2:
        raise ValueError(f"size is {size!r}; it is two numbers.")
    if single_category_max_area >= 1:
        return T.RandomCrop(type, size)
    return T.RandomCrop_CategoryAreaConstraint(type, size, single_category_max_area, IGNORED)


AUGMENTATIONS: dict[str, Callable[..., Step]] = {
    "resize": _resize,
    "large_scale_jitter": LargeScaleJitter,
    "crop": _crop,
    "flip": RandomFlips,
    "rotation": RandomRotations,
    "quarter_turns": RandomQuarterTurns,
    "colour": RandomColour,
    "grey": RandomGrey,
    "noise": RandomNoise,
    "blur": RandomBlur,
    "cutout": RandomCutout,
    "copy_paste": CopyPaste,
    "albumentations": Albumentations,
}


class Pipeline(NamedTuple):
    """Augmentations, split where objects are pasted."""

    each: T.AugmentationList  # of every image by itself
    copy_paste: CopyPaste | None
    merged: T.AugmentationList  # of the image with what was pasted

    @property
    def needs_labels(self) -> bool:
        """Whether a step chooses by the label map, which the input then has to hold."""
        kind = T.RandomCrop_CategoryAreaConstraint
        steps = [*self.each.augs, *self.merged.augs]
        return any(isinstance(getattr(step, "aug", step), kind) for step in steps)


def split_steps(steps: Sequence[Step]) -> Pipeline:
    """The pipeline of ``steps``, at most one of which is a :class:`CopyPaste`."""
    pastes = [step for step in steps if isinstance(step, CopyPaste)]
    if len(pastes) > 1:
        raise UserError(f"{KEY} has copy_paste {len(pastes)} times; once is possible.")
    place = steps.index(pastes[0]) if pastes else len(steps)
    return Pipeline(
        each=T.AugmentationList(list(steps[:place])),
        copy_paste=pastes[0] if pastes else None,
        merged=T.AugmentationList(list(steps[place + 1 :])),
    )


def build_augmentations(
    cfg: CfgNode, is_train: bool, *, crop_after_resize: bool = False
) -> list[Step]:
    """What happens to every image: crop, resize and flip of Detectron2's keys, then our list.

    Args:
        cfg: its ``INPUT`` counts, and ``MODEL.PIXEL_MEAN``, the colour of what lies outside.
        is_train: at test time, the image is resized and nothing else.
        crop_after_resize: Detectron2's ``DatasetMapper`` crops first, its DeepLab resizes first.

    Raises:
        UserError: an entry of ``INPUT.AUGMENTATIONS`` is malformed, unknown or refused.
    """
    config = cfg.INPUT
    if not is_train:
        return [ShortestEdge(config.MIN_SIZE_TEST, config.MAX_SIZE_TEST, "choice")]
    entries = [_parse_entry(entry) for entry in config.AUGMENTATIONS]
    steps: list[Step] = []
    # The jitter chooses the size; a resize before it would only cost sharpness.
    if not any(name in ("large_scale_jitter", "resize") for name, _ in entries):
        steps.append(
            ShortestEdge(
                config.MIN_SIZE_TRAIN, config.MAX_SIZE_TRAIN, config.MIN_SIZE_TRAIN_SAMPLING
            )
        )
    if config.CROP.ENABLED:
        crop = _crop(
            type=config.CROP.TYPE,
            size=config.CROP.SIZE,
            single_category_max_area=config.CROP.SINGLE_CATEGORY_MAX_AREA,
        )
        steps.insert(len(steps) if crop_after_resize else 0, crop)
    if config.RANDOM_FLIP != "none":
        direction = config.RANDOM_FLIP
        steps.append(
            T.RandomFlip(horizontal=direction == "horizontal", vertical=direction == "vertical")
        )
    given = {"fill": tuple(cfg.MODEL.PIXEL_MEAN), "image_format": config.FORMAT}
    return steps + [_build(name, options, given) for name, options in entries]


def listed_sizes(cfg: CfgNode) -> list[int]:
    """The sides, in pixels, that entries of ``INPUT.AUGMENTATIONS`` give to training images."""
    sizes: list[Any] = []
    for name, options in (_parse_entry(entry) for entry in cfg.INPUT.AUGMENTATIONS):
        if name == "large_scale_jitter" or (
            name == "crop" and options.get("type", "absolute").startswith("absolute")
        ):
            sizes.append(options.get("size", ()))
        elif name == "resize":
            sizes.append(options.get("short_side", ()))
    # What is no list of numbers is refused where the augmentation is built.
    return [
        side
        for given in sizes
        for side in (given if isinstance(given, list | tuple) else [given])
        if isinstance(side, int)
    ]


def has_copy_paste(cfg: CfgNode) -> bool:
    """Whether the training pastes objects of other images."""
    return any(_parse_entry(entry)[0] == "copy_paste" for entry in cfg.INPUT.AUGMENTATIONS)


def _parse_entry(entry: Any) -> tuple[str, dict[str, Any]]:
    if isinstance(entry, str):
        entry = [entry]
    if not isinstance(entry, list | tuple) or len(entry) not in (1, 2):
        raise UserError(f"{KEY} has {entry!r}: an entry is [name] or [name, {{option: value}}].")
    name, options = entry if len(entry) == 2 else (entry[0], {})
    if name not in AUGMENTATIONS:
        raise UserError(f"{KEY} has {name!r}, which is unknown; known: {', '.join(AUGMENTATIONS)}.")
    known = [*inspect.signature(AUGMENTATIONS[name]).parameters, "probability"]
    if not isinstance(options, dict) or not set(options) <= set(known):
        hidden = ("fill", "image_format")
        shown = ", ".join(dict.fromkeys(k for k in known if k not in hidden))
        raise UserError(f"{KEY}: {name} has the options {options!r}; it knows {shown}.")
    return name, dict(options)


def _build(name: str, options: dict[str, Any], given: dict[str, Any]) -> Step:
    """The step; ``given`` are options that the rest of the config knows."""
    make = AUGMENTATIONS[name]
    accepted = inspect.signature(make).parameters
    options = {k: v for k, v in given.items() if k in accepted} | options
    try:
        if "probability" in accepted or "probability" not in options:
            return make(**options)
        probability = as_probability(options.pop("probability"), "probability")
        return T.RandomApply(make(**options), probability)
    except (ValueError, TypeError, AssertionError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{KEY}: {name} refuses {options}: {reason}") from error
