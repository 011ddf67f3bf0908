"""Lazy configurations: descriptions of calls, Python files, and what builds them."""

from __future__ import annotations

import dataclasses
import functools
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
from golden import Golden, exception_name
from omegaconf import DictConfig, ListConfig, OmegaConf

from detectron2.config import LazyCall, LazyConfig, instantiate
from detectron2.config.instantiate import dump_dataclass


def facts() -> Any:
    return Golden("config_semantics").json("facts")


def echo(**kwargs: Any) -> dict[str, Any]:
    return kwargs


def make_echo(**outer: Any) -> Any:
    return functools.partial(echo, **outer)


class Point:
    def __init__(self, p1: int, p2: int = 2, p3: int = 3) -> None:
        self.values = [p1, p2, p3]


@dataclasses.dataclass
class Size:
    height: int = 1
    name: str = "x"


@dataclasses.dataclass
class Sizes:
    first: Size = dataclasses.field(default_factory=Size)
    more: list[Any] = dataclasses.field(default_factory=lambda: [Size(2), 3])


def write(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def test_a_described_call_can_be_changed_and_built() -> None:
    call = LazyCall(Point)(p1=1)
    assert sorted(call) == facts()["lazycall"]["keys"]
    assert (call._target_ is Point) is facts()["lazycall"]["target_kept"]
    call.p1 = 4
    assert instantiate(call).values == facts()["lazycall"]["v"]


def test_arguments_are_built_first() -> None:
    built = instantiate(LazyCall(echo)(inner=LazyCall(Point)(p1=1), plain={"q": 1}, many=[1, 2]))
    assert built["inner"].values == [1, 2, 3]
    assert isinstance(built["plain"], DictConfig)
    assert isinstance(built["many"], ListConfig)


def test_a_target_is_named_by_its_path() -> None:
    linear = instantiate({"_target_": "torch.nn.Linear", "in_features": 2, "out_features": 3})
    assert type(linear).__name__ == facts()["lazycall"]["nested"]
    assert (
        instantiate({"_target_": "builtins.dict", "a": 1}) == (facts()["lazycall"]["string_target"])
    )


def test_a_target_may_itself_be_described() -> None:
    described = LazyCall(LazyCall(make_echo)(outer=1))(inner=2)
    assert instantiate(described) == {"outer": 1, "inner": 2}


def test_misuse_raises_as_recorded() -> None:
    recorded = facts()["lazycall"]
    calls = {
        "builtin_type_target": lambda: LazyCall(dict)(a=1),
        "positional": lambda: LazyCall(Point)(1),  # type: ignore[call-arg]
        "not_callable": lambda: LazyCall(3),
        "bad_target": lambda: instantiate({"_target_": "no_such_package.thing"}),
        "uncallable": lambda: instantiate({"_target_": "torch.nn"}),
        "recursive_off": lambda: instantiate(LazyCall(echo)(_recursive_=False)),
    }
    got = {name: exception_name(call) for name, call in calls.items()}
    assert got == {name: recorded[name] for name in calls}


def test_plain_values_and_lists_are_returned_or_built() -> None:
    assert instantiate(3) == facts()["lazycall"]["plain_value"]
    built = instantiate([LazyCall(echo)(b=2), 4])
    assert built == facts()["lazycall"]["list"]
    assert isinstance(instantiate(OmegaConf.create([1])), ListConfig)


def test_mappings_without_a_target_are_returned_as_they_are() -> None:
    plain = {"a": {"_target_": "torch.nn.Identity"}}
    assert instantiate(plain) is plain


def test_a_wrong_argument_is_reported_with_its_target(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(TypeError, match="bad"):
        instantiate(LazyCall(Point)(bad=1))
    assert "Point" in caplog.text


def test_dataclasses_are_described_and_built() -> None:
    assert instantiate(LazyCall(Size)(height=2)) == Size(2)
    described = dump_dataclass(Sizes())
    assert described["first"]["height"] == 1
    assert described["more"][1] == 3
    built = instantiate(OmegaConf.structured(Size(4)))
    assert built == Size(4)
    with pytest.raises(AssertionError, match="instance of a dataclass"):
        dump_dataclass(Size)


def test_a_python_file_gives_its_public_dicts(tmp_path: Path) -> None:
    text = "x = dict(a=1)\ny = dict(b=2)\n_hidden = dict(c=3)\nn = 4\nitems = [1]\n"
    cfg = LazyConfig.load(write(tmp_path / "x.py", text))
    assert list(cfg) == facts()["lazy_keys"]
    assert isinstance(cfg.x, DictConfig)


def test_keys_choose_objects_of_any_kind(tmp_path: Path) -> None:
    path = write(tmp_path / "x.py", "x = dict(a=1)\n_hidden = dict(c=3)\nitems = [1]\n")
    assert LazyConfig.load(path, "x") == {"a": 1}
    hidden, items = LazyConfig.load(path, ("_hidden", "items"))
    assert isinstance(hidden, DictConfig)
    assert items == [1]
    with pytest.raises(KeyError, match=r"has no 'z'; it has items, x"):
        LazyConfig.load(path, "z")


def test_relative_imports_read_files_afresh(tmp_path: Path) -> None:
    write(tmp_path / "common/model.py", "model = dict(depth=1, width=dict(a=2))\n")
    write(tmp_path / "common/deep/other.py", "from ..model import model\nmodel.depth = 9\n")
    path = write(
        tmp_path / "x.py",
        "from .common.model import model\n"
        "from .common.deep.other import model as other\n"
        "model.width.a = 5\n",
    )
    cfg = LazyConfig.load(path)
    assert cfg == {
        "model": {"depth": 1, "width": {"a": 5}},
        "other": {"depth": 9, "width": {"a": 2}},
    }


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("from .nope import a\n", ImportError, r"cannot import a: there is no file .*nope\.py"),
        ("from .there import nope\n", ImportError, r"there\.py defines no 'nope'"),
        ("from . import there\n", ImportError, "is a folder"),
        ("from .sub import x\n", ImportError, "is a folder"),
        ("from .there import *\n", ImportError, "not '\\*'"),
        ("a =\n", SyntaxError, r"x\.py is not valid Python"),
    ],
)
def test_faulty_python_files_are_explained(
    tmp_path: Path, text: str, error: type[Exception], message: str
) -> None:
    write(tmp_path / "there.py", "x = {}\n")
    write(tmp_path / "sub/a.py", "x = {}\n")
    with pytest.raises(error, match=message):
        LazyConfig.load(write(tmp_path / "x.py", text))


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"x\.txt: a configuration is a \.py"):
        LazyConfig.load(write(tmp_path / "x.txt", ""))


