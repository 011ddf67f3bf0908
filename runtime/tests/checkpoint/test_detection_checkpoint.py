from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden import Golden, exception_name, reference_json, weight_rule
from torch import nn

from detectron2.checkpoint import DetectionCheckpointer
from detectron2.checkpoint import detection_checkpoint as module_under_test

TRUNK = "backbone.bottom_up."
PROBES = ("stem.conv1.weight", "res2.0.conv1.norm.running_var", "res2.1.conv1.weight")


def tree(entries: dict[str, list[Any]]) -> nn.Module:
    """Empty modules that hold parameters and buffers of the recorded names and shapes."""
    root = nn.Module()
    for name, (shape, dtype, kind, _) in entries.items():
        *path, leaf = name.split(".")
        module = root
        for part in path:
            if not hasattr(module, part):
                module.add_module(part, nn.Module())
            module = getattr(module, part)
        tensor = torch.zeros(shape, dtype=getattr(torch, dtype.removeprefix("torch.")))
        if kind == "param":
            module.register_parameter(leaf, nn.Parameter(tensor))
        else:
            module.register_buffer(leaf, tensor)
    return root


@pytest.fixture
def detector() -> nn.Module:
    """The smaller parameters of a Mask R-CNN, filled by the rule."""
    configs = reference_json("state_dicts.json")
    name = next(key for key in configs if "mask_rcnn_R_50_FPN" in key)
    entries = configs[name]["entries"]
    small = {key: entry for key, entry in entries.items() if np.prod(entry[0]) < 1e5}
    model = tree(small)
    weight_rule().fill(model, 0)
    return model


def arrays(model: nn.Module) -> dict[str, np.ndarray]:
    """The first 40 parameters of the trunk; each filled with its position, from 1."""
    trunk = {k: v for k, v in model.state_dict().items() if k.startswith(TRUNK)}
    return {
        name: np.full(tuple(weight.shape), 1.0 + position, np.float32)
        for position, (name, weight) in enumerate(list(trunk.items())[:40])
    }


def tensors(weights: dict[str, np.ndarray], prefix: str = "") -> dict[str, torch.Tensor]:
    return {prefix + name: torch.from_numpy(array) for name, array in weights.items()}


def dump(path: Path, content: object) -> str:
    with path.open("wb") as file:
        pickle.dump(content, file)
    return str(path)


def saved(path: Path, content: object) -> str:
    torch.save(content, path)
    return str(path)


def pkl_heuristic(folder: Path, weights: dict[str, np.ndarray]) -> str:
    short = {name.removeprefix(TRUNK): array for name, array in weights.items()}
    content = {"model": short, "__author__": "X", "matching_heuristics": True}
    return dump(folder / "a.pkl", content)


def pkl_full_names(folder: Path, weights: dict[str, np.ndarray]) -> str:
    return dump(folder / "a.pkl", {"model": weights, "__author__": "X"})


def pth(folder: Path, weights: dict[str, np.ndarray]) -> str:
    return saved(folder / "a.pth", {"model": tensors(weights), "iteration": 3})


def pth_bare(folder: Path, weights: dict[str, np.ndarray]) -> str:
    return saved(folder / "a.pth", tensors(weights))


def pth_ddp_prefix(folder: Path, weights: dict[str, np.ndarray]) -> str:
    return saved(folder / "a.pth", {"model": tensors(weights, "module.")})


@pytest.mark.parametrize("write", [pkl_heuristic, pkl_full_names, pth, pth_bare, pth_ddp_prefix])
def test_recorded_loads(write: Callable[..., str], tmp_path: Path, detector: nn.Module) -> None:
    path = write(tmp_path, arrays(detector))
    extra = DetectionCheckpointer(detector).load(path)
    state = detector.state_dict()
    got = {
        "values": [state[TRUNK + name].mean().item() for name in PROBES],
        "returned": sorted(extra),
    }
    assert got == Golden("checkpoint_matching").json("loads")[write.__name__]


def test_another_shape_is_left_out(tmp_path: Path, detector: nn.Module) -> None:
    name = TRUNK + PROBES[0]
    before = detector.state_dict()[name].clone()
    path = saved(tmp_path / "a.pth", {"model": {name: torch.zeros(3)}})
    recorded = Golden("checkpoint_matching").json("loads")["shape_mismatch"]
    outcome = exception_name(lambda: DetectionCheckpointer(detector).load(path))
    kept = torch.equal(before, detector.state_dict()[name])
    assert {"exception": outcome, "kept": kept} == recorded


def test_missing_file() -> None:
    recorded = Golden("checkpoint_matching").json("loads")["missing_file"]
    checkpointer = DetectionCheckpointer(nn.Linear(1, 1))
    assert exception_name(lambda: checkpointer.load("missing.pth")) == recorded


