"""Look-ups of what a config names, with messages that say what there is instead."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from detectron2.layers import ShapeSpec
from detectron2.utils.registry import Registry


def find_registered(registry: Registry, name: str, key: str) -> Any:
    """The object that ``registry`` holds as ``name``, the value of the config key ``key``."""
    if name not in registry:
        known = sorted(known_name for known_name, _ in registry)
        raise KeyError(
            f"{key} = {name!r} is not registered; known are {known}. "
            "A module that registers its own must be imported before the model is built."
        )
    return registry.get(name)


def select_features(
    shapes: Mapping[str, ShapeSpec], names: Iterable[str], key: str
) -> list[ShapeSpec]:
    """The shapes of the feature maps ``names``, the value of the config key ``key``."""
    missing = [name for name in names if name not in shapes]
    if missing:
        raise KeyError(f"{key} names {missing}, which the backbone lacks; it gives {list(shapes)}.")
    return [shapes[name] for name in names]
