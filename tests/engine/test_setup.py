"""A user's mistakes, each one message before the first iteration."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tiny_runs import prepare_tiny_shapes, tiny_config, write_config

from seg_projects.engine import import_modules, load_config, prepare
from seg_projects.engine.setup import check_gpus
from seg_projects.errors import UserError


def _args(**given: Any) -> argparse.Namespace:
    return argparse.Namespace(**{"config_file": "", "eval_only": False, "resume": False} | given)


def _prepare(tmp_path: Path, content: dict[str, Any], **args: bool) -> None:
    cfg = load_config(write_config(tmp_path / "config.yaml", content))
    prepare(cfg, _args(config_file=str(tmp_path / "config.yaml"), **args))


def test_missing_config_is_named() -> None:
    with pytest.raises(UserError, match=r"no config nowhere\.yaml; those of this project are in"):
        load_config("nowhere.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "MODEL:\n  ROI_HEADS:\n    NUM_CLASES: 3\n",
            r"Did you mean MODEL\.ROI_HEADS\.NUM_CLASSES\?",
        ),
        ("MODLE:\n  MASK_ON: True\n", r"no config key MODLE\. Did you mean MODEL\?"),
        (
            "SOLVER:\n  MAX_ITER: many\n",
            r"SOLVER\.MAX_ITER takes a value of type int, not many \(str\)",
        ),
        (
            "SOLVER:\n  BASE_LR: 1\n",
            r"BASE_LR takes a value of type float such as 1\.0, not 1 \(int\)",
        ),
        ("SOLVER:\n  MAX_ITER:\n    A: 3\n", r"MAX_ITER takes .* not a group of keys"),
        ("MODEL: [1, 2\nSOLVER: }\n", r"expected ',' or '\]'.*line 2"),
        ("MODEL:\n\tMASK_ON: True\n", r"cannot start any token.*line 2"),
        ("- 1\n", "no tree of|is a mapping of keys to values"),
        ("MODEL: 3\n", "no tree of|MODEL is a group of keys"),
        ("_BASE_: absent.yaml\n", r"_BASE_ names .*absent\.yaml, which does not exist"),
        ("_BASE_: config.yaml\n", "leads back to the file itself|inherits from itself"),
    ],
)
def test_mistake_in_a_file_is_explained(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        load_config(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert not str(caught.value).startswith(f"{path}: {path}: ")
    assert "\n" not in str(caught.value)


def test_binary_file_is_no_config(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(UserError, match="can't decode byte 0xff"):
        load_config(path)


@pytest.mark.parametrize("key", ["MODEL", "OUTPUT_DIR"])
def test_python_in_yaml_is_refused_and_not_executed(tmp_path: Path, key: str) -> None:
    trace, path = tmp_path / "executed", tmp_path / "config.yaml"
    path.write_text(
        f"{key}: !!python/object/apply:pathlib.Path.touch [!!python/object/apply:"
        f"pathlib.Path ['{trace}']]\n"
    )
    with pytest.raises(UserError, match="could not determine a constructor for the tag"):
        load_config(path)
    assert not trace.exists()


def test_python_in_the_base_of_a_config_is_not_executed(tmp_path: Path) -> None:
    trace = tmp_path / "executed"
    (tmp_path / "base.yaml").write_text(f"OUTPUT_DIR: !!python/object/apply:os.mkdir ['{trace}']\n")
    (tmp_path / "leaf.yaml").write_text("_BASE_: base.yaml\n")
    with pytest.raises(UserError, match="could not determine a constructor"):
        load_config(tmp_path / "leaf.yaml")
    assert not trace.exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["MODEL.ROI_HEADS.NUM_CLASES", "3"], r"Did you mean MODEL\.ROI_HEADS\.NUM_CLASSES\?"),
        (["SOLVER.MAX_ITR", "3"], r"Did you mean SOLVER\.MAX_ITER\?"),
        (["SOLVER.MAX_ITER", "many"], r"MAX_ITER takes a value of type int, not many \(str\)"),
        (["DATASETS.TRAIN", "name"], r"type tuple such as \(3,\) or \('name',\), not name \(str\)"),
        (["MODEL", "3"], "MODEL is a group of keys"),
        (["MODEL.DEVICE"], r"pairs KEY VALUE; \['MODEL.DEVICE'\] has an odd length"),
        (["SOLVER.MAX_ITER", "3", "--resume"], "--resume stands among the overrides"),
    ],
)
def test_mistake_on_the_command_line_is_explained(
    tmp_path: Path, overrides: list[str], message: str
) -> None:
    path = write_config(tmp_path / "config.yaml", {"VERSION": 2})
    with pytest.raises(UserError, match=message):
        load_config(path, overrides)


def test_overrides_win_over_the_file(tmp_path: Path) -> None:
    path = write_config(tmp_path / "config.yaml", {"SOLVER": {"MAX_ITER": 7}, "VERSION": 2})
    assert load_config(path).SOLVER.MAX_ITER == 7
    cfg = load_config(path, ["SOLVER.MAX_ITER", "8", "DATASETS.TEST", "('a', 'b')"])
    assert (cfg.SOLVER.MAX_ITER, cfg.DATASETS.TEST) == (8, ("a", "b"))


def test_without_cuda_the_device_falls_back_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, our_warnings: list[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    path = write_config(tmp_path / "config.yaml", {"MODEL": {"DEVICE": "cuda:1"}, "VERSION": 2})
    assert load_config(path).MODEL.DEVICE == "cpu"
    assert our_warnings == [
        "MODEL.DEVICE is 'cuda:1', but there is no CUDA device: running on the CPU."
    ]


def test_a_chosen_cpu_is_no_reason_to_warn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, our_warnings: list[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    path = write_config(tmp_path / "config.yaml", {"MODEL": {"DEVICE": "cpu"}, "VERSION": 2})
    load_config(path)
    assert our_warnings == []


def test_processes_need_a_device_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    check_gpus(1)
    with pytest.raises(
        UserError, match="but this machine has 0 CUDA devices: leave it out to train on"
    ):
        check_gpus(2)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"wanted": -1}, "--num-gpus is -1, .* 1 is the least, and trains on the CPU too"),
        ({"wanted": 1, "machines": 0}, "--num-machines is 0: 1 is the least"),
        (
            {"wanted": 1, "machines": 2, "rank": 2},
            "--machine-rank is 2, but --num-machines is 2: ranks are 0 to 1",
        ),
    ],
)
def test_numbers_of_processes_out_of_range(given: dict[str, int], message: str) -> None:
    check_gpus(0)  # which Detectron2 takes for the CPU
    with pytest.raises(UserError, match=message):
        check_gpus(**given)


@pytest.mark.parametrize("device", ["gpu", "mps", "cuda:x"])
def test_device_that_torch_cannot_use_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    if device == "mps" and torch.backends.mps.is_available():
        pytest.skip("this machine has that device")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    path = write_config(tmp_path / "config.yaml", {"MODEL": {"DEVICE": device}, "VERSION": 2})
    with pytest.raises(UserError, match=f"MODEL.DEVICE is '{device}', which torch cannot use"):
        load_config(path)


def test_device_with_a_number_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for device, fits in (("cuda", True), ("cuda:1", True), ("cuda:2", False)):
        path = write_config(tmp_path / "config.yaml", {"MODEL": {"DEVICE": device}, "VERSION": 2})
        if fits:
            assert device == load_config(path).MODEL.DEVICE
            continue
        with pytest.raises(UserError, match="'cuda:2', but this machine has 2 CUDA devices"):
            load_config(path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("SOLVER.IMS_PER_BATCH", 0, "SOLVER.IMS_PER_BATCH is 0: 1 is the least that works"),
        ("SOLVER.MAX_ITER", 0, "SOLVER.MAX_ITER is 0: 1 is the least"),
        ("SOLVER.CHECKPOINT_PERIOD", 0, "SOLVER.CHECKPOINT_PERIOD is 0: 1 is the least"),
        ("DATALOADER.NUM_WORKERS", -1, "DATALOADER.NUM_WORKERS is -1: 0 is the least"),
        ("DATALOADER.SAMPLER_TRAIN", "Random", "'Random'; known: TrainingSampler, Repeat"),
        ("INPUT.MIN_SIZE_TRAIN", (), "INPUT.MIN_SIZE_TRAIN is empty"),
        ("OUTPUT_DIR", "", "OUTPUT_DIR is empty"),
    ],
)
def test_values_that_cannot_work_are_named(
    tiny_root: Path, tmp_path: Path, key: str, value: Any, message: str
) -> None:
    config = write_config(tmp_path / "config.yaml", tiny_config(tiny_root, tmp_path / "out"))
    with pytest.raises(UserError, match=message):
        prepare(load_config(config, [key, str(value) or "''"]), _args())


def test_what_is_a_matter_of_training_does_not_stop_an_evaluation(
    tiny_root: Path, tmp_path: Path
) -> None:
    (tmp_path / "model.pth").touch()
    parts = {"SOLVER": {"MAX_ITER": 0}, "MODEL": {"WEIGHTS": str(tmp_path / "model.pth")}}
    _prepare(tmp_path, tiny_config(tiny_root, tmp_path / "out", **parts), eval_only=True)


@pytest.mark.parametrize("eval_only", [False, True])
def test_unknown_data_set_is_named_with_near_names(
    tiny_root: Path, tmp_path: Path, eval_only: bool
) -> None:
    content = tiny_config(tiny_root, tmp_path / "out", DATASETS={"TEST": ["tiny_vall"]})
    with pytest.raises(UserError, match=r"'tiny_vall' is not registered.*tiny_val\b"):
        _prepare(tmp_path, content, eval_only=eval_only)


def test_unknown_training_set_is_no_matter_for_evaluation(tiny_root: Path, tmp_path: Path) -> None:
    content = tiny_config(tiny_root, tmp_path / "out", DATASETS={"TRAIN": ["absent"]})
    with pytest.raises(UserError, match="--eval-only needs weights"):
        _prepare(tmp_path, content, eval_only=True)
    with pytest.raises(UserError, match="'absent' is not registered"):
        _prepare(tmp_path, content)


@pytest.mark.parametrize(("key", "eval_only"), [("TRAIN", False), ("TEST", True)])
def test_empty_list_of_data_sets_is_named(
    tiny_root: Path, tmp_path: Path, key: str, eval_only: bool
) -> None:
    content = tiny_config(tiny_root, tmp_path / "out", DATASETS={key: []})
    with pytest.raises(UserError, match=rf"DATASETS\.{key} is empty"):
        _prepare(tmp_path, content, eval_only=eval_only)


def test_missing_data_root_says_where_paths_start(tmp_path: Path) -> None:
    content = tiny_config(tmp_path / "absent", tmp_path / "out")
    with pytest.raises(UserError, match=r"absent/shapes/train does not exist.*DATASETS\.ROOT"):
        _prepare(tmp_path, content)
    assert not (tmp_path / "out").exists()


def test_data_root_may_come_from_the_environment(
    tiny_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tiny_root))
    content = tiny_config(tiny_root, tmp_path / "out", DATASETS={"ROOT": ""})
    _prepare(tmp_path, content)
    assert (tmp_path / "out" / "config.yaml").is_file()


@pytest.mark.parametrize(
    ("head", "count", "classes"),
    [("ROI_HEADS", 3, "thing_classes"), ("SEM_SEG_HEAD", 4, "stuff_classes")],
)
def test_class_counts_that_disagree_say_what_to_set(
    tiny_root: Path, tmp_path: Path, head: str, count: int, classes: str
) -> None:
    content = tiny_config(tiny_root, tmp_path / "out", MODEL={head: {"NUM_CLASSES": 54}})
    message = rf"{head}\.NUM_CLASSES is 54.*has {count} {classes}: set .*NUM_CLASSES to {count}"
    with pytest.raises(UserError, match=message):
        _prepare(tmp_path, content)


def test_missing_weights_are_named(tiny_root: Path, tmp_path: Path) -> None:
    content = tiny_config(tiny_root, tmp_path / "out", MODEL={"WEIGHTS": "absent.pth"})
    with pytest.raises(UserError, match=r"MODEL\.WEIGHTS is 'absent\.pth'.*no such file"):
        _prepare(tmp_path, content)


def test_resuming_where_nothing_is_says_that_it_starts_anew(
    tiny_root: Path, tmp_path: Path, our_warnings: list[str]
) -> None:
    _prepare(tmp_path, tiny_config(tiny_root, tmp_path / "out"), resume=True)
    assert our_warnings[0] == (
        f"--resume: {tmp_path / 'out'} holds no checkpoint; the training starts at its first "
        "iteration."
    )


def test_resuming_does_not_need_the_weights_of_the_start(tiny_root: Path, tmp_path: Path) -> None:
    content = tiny_config(tiny_root, tmp_path / "out", MODEL={"WEIGHTS": "absent.pth"})
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "last_checkpoint").write_text("model_0000001.pth")
    (tmp_path / "out" / "model_0000001.pth").touch()
    _prepare(tmp_path, content, resume=True)
    with pytest.raises(UserError, match="no such file"):
        _prepare(tmp_path, content)


@pytest.mark.parametrize("output", ["taken", "taken/below"])
def test_output_folder_where_a_file_stands(tiny_root: Path, tmp_path: Path, output: str) -> None:
    (tmp_path / "taken").write_text("a file")
    content = tiny_config(tiny_root, tmp_path / output)
    with pytest.raises(UserError, match=r"OUTPUT_DIR .*taken.* cannot be written"):
        _prepare(tmp_path, content)


def test_prepared_folder_holds_config_and_categories(tiny_root: Path, tmp_path: Path) -> None:
    _prepare(tmp_path, tiny_config(tiny_root, tmp_path / "out"))
    written = load_config(tmp_path / "out" / "config.yaml")
    assert [entry["NAME"] for entry in written.DATASETS.PANOPTIC] == ["tiny_train", "tiny_val"]
    asked = load_config(tmp_path / "config.yaml")
    # As YAML, where a tuple is a list.
    assert yaml.safe_load(written.dump()) == yaml.safe_load(asked.dump())
    categories = json.loads((tmp_path / "out" / "categories.json").read_text())
    assert [c["name"] for c in categories["categories"]][:3] == ["disc", "box", "star"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "categories.json",
        "config.yaml",
        "log.txt",
    ]


def test_data_check_can_be_switched_off(tmp_path: Path) -> None:
    root = prepare_tiny_shapes(tmp_path / "data")
    next((root / "shapes" / "train").iterdir()).unlink()
    with pytest.raises(UserError, match="missing image"):
        _prepare(tmp_path, tiny_config(root, tmp_path / "out"))
    _prepare(tmp_path, tiny_config(root, tmp_path / "out", DATASETS={"CHECK": False}))
    _prepare(tmp_path, tiny_config(root, tmp_path / "out", DATASETS={"TRAIN": ["tiny_val"]}))


def test_modules_of_the_current_folder_are_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_heads_of_the_test.py").write_text(
        "from pathlib import Path\nPath('ran').touch()\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", ["/nowhere"])
    import_modules(["json", "my_heads_of_the_test"])
    assert (tmp_path / "ran").is_file()


@pytest.mark.parametrize("name", ["absent_module", "absent_package.heads", "json.absent"])
def test_missing_module_is_named(name: str) -> None:
    with pytest.raises(UserError, match=rf"--import {name}: there is no module 'absent|'json"):
        import_modules([name])


def test_a_module_that_lacks_its_own_imports_shows_its_own_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_heads_of_the_test.py").write_text("import absent_of_the_test\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="absent_of_the_test"):
        import_modules(["broken_heads_of_the_test"])