def test_safetensors_file(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    model = nn.Linear(1, 1)
    save_file({"weight": torch.full((1, 1), 5.0)}, tmp_path / "a.safetensors")
    assert DetectionCheckpointer(model).load(str(tmp_path / "a.safetensors")) == {}
    assert model.weight.item() == 5.0


@pytest.mark.parametrize("blobs", [False, True])
def test_caffe2_file(tmp_path: Path, blobs: bool) -> None:
    content: dict[str, Any] = {"pred_w": np.full((1, 1), 5.0, np.float32)}
    content["pred_w_momentum"] = np.zeros((1, 1), np.float32)
    model = nn.Module()
    model.linear = nn.Linear(1, 1)
    path = dump(tmp_path / "a.pkl", {"blobs": content} if blobs else content)
    assert DetectionCheckpointer(model).load(path) == {
        "__author__": "Caffe2",
        "matching_heuristics": True,
    }
    assert model.linear.weight.item() == 5.0


def test_pycls_file(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(1, 1))
    content = {"model_state": {"weight": torch.full((1, 1), 5.0)}, "epoch": 3}
    extra = DetectionCheckpointer(model).load(saved(tmp_path / "a.pyth", content))
    assert extra["__author__"] == "pycls"
    assert model[0].weight.item() == 5.0


def test_heuristics_by_query(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(1, 1))
    path = saved(tmp_path / "a.pth", {"weight": torch.full((1, 1), 5.0)})
    checkpointer = DetectionCheckpointer(model)
    assert checkpointer.load(path + "?matching_heuristics=True") == {"matching_heuristics": True}
    assert model[0].weight.item() == 5.0
    with pytest.raises(ValueError, match="other"):
        checkpointer.load(path + "?other=1")


def test_torchvision_weights_by_query(tmp_path: Path, detector: nn.Module) -> None:
    weights = {
        "conv1.weight": torch.full((64, 3, 7, 7), 5.0),
        "layer1.0.conv1.weight": torch.full((64, 64, 1, 1), 6.0),
        "layer1.0.bn1.running_var": torch.full((64,), 7.0),
        "layer4.0.conv1.weight": torch.zeros(512, 1024, 1, 1),
    }
    path = saved(tmp_path / "resnet50.pth", weights)
    DetectionCheckpointer(detector).load(path + "?matching_heuristics=True")
    state = detector.state_dict()
    values = [state[TRUNK + name].mean().item() for name in PROBES[:2]]
    assert values == [5.0, 7.0]
    assert state[TRUNK + "res2.0.conv1.weight"].mean().item() == 6.0


def test_unsaved_buffers_are_no_news(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = nn.Linear(1, 1)
    model.register_buffer("pixel_mean", torch.zeros(3))
    content = {"weight": torch.ones(1, 1), "bias": torch.ones(1)}
    content["proposal_generator.anchor_generator.cell_anchors.0"] = torch.zeros(3, 4)
    with caplog.at_level(logging.WARNING):
        DetectionCheckpointer(model).load(saved(tmp_path / "a.pth", content))
    assert caplog.text == ""


def test_empty_path_loads_nothing() -> None:
    assert DetectionCheckpointer(nn.Linear(1, 1)).load("") == {}


@pytest.mark.parametrize("content", [[1, 2], {"model": [1]}])
def test_other_content_is_named(tmp_path: Path, content: object) -> None:
    path = saved(tmp_path / "list.pth", content)
    with pytest.raises(ValueError, match=r"list\.pth.*list"):
        DetectionCheckpointer(nn.Linear(1, 1)).load(path)


def test_damaged_file_is_named(tmp_path: Path) -> None:
    path = Path(saved(tmp_path / "cut.pth", {"weight": torch.zeros(100)}))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"cut\.pth"):
        DetectionCheckpointer(nn.Linear(1, 1)).load(str(path))


class Call:
    """Pickled, it calls ``function(*args)`` when a careless reader loads it."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self.function, self.args = function, args

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.function, self.args


class PersistentIds(pickle.Pickler):
    """Writes paths as persistent ids, which the reader is asked to resolve."""

    def persistent_id(self, obj: object) -> object:
        return ("storage", Call(os.mkdir, str(obj))) if isinstance(obj, Path) else None


def payloads(victim: Path) -> dict[str, object]:
    touch = Call(os.mkdir, str(victim))
    return {
        "reduce": touch,
        "nested": {"model": {"weight": [np.zeros(2), (touch,)]}},
        # A module cannot be pickled: the chain begins at an imported name.
        "getattr_chain": Call(getattr, Call(getattr, Path, "mkdir"), "__globals__"),
        "eval": Call(eval, f"__import__('os').mkdir({str(victim)!r})"),
        "import": Call(__import__, "antigravity"),
    }


@pytest.mark.parametrize("kind", ["reduce", "nested", "getattr_chain", "eval", "import"])
@pytest.mark.parametrize("extension", ["pth", "pkl", "pyth", "bin"])
def test_hostile_files_run_nothing(tmp_path: Path, kind: str, extension: str) -> None:
    victim = tmp_path / "victim"
    content = payloads(victim)[kind]
    write = dump if extension == "pkl" else saved
    path = write(tmp_path / f"evil.{extension}", {"model": {"weight": content}})
    model = nn.Linear(1, 1)
    with pytest.raises(pickle.UnpicklingError, match=rf"evil\.{extension}"):
        DetectionCheckpointer(model).load(path)
    assert not victim.exists()


def test_hostile_persistent_id_runs_nothing(tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "evil.pkl"
    with path.open("wb") as file:
        PersistentIds(file).dump({"model": victim, "__author__": "X"})
    with pytest.raises(pickle.UnpicklingError, match=r"evil\.pkl"):
        DetectionCheckpointer(nn.Linear(1, 1)).load(str(path))
    assert not victim.exists()


def test_refusal_names_the_global_and_the_way_on(tmp_path: Path) -> None:
    path = saved(tmp_path / "evil.pth", {"model": Call(os.system, "true")})
    with pytest.raises(pickle.UnpicklingError, match=r"posix\.system.*safetensors"):
        DetectionCheckpointer(nn.Linear(1, 1)).load(path)


def test_a_refused_file_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[bool] = []
    load = torch.load

    def counting(*args: Any, weights_only: bool = False, **kwargs: Any) -> Any:
        calls.append(weights_only)
        return load(*args, weights_only=weights_only, **kwargs)

    monkeypatch.setattr(module_under_test.torch, "load", counting)
    path = saved(tmp_path / "evil.pth", {"model": Call(os.system, "true")})
    with pytest.raises(pickle.UnpicklingError):
        DetectionCheckpointer(nn.Linear(1, 1)).load(path)
    assert calls == [True]


def test_saved_checkpoint_comes_back(tmp_path: Path) -> None:
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    folder = str(tmp_path / "new")
    DetectionCheckpointer(model, folder, optimizer=optimizer).save("model_0", iteration=7)
    assert sorted(os.listdir(folder)) == ["last_checkpoint", "model_0.pth"]
    assert Path(folder, "last_checkpoint").read_text() == "model_0.pth"

    other = nn.Linear(2, 1)
    other_optimizer = torch.optim.SGD(other.parameters(), lr=1.0)
    checkpointer = DetectionCheckpointer(other, folder, optimizer=other_optimizer)
    assert checkpointer.resume_or_load("", resume=True) == {"iteration": 7}
    assert torch.equal(other.weight, model.weight)
    assert other_optimizer.param_groups[0]["lr"] == 0.1
    assert len(other_optimizer.state) == 2


def test_nothing_is_saved_without_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    DetectionCheckpointer(nn.Linear(1, 1)).save("model")
    DetectionCheckpointer(nn.Linear(1, 1), str(tmp_path), save_to_disk=False).save("model")
    assert os.listdir(tmp_path) == []


def test_a_folder_in_the_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="no plain file name"):
        DetectionCheckpointer(nn.Linear(1, 1), str(tmp_path)).save("../model")


def kill_self(*args: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class DyingState:
    def state_dict(self) -> dict[str, Any]:
        return {"state": DyingPickle()}


class DyingPickle:
    def __reduce__(self) -> Any:
        kill_self()


def save_and_die(folder: str, at: str) -> None:
    extra: dict[str, Any] = {"dying": DyingState()} if at == "pickle" else {}
    if at != "pickle":
        setattr(os, at, kill_self)
    model = nn.Linear(1, 1)
    nn.init.constant_(model.weight, 2.0)
    DetectionCheckpointer(model, folder, **extra).save("model_final")


@pytest.mark.parametrize("at", ["pickle", "fsync", "replace"])
def test_a_killed_save_leaves_the_old_checkpoint(tmp_path: Path, at: str) -> None:
    model = nn.Linear(1, 1)
    nn.init.constant_(model.weight, 1.0)
    DetectionCheckpointer(model, str(tmp_path)).save("model_final", iteration=1)
    fork = multiprocessing.get_context("fork")
    child = fork.Process(target=save_and_die, args=(str(tmp_path), at))
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL

    nn.init.constant_(model.weight, 3.0)
    checkpointer = DetectionCheckpointer(model, str(tmp_path))
    assert checkpointer.resume_or_load("", resume=True) == {"iteration": 1}
    assert model.weight.item() == 1.0
    assert [Path(p).name for p in checkpointer.get_all_checkpoint_files()] == ["model_final.pth"]


def test_a_failing_save_cleans_up(tmp_path: Path) -> None:
    checkpointer = DetectionCheckpointer(nn.Linear(1, 1), str(tmp_path))
    with pytest.raises((pickle.PicklingError, AttributeError)):
        checkpointer.save("model", bad=lambda: 0)
    assert os.listdir(tmp_path) == []
