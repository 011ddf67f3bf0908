"""From a config file to checkpoints and figures."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import (
    REPOSITORY,
    prepare_tiny_shapes,
    run_python,
    tiny_config,
    tool_main,
    write_config,
)

TRAIN_NET = REPOSITORY / "tools" / "train_net.py"


def _train_net(*arguments: str | Path) -> int:
    return tool_main("train_net")([str(argument) for argument in arguments])


def _metrics(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / "metrics.json").read_text().splitlines()]


def _optimizer(checkpoint: dict[str, Any]) -> dict[str, Any]:
    return checkpoint["trainer"]["_trainer"]["optimizer"]


def _evaluation(output: Path) -> dict[str, dict[str, float]]:
    return json.loads((output / "evaluation.json").read_text())


def test_training_writes_all_that_a_run_is(tiny_run: Any) -> None:
    names = {path.name for path in tiny_run.output.iterdir()}
    assert names >= {
        *("model_0000000.pth", "model_final.pth", "last_checkpoint"),
        *("metrics.json", "evaluation.json", "categories.json", "config.yaml", "log.txt"),
    }
    assert any(name.startswith("events.out.tfevents") for name in names)
    assert (tiny_run.output / "last_checkpoint").read_text() == "model_final.pth"


def test_checkpoint_holds_weights_and_training_state(tiny_run: Any) -> None:
    checkpoint = torch.load(tiny_run.output / "model_final.pth", weights_only=True)
    assert checkpoint["iteration"] == 1
    assert _optimizer(checkpoint)["state"]
    assert "sem_seg_head.predictor.weight" in checkpoint["model"]


def test_metrics_hold_losses_and_figures(tiny_run: Any) -> None:
    first, *_, last = _metrics(tiny_run.output)
    assert {"total_loss", "loss_mask", "loss_sem_seg", "lr"} <= first.keys()
    assert last["panoptic_seg/PQ"] == _evaluation(tiny_run.output)["panoptic_seg"]["PQ"]


def test_evaluation_holds_each_task(tiny_run: Any) -> None:
    results = _evaluation(tiny_run.output)
    assert results.keys() == {"panoptic_seg", "bbox", "segm", "sem_seg"}
    assert {"PQ", "SQ", "RQ", "PQ_th", "PQ_st", "PQ-disc", "PQ-sky"} <= results[
        "panoptic_seg"
    ].keys()
    assert 0 < results["sem_seg"]["mIoU"] < 100


def test_evaluation_of_the_written_config_gives_the_same_figures(
    tiny_run: Any, tmp_path: Path
) -> None:
    # Nothing but the written config: it still declares the data sets.
    weights = tiny_run.output / "model_final.pth"
    overrides = ("MODEL.WEIGHTS", weights, "OUTPUT_DIR", tmp_path)
    assert _train_net("--config-file", tiny_run.config, "--eval-only", *overrides) == 0
    before, after = _evaluation(tiny_run.output), _evaluation(tmp_path)
    # As text, in which NaN equals itself.
    assert json.dumps(after) == json.dumps(before)
    assert not (tmp_path / "model_final.pth").exists()


def test_resumed_training_goes_on_at_its_iteration(tiny_run: Any, tmp_path: Path) -> None:
    output = tmp_path / "output"
    shutil.copytree(tiny_run.output, output)
    (output / "last_checkpoint").write_text("model_0000000.pth")
    (output / "metrics.json").unlink()
    before = torch.load(output / "model_final.pth", weights_only=True)
    overrides = ("OUTPUT_DIR", output, "SOLVER.MAX_ITER", "3", "TEST.EVAL_PERIOD", "0")
    assert _train_net("--config-file", tiny_run.config, "--resume", *overrides) == 0
    # From iteration 1, the one after that of model_0000000.pth, to iteration 2.
    after = torch.load(output / "model_final.pth", weights_only=True)
    assert after["iteration"] == 2
    assert _optimizer(after)["state"].keys() == _optimizer(before)["state"].keys()
    assert "Starting training from iteration 1" in (output / "log.txt").read_text()


@pytest.mark.parametrize("flags", [("--resume",), ("--resume", "--eval-only")])
def test_damaged_checkpoint_is_a_mistake(
    tiny_run: Any, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    whole = (tiny_run.output / "model_0000000.pth").read_bytes()
    (tmp_path / "model_final.pth").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "last_checkpoint").write_text("model_final.pth")
    assert _train_net("--config-file", tiny_run.config, *flags, "OUTPUT_DIR", tmp_path) == 2


def test_without_resume_training_starts_anew(tiny_run: Any, tmp_path: Path) -> None:
    output = tmp_path / "output"
    shutil.copytree(tiny_run.output, output)
    (output / "log.txt").unlink()
    assert _train_net("--config-file", tiny_run.config, "OUTPUT_DIR", output) == 0
    assert "Starting training from iteration 0" in (output / "log.txt").read_text()
    # The same seed, data and weights.
    assert json.dumps(_evaluation(output)) == json.dumps(_evaluation(tiny_run.output))


@pytest.mark.parametrize("optimizer", ["ADAM", "adamw"])
def test_optimizer_is_chosen_by_the_config(tiny_run: Any, tmp_path: Path, optimizer: str) -> None:
    overrides = ("OUTPUT_DIR", tmp_path, "SOLVER.MAX_ITER", "1", "SOLVER.OPTIMIZER", optimizer)
    assert _train_net("--config-file", tiny_run.config, *overrides, "DATASETS.TEST", "()") == 0
    state = _optimizer(torch.load(tmp_path / "model_final.pth", weights_only=True))["state"]
    assert state
    assert all("exp_avg_sq" in moments for moments in state.values())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("SOLVER.OPTIMIZER", "LION"), "SOLVER.OPTIMIZER is 'LION'; known: SGD, ADAM, ADAMW."),
        (("MODEL.WEIGHTS", "absent.pth"), "MODEL.WEIGHTS is 'absent.pth', and there is no such"),
        (("MODEL.SEM_SEG_HEAD.NUM_CLASSES", "5"), "set MODEL.SEM_SEG_HEAD.NUM_CLASSES to 4."),
        (("SOLVER.MAX_ITR", "5"), "Did you mean SOLVER.MAX_ITER?"),
        (("MODEL.DEVICE", "gpu"), "MODEL.DEVICE is 'gpu', which torch cannot use"),
    ],
)
def test_mistake_is_one_line_and_status_2(
    tiny_run: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    overrides: tuple[str, ...],
    message: str,
) -> None:
    arguments = ("--config-file", tiny_run.config, "OUTPUT_DIR", tmp_path, *overrides)
    assert _train_net(*arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    line = lines[0]
    assert line.startswith("error: ")
    assert message in line


def test_mistake_of_a_real_command_is_one_line_and_status_2(tmp_path: Path) -> None:
    content = tiny_config(tmp_path / "absent", tmp_path / "output")
    config = write_config(tmp_path / "config.yaml", content)
    result = run_python(TRAIN_NET, "--config-file", config, cwd=tmp_path)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: Data set 'tiny_train'")


@pytest.mark.parametrize("tool", ["train_net", "predict", "report"])
def test_help_needs_neither_torch_nor_detectron2(tool: str, tmp_path: Path) -> None:
    program = (
        "import runpy, sys\n"
        "sys.argv = [sys.argv[1], '--help']\n"
        "try:\n"
        "    runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as end:\n"
        "    assert not end.code\n"
        "assert not {'torch', 'detectron2', 'numpy'} & sys.modules.keys()\n"
    )
    result = run_python("-c", program, REPOSITORY / "tools" / f"{tool}.py", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "--config-file FILE" in result.stdout


def test_several_processes_without_devices_are_a_mistake(
    tiny_run: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert _train_net("--config-file", tiny_run.config, "--num-gpus", "2") == 2
    assert "--num-gpus is 2, but this machine has 0" in capsys.readouterr().err


def test_missing_module_is_a_mistake(tiny_run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert _train_net("--config-file", tiny_run.config, "--import", "absent_heads") == 2
    assert "--import absent_heads: there is no module" in capsys.readouterr().err


def test_defective_data_stop_before_the_first_iteration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = prepare_tiny_shapes(tmp_path / "data")
    next((root / "shapes" / "train").iterdir()).unlink()
    config = write_config(tmp_path / "tiny.yaml", tiny_config(root, tmp_path / "output"))
    assert _train_net("--config-file", config) == 2
    error = capsys.readouterr().err
    assert "'tiny_train' has errors: missing image (1)" in error
    assert "python tools/inspect_data.py" in error
    assert not (tmp_path / "output" / "metrics.json").exists()
