"""key=value settings: what they are read as, and what they are never taken for."""

from __future__ import annotations

import math
from typing import Any

import pytest
from golden import Golden
from omegaconf import DictConfig, OmegaConf

from detectron2.config import LazyConfig
from detectron2.config.overrides import parse_override


def tree() -> DictConfig:
    return OmegaConf.create({"a": 1, "b": {"c": 2, "d": [1, 2]}, "n": None})


def changed(*overrides: str) -> Any:
    return OmegaConf.to_container(LazyConfig.apply_overrides(tree(), list(overrides)))


def test_settings_change_the_config_as_recorded() -> None:
    cfg = OmegaConf.create({"a": 1, "z": "", "inst": {"a": "${a}", "b": {"c": 1, "d": [0]}}})
    result = LazyConfig.apply_overrides(cfg, ["a=5", "z=w", "inst.b.c=9", "inst.b.d=[1,2]"])
    assert result is cfg
    Golden("config_semantics")  # skips where the recordings are absent
    assert (
        OmegaConf.to_container(cfg, resolve=True)
        == (Golden("config_semantics").json("facts")["lazy"])
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("-4", -4),
        ("1_000", 1000),
        ("1e-3", 0.001),
        (".5", 0.5),
        ("null", None),
        ("true", True),
        ("False", False),
        ("None", "None"),
        ("007", "007"),
        ("0x10", "0x10"),
        ("", ""),
        ("x y", "x y"),
        ("'x, y'", "x, y"),
        ('"(1,2)"', "(1,2)"),
        (r"'it\'s'", "it's"),
        ("detectron2://x/y.pkl", "detectron2://x/y.pkl"),
        ("a:b", "a:b"),
        ("a=b", "a=b"),
        ("50%", "50%"),
        ("${a}", "${a}"),
        ("x/${b.c}/y", "x/${b.c}/y"),
        ("[]", []),
        ("[1, [a, 'b'], true]", [1, ["a", "b"], True]),
        ("[detectron2://x]", ["detectron2://x"]),
        ("{}", {}),
        ("{a: 1, b: {c: [x]}}", {"a": 1, "b": {"c": ["x"]}}),
    ],
)
def test_values_are_read_as_data(text: str, value: Any) -> None:
    got = parse_override(f"k={text}").value
    assert got == value
    assert type(got) is type(value)


def test_infinite_and_undefined_numbers_are_read() -> None:
    assert parse_override("k=-inf").value == -math.inf
    assert math.isnan(parse_override("k=nan").value)


@pytest.mark.parametrize("text", ["a", "=3", "a b=3", "b.d[0]=7", ""])
def test_texts_without_a_key_and_a_value_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not of the form key=value"):
        parse_override(text)


@pytest.mark.parametrize(
    "value",
    ["(1,2)", "a,b", "[1", "[1 2", "1]", "{a:1", "{a}", "'x", "f()", "__import__('os')", "[1,]x"],
)
def test_unreadable_values_are_refused(value: str) -> None:
    with pytest.raises(ValueError, match="cannot read the value from"):
        parse_override(f"k={value}")


@pytest.mark.parametrize("plus", ["", "+", "++"])
def test_new_keys_are_added(plus: str) -> None:
    assert changed(plus + "x.y.z=1")["x"] == {"y": {"z": 1}}
    assert changed(plus + "n.x=1")["n"] == {"x": 1}


def test_list_elements_have_numbers_and_dicts_are_merged() -> None:
    assert changed("b.d.0=7")["b"]["d"] == [7, 2]
    assert changed("b={c:3}")["b"] == {"c": 3, "d": [1, 2]}


def test_a_key_below_a_value_is_refused() -> None:
    with pytest.raises(KeyError, match="a is the value 1"):
        changed("a.q=3")


def test_deleting_is_refused() -> None:
    with pytest.raises(NotImplementedError, match="~a"):
        changed("~a")