def test_remote_python_is_not_run() -> None:
    with pytest.raises(ValueError, match="remote Python is not run"):
        LazyConfig.load("https://example.org/config.py")


def test_load_rel_starts_at_the_calling_file(tmp_path: Path) -> None:
    write(tmp_path / "sub/y.py", "y = dict(a=1)\n")
    caller = write(
        tmp_path / "caller.py",
        "from detectron2.config import LazyConfig\nfound = LazyConfig.load_rel('sub/y.py', 'y')\n",
    )
    assert (LazyConfig.load(caller, "found") == {"a": 1}) is facts()["lazy_rel"]


def test_saved_configs_load_again(tmp_path: Path) -> None:
    import torch

    path = str(tmp_path / "out.yaml")
    model = LazyCall(torch.nn.Linear)(in_features=1, out_features=2)
    content = {"sizes": (1, 2), "none": None, "again": "${sizes}", "model": model}
    LazyConfig.save(OmegaConf.create(content, flags={"allow_objects": True}), path)
    loaded = LazyConfig.load(path)
    assert loaded.model._target_ == "torch.nn.Linear"
    assert loaded.sizes == [1, 2]
    assert loaded.again == [1, 2]
    assert instantiate(loaded.model).out_features == 2


def test_a_config_that_yaml_cannot_hold_is_pickled_beside_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "out.yaml"
    LazyConfig.save(OmegaConf.create({"f": Point}, flags={"allow_objects": True}), str(path))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.yaml", "out.yaml.pkl"]
    assert "Point" in path.read_text()
    assert "cannot express" in caplog.text


def test_python_notation_is_one_assignment_per_value() -> None:
    cfg = OmegaConf.create(
        {"train": {"lr": 0.1, "steps": [1, 2]}, "net": LazyCall(OrderedDict)(a={"b": 1})},
        flags={"allow_objects": True},
    )
    assert LazyConfig.to_py(cfg).splitlines() == [
        "cfg.train.lr = 0.1",
        "cfg.train.steps = [1, 2]",
        "cfg.net = collections.OrderedDict(a={'b': 1})",
    ]
    assert LazyConfig.to_py({"a": 1}, prefix="") == "a = 1\n"
