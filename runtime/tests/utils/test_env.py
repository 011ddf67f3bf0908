"""Seeds, a site's setup module, and where re-exported objects say they live."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

import detectron2
from detectron2.utils import env


def draw() -> tuple[float, ...]:
    return (random.random(), float(np.random.rand()), torch.rand(1).item())  # noqa: NPY002


def test_equal_seeds_give_equal_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHASHSEED", "0")
    env.seed_all_rng(3)
    first = draw()
    assert os.environ["PYTHONHASHSEED"] == "3"
    env.seed_all_rng(3)
    assert draw() == first
    env.seed_all_rng(4)
    assert all(a != b for a, b in zip(draw(), first, strict=True))


def test_a_drawn_seed_is_logged_and_new(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONHASHSEED", "0")
    with caplog.at_level("INFO", logger="detectron2.utils.env"):
        env.seed_all_rng()
        env.seed_all_rng()
    seeds = re.findall(r"random seed (\d+)", caplog.text)
    assert len(set(seeds)) == 2
    assert os.environ["PYTHONHASHSEED"] == seeds[-1]


def test_the_torch_version_is_a_pair() -> None:
    assert torch.__version__.startswith("{}.{}.".format(*env.TORCH_VERSION))


def test_a_custom_environment_is_a_file_or_a_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "site_setup.py"
    path.write_text("import os\ndef setup_environment():\n    os.environ['SITE'] = __name__\n")
    monkeypatch.setenv("SITE", "")
    env.setup_custom_environment(str(path))
    assert os.environ["SITE"] == "detectron2.utils.env.custom_module"
    monkeypatch.syspath_prepend(str(tmp_path))
    env.setup_custom_environment("site_setup")
    assert os.environ["SITE"] == "site_setup"


def test_a_custom_environment_needs_its_function(tmp_path: Path) -> None:
    path = tmp_path / "site_setup.py"
    path.write_text("")
    with pytest.raises(AssertionError, match="no function setup_environment"):
        env.setup_custom_environment(str(path))


def in_new_process(code: str, **variables: str) -> str:
    runtime = str(Path(detectron2.__file__).parents[1])
    paths = [runtime, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **variables}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    ).stdout


def test_the_import_runs_the_module_that_the_variable_names(tmp_path: Path) -> None:
    path = tmp_path / "site_setup.py"
    path.write_text("def setup_environment():\n    print('ran')\n")
    code = "import detectron2; from detectron2.utils.env import setup_environment as s; s(); s()"
    assert in_new_process(code, DETECTRON2_ENV_MODULE=str(path)) == "ran\n"


def test_the_import_alone_loads_nothing_heavy() -> None:
    code = "import sys, detectron2; print('torch' in sys.modules, detectron2.__version__)"
    assert in_new_process(code, DETECTRON2_ENV_MODULE="").startswith("False 0.6")


def test_the_version_is_that_of_the_distribution() -> None:
    project = Path(detectron2.__file__).parents[1] / "pyproject.toml"
    found = re.search(r'^version = "(.*)"$', project.read_text(), re.MULTILINE)
    assert found is not None
    assert found[1] == detectron2.__version__


def test_public_objects_are_moved_to_their_package() -> None:
    def public() -> None: ...
    def _private() -> None: ...

    class Thing:
        def method(self) -> None: ...

    namespace = {
        "public": public,
        "_private": _private,
        "Thing": Thing,
        "loads": types.FunctionType,
    }
    for obj in (public, _private, Thing, Thing.method):
        obj.__module__ = "pkg.inner"
    env.fixup_module_metadata("pkg", namespace)
    assert (public.__module__, Thing.__module__, Thing.method.__module__) == ("pkg",) * 3
    assert _private.__module__ == "pkg.inner"
    assert types.FunctionType.__module__ == "builtins"


def test_only_the_named_objects_are_moved() -> None:
    def one() -> None: ...
    def two() -> None: ...

    one.__module__ = two.__module__ = "pkg.inner"
    env.fixup_module_metadata("pkg", {"one": one, "two": two}, keys=["one"])
    assert (one.__module__, two.__module__) == ("pkg", "pkg.inner")
