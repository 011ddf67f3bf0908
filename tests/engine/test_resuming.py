"""A training that is killed and resumed ends as if it had not been."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_runs import REPOSITORY, run_python, tiny_config, tool_main, write_config

from seg_projects.data.resuming import ResumableSampler, by_orientation
from seg_projects.engine.random_numbers import (
    random_state,
    restore_for_augmentations,
    restore_for_model,
)

TRAIN_NET = REPOSITORY / "tools/train_net.py"


def _config(folder: Path, root: Path) -> Path:
    folder.mkdir()
    # Flips and proposals are random; an evaluation lies on the way.
    solver = {"MAX_ITER": 8, "CHECKPOINT_PERIOD": 2}
    content = tiny_config(root, folder / "output", SOLVER=solver, TEST={"EVAL_PERIOD": 3})
    content["INPUT"]["RANDOM_FLIP"] = "horizontal"
    return write_config(folder / "tiny.yaml", content)


def _weights(config: Path) -> dict[str, torch.Tensor]:
    content = torch.load(config.parent / "output/model_final.pth", weights_only=True)
    assert content["iteration"] == 7
    return content["model"]


def test_a_killed_and_resumed_training_ends_with_the_same_weights(
    tmp_path: Path, tiny_root: Path
) -> None:
    whole, killed = _config(tmp_path / "whole", tiny_root), _config(tmp_path / "killed", tiny_root)
    assert tool_main("train_net")(["--config-file", str(whole)]) == 0
    arguments = ["--import", "tests.killed_training", "--config-file", str(killed)]
    assert run_python(TRAIN_NET, *arguments, cwd=tmp_path).returncode == -signal.SIGKILL
    # Its last checkpoint is older than its end.
    assert (tmp_path / "killed/output/last_checkpoint").exists()
    assert not (tmp_path / "killed/output/model_final.pth").exists()
    run = run_python(TRAIN_NET, "--config-file", killed, "--resume", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    found, expected = _weights(killed), _weights(whole)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def _indices(done: int, groups: list[int] | None) -> list[int]:
    sampler = ResumableSampler([0, 1, 2, 3, 4, 0, 2, 1], batch_size=2, groups=groups)
    sampler.batches_done = done
    return list(sampler)


@pytest.mark.parametrize(
    ("done", "expected"), [(0, [0, 1, 2, 3, 4, 0, 2, 1]), (1, [2, 3, 4, 0, 2, 1]), (4, [])]
)
def test_the_images_of_finished_batches_are_left_out(done: int, expected: list[int]) -> None:
    assert _indices(done, None) == expected


def test_an_image_that_waits_for_others_of_its_shape_comes_first() -> None:
    # The first batch is 0 and 2, the second 1 and 3: after one, 1 still waits.
    groups = [0, 1, 0, 1, 0]
    assert _indices(1, groups) == [1, 3, 4, 0, 2, 1]
    assert _indices(2, groups) == [4, 0, 2, 1]


def test_square_images_are_grouped_with_high_ones() -> None:
    sizes = [(4, 3), (3, 3), (3, 4)]
    assert by_orientation([{"width": w, "height": h} for w, h in sizes]) == [0, 1, 1]


def test_random_numbers_go_on_from_a_state_of_a_file(tmp_path: Path) -> None:
    np.random.standard_normal(1)  # noqa: NPY002 - leaves the second of a pair in the state
    torch.save(random_state(), tmp_path / "state.pth")
    expected = (np.random.standard_normal(3), torch.rand(3))  # noqa: NPY002
    state = torch.load(tmp_path / "state.pth", weights_only=True)
    restore_for_augmentations(state)
    restore_for_model(state)
    assert np.array_equal(np.random.standard_normal(3), expected[0])  # noqa: NPY002
    assert torch.equal(torch.rand(3), expected[1])
