"""Registries name what they know; dotted paths lead to objects."""

from __future__ import annotations

import os.path

import pytest
import torch
from golden import Golden, exception_name

from detectron2.utils.registry import Registry, locate


@pytest.fixture
def registry() -> Registry:
    registry = Registry("HEADS")

    @registry.register()
    class FCNHead:
        pass

    return registry


def test_misuse_raises_as_recorded(registry: Registry) -> None:
    facts = Golden("predictor_and_misc").json("facts")
    duplicate = type("FCNHead", (), {})
    assert exception_name(lambda: registry.register(duplicate)) == facts["dup"]
    assert exception_name(lambda: registry.get("Nope")) == facts["unknown"]
    assert ("FCNHead" in registry) is facts["contains"]


def test_an_unknown_name_is_answered_with_the_known_ones(registry: Registry) -> None:
    with pytest.raises(
        KeyError, match=r"'FCNhead' in the 'HEADS' registry\. Did you mean 'FCNHead'"
    ):
        registry.get("FCNhead")
    with pytest.raises(KeyError, match="Registered: nothing yet"):
        Registry("EMPTY").get("x")


def test_registered_objects_are_found(registry: Registry) -> None:
    def build() -> None: ...

    registry.register(build)
    assert registry.get("build") is build
    assert [name for name, _ in registry] == ["FCNHead", "build"]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("torch.nn.Linear", torch.nn.Linear),
        ("torch.nn", torch.nn),
        ("int", int),
        ("os.path.join", os.path.join),
        ("torch.Tensor.add", torch.Tensor.add),
    ],
)
def test_paths_lead_to_objects(name: str, found: object) -> None:
    assert locate(name) is found


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_package.x", "no module 'no_such_package'"),
        ("torch.nn.nope", "package 'torch.nn' has no attribute or module 'nope'"),
        ("torch.nn.Linear.nope", "'torch.nn.Linear' has no attribute 'nope'"),
        ("", "a dotted path such as"),
        ("torch..nn", "a dotted path such as"),
    ],
)
def test_paths_that_lead_nowhere_say_where_they_end(name: str, message: str) -> None:
    with pytest.raises(ImportError, match=message):
        locate(name)


def test_a_module_that_fails_to_import_says_why(
    tmp_path: os.PathLike[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with open(os.path.join(tmp_path, "needs_more.py"), "w") as file:
        file.write("import no_such_dependency\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="no_such_dependency"):
        locate("needs_more.x")
