"""YAML configurations are data: tags that run code, remote bases and cycles are refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from detectron2.config import CfgNode, LazyConfig, get_cfg

CODE = [
    "!!python/object/apply:os.mkdir ['{target}']",
    "!!python/object/new:os.mkdir ['{target}']",
    "!!python/name:os.mkdir",
    "!!python/module:os",
    "!!python/object:pathlib.Path {{}}",
]


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("value", CODE)
@pytest.mark.parametrize("allow_unsafe", [True, False])
def test_tags_that_build_objects_are_refused(
    tmp_path: Path, value: str, allow_unsafe: bool
) -> None:
    target = tmp_path / "made"
    path = write(tmp_path / "x.yaml", f"OUTPUT_DIR: {value.format(target=target)}\n")
    with pytest.raises(yaml.constructor.ConstructorError, match=r"x\.yaml is loaded as data"):
        get_cfg().merge_from_file(path, allow_unsafe=allow_unsafe)
    with pytest.raises(yaml.constructor.ConstructorError, match=r"x\.yaml is loaded as data"):
        CfgNode.load_yaml_with_base(path, allow_unsafe=allow_unsafe)
    assert not target.exists()


def test_tags_in_a_base_are_refused(tmp_path: Path) -> None:
    target = tmp_path / "made"
    write(tmp_path / "base.yaml", f"SEED: !!python/object/apply:os.mkdir ['{target}']\n")
    path = write(tmp_path / "leaf.yaml", "_BASE_: base.yaml\n")
    with pytest.raises(yaml.constructor.ConstructorError, match=r"base\.yaml is loaded as data"):
        get_cfg().merge_from_file(path)
    assert not target.exists()


def test_tags_in_a_lazy_yaml_are_refused(tmp_path: Path) -> None:
    target = tmp_path / "made"
    path = write(tmp_path / "x.yaml", f"a: !!python/object/apply:os.mkdir ['{target}']\n")
    with pytest.raises(yaml.constructor.ConstructorError, match="refused"):
        LazyConfig.load(path)
    assert not target.exists()


def test_tuples_are_data_unless_only_plain_yaml_is_wanted(tmp_path: Path) -> None:
    path = write(tmp_path / "x.yaml", "A: !!python/tuple [1, [2]]\n")
    assert CfgNode.load_yaml_with_base(path, allow_unsafe=True) == {"A": (1, [2])}
    with pytest.raises(yaml.constructor.ConstructorError, match="refused"):
        CfgNode.load_yaml_with_base(path)


@pytest.mark.parametrize(
    "base", ["http://h/a.yaml", "https://h/a.yaml", "detectron2://a.yaml", "s3://b/a.yaml"]
)
def test_a_remote_base_is_refused(tmp_path: Path, base: str) -> None:
    path = write(tmp_path / "x.yaml", f"_BASE_: {base}\n")
    with pytest.raises(ValueError, match=f"_BASE_ '{base}' is remote"):
        get_cfg().merge_from_file(path)


def test_a_base_that_inherits_from_itself_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", "_BASE_: b.yaml\n")
    path = write(tmp_path / "b.yaml", "_BASE_: a.yaml\n")
    with pytest.raises(ValueError, match="inherits from itself"):
        get_cfg().merge_from_file(path)


def test_two_files_may_share_a_base(tmp_path: Path) -> None:
    write(tmp_path / "root.yaml", "SEED: 3\n")
    write(tmp_path / "a.yaml", "_BASE_: root.yaml\n")
    write(tmp_path / "b.yaml", "_BASE_: root.yaml\n")
    path = write(tmp_path / "x.yaml", "_BASE_: [a.yaml, b.yaml]\n")
    assert CfgNode.load_yaml_with_base(path) == {"SEED": 3}


def test_a_base_may_lie_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "base.yaml", "SEED: 4\n")
    (tmp_path / "sub").mkdir()
    path = write(tmp_path / "sub" / "x.yaml", "_BASE_: ~/base.yaml\n")
    assert CfgNode.load_yaml_with_base(path) == {"SEED": 4}


def test_an_absent_base_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "x.yaml", "_BASE_: nope.yaml\n")
    with pytest.raises(FileNotFoundError, match=r"nope\.yaml"):
        get_cfg().merge_from_file(path)


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    cfg = get_cfg()
    cfg.merge_from_file(write(tmp_path / "x.yaml", ""))
    assert cfg == get_cfg()


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("- 1\n", ValueError, "mapping of keys to values, not a list"),
        ("_BASE_: 3\n", ValueError, "3 is not a file name"),
        ("_BASE_: base.yaml\nSEED: {X: 1}\n", AssertionError, "'SEED' is a group of keys here"),
    ],
)
def test_malformed_files_are_explained(
    tmp_path: Path, text: str, error: type[Exception], message: str
) -> None:
    write(tmp_path / "base.yaml", "SEED: 1\n")
    path = write(tmp_path / "x.yaml", text)
    with pytest.raises(error, match=message):
        get_cfg().merge_from_file(path)


def test_python_files_are_not_read_as_configs(tmp_path: Path) -> None:
    target = tmp_path / "made"
    path = write(tmp_path / "x.py", f"import os\nos.mkdir({str(target)!r})\ncfg = {{}}\n")
    with (
        open(path) as file,
        pytest.raises(ValueError, match="is Python code: a CfgNode is read from YAML only"),
    ):
        CfgNode.load_cfg(file)
    assert not os.path.exists(target)
