"""The default configuration equals the recorded one, key by key and type by type."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml
from golden import REFERENCE, reference_json

from detectron2.config import CfgNode, get_cfg


def leaves(node: CfgNode, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, CfgNode):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def test_every_key_has_the_recorded_value() -> None:
    reference_json("model_configs.json")  # skips where the recordings are absent
    recorded = yaml.safe_load((REFERENCE / "default_config.yaml").read_text())
    assert yaml.safe_load(get_cfg().dump()) == recorded


def test_every_value_has_the_recorded_type() -> None:
    types = reference_json("model_configs.json")["_default_value_types"]
    assert {key: type(value).__name__ for key, value in leaves(get_cfg())} == types


def test_each_call_gives_an_independent_tree() -> None:
    first = get_cfg()
    first.MODEL.PIXEL_MEAN[0] = 0.0
    first.SOLVER.MAX_ITER = 1
    assert get_cfg().MODEL.PIXEL_MEAN[0] == 103.53
    assert get_cfg().SOLVER.MAX_ITER == 40000
