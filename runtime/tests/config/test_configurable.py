"""@configurable: explicit arguments, or a config that from_config turns into them."""

from __future__ import annotations

from typing import Any

import pytest
from golden import Golden, exception_name
from omegaconf import OmegaConf

from detectron2.config import CfgNode, configurable

CFG = CfgNode({"A": 11})


class Model:
    @configurable
    def __init__(self, a: int, b: Any = None, *, c: int = 3) -> None:
        self.values = [a, b, c]

    @classmethod
    def from_config(cls, cfg: CfgNode, extra: Any = None) -> dict[str, Any]:
        return {"a": cfg.A, "b": extra}


def _from_config(cfg: CfgNode, b: int = 0) -> dict[str, Any]:
    return {"a": cfg.A, "b": b}


@configurable(from_config=_from_config)
def function(a: int, b: int = 1, c: int = 2) -> list[int]:
    return [a, b, c]


class WithoutFromConfig:
    @configurable
    def __init__(self, a: int) -> None:
        self.a = a


@pytest.mark.parametrize(
    ("case", "args", "kwargs"),
    [
        ("explicit", (1, 2), {}),
        ("cfg", (CFG,), {}),
        ("cfg_kw", (), {"cfg": CFG}),
        ("cfg_extra_positional", (CFG, "e"), {}),
        ("cfg_override", (CFG,), {"c": 9}),
        ("override_wins", (CFG,), {"a": 0}),
        ("cfg_extra_kw", (CFG,), {"extra": "k"}),
    ],
)
def test_a_class_is_called_as_recorded(case: str, args: Any, kwargs: Any) -> None:
    assert Model(*args, **kwargs).values == Golden("config_semantics").json("facts")[
        "configurable"
    ].get(case)


@pytest.mark.parametrize(
    ("case", "args", "kwargs"),
    [("fn", (5,), {}), ("fn_cfg", (CFG,), {}), ("fn_cfg_kw", (CFG,), {"b": 3, "c": 4})],
)
def test_a_function_is_called_as_recorded(case: str, args: Any, kwargs: Any) -> None:
    facts = Golden("config_semantics").json("facts")["configurable"]
    assert function(*args, **kwargs) == facts[case]


def test_a_class_without_from_config_is_refused_as_recorded() -> None:
    facts = Golden("config_semantics").json("facts")["configurable"]
    assert exception_name(lambda: WithoutFromConfig(CFG)) == facts["no_from_config"]
    assert exception_name(lambda: WithoutFromConfig(1)) == facts["no_from_explicit"]
    with pytest.raises(AttributeError, match="WithoutFromConfig has a @configurable __init__"):
        WithoutFromConfig(1)


def test_a_subclass_uses_its_own_from_config() -> None:
    class Sub(Model):
        @classmethod
        def from_config(cls, cfg: CfgNode, extra: Any = None) -> dict[str, Any]:
            return {**super().from_config(cfg, extra), "c": 7}

    assert Sub(CFG).values == [11, None, 7]


def test_a_from_config_that_takes_everything_gets_everything() -> None:
    class Greedy(Model):
        @classmethod
        def from_config(cls, cfg: CfgNode, *args: Any, **kwargs: Any) -> dict[str, Any]:
            return {"a": args, "b": kwargs}

    assert Greedy(CFG, 5, c=1).values == [(5,), {"c": 1}, 3]


def test_an_omegaconf_config_chooses_from_config() -> None:
    config: Any = OmegaConf.create({"A": 4})
    assert Model(config).values == [4, None, 3]


def test_from_config_must_be_a_classmethod() -> None:
    class Wrong(Model):
        def from_config(self, cfg: CfgNode) -> dict[str, Any]:  # type: ignore[override]
            return {}

    with pytest.raises(TypeError, match="must be a classmethod"):
        Wrong(CFG)


def test_the_first_parameter_of_from_config_is_cfg() -> None:
    class Wrong(Model):
        @classmethod
        def from_config(cls, config: CfgNode) -> dict[str, Any]:  # type: ignore[override]
            return {}

    with pytest.raises(TypeError, match="must be named cfg"):
        Wrong(CFG)
    with pytest.raises(TypeError, match="must be named cfg"):
        configurable(from_config=lambda config: {})


def test_wrong_uses_of_the_decorator_are_refused() -> None:
    with pytest.raises(AssertionError, match="is for __init__"):
        configurable(lambda: 0)
    with pytest.raises(AssertionError, match="needs a function"):
        configurable()
    with pytest.raises(AssertionError, match="classmethod of its class"):
        configurable(Model.__init__, from_config=_from_config)


def test_the_function_keeps_its_name_and_offers_from_config() -> None:
    assert function.__name__ == "function"
    assert function.from_config is _from_config  # type: ignore[attr-defined]
