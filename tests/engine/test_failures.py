"""What is said of a batch that cannot be learnt from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_runs import REPOSITORY, run_python, tiny_config, write_config

from seg_projects.engine.failures import RememberedBatches, explaining_failures
from seg_projects.errors import UserError

BATCH = [
    {"file_name": "a.png", "image": torch.zeros(3, 4, 5)},
    {"image": torch.zeros(3, 6, 7)},
]
IMAGES = r"Images of the batch: a\.png \(4 x 5\), without a name \(6 x 7\)\."


@pytest.fixture
def batches() -> RememberedBatches:
    remembered = RememberedBatches([BATCH])
    assert list(remembered) == [BATCH]
    return remembered


def _fail(error: Exception, batches: RememberedBatches) -> None:
    with explaining_failures(7, batches):
        raise error


def test_losses_that_are_not_finite_are_named_with_the_images(batches: RememberedBatches) -> None:
    error = FloatingPointError(
        "Loss became infinite or NaN at iteration=7!\nloss_dict = {'loss_mask': nan}\nRemedies."
    )
    told = r"Loss became .* iteration=7! loss_dict = {'loss_mask': nan}"
    expected = rf"^Training diverged at iteration=7: {told}\. {IMAGES} Lower SOLVER\.BASE_LR"
    with pytest.raises(UserError, match=expected):
        _fail(error, batches)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nMore."),
        RuntimeError("[enforce fail] . DefaultCPUAllocator: can't allocate memory.\nMore."),
        MemoryError("Unable to allocate 2 GiB."),
    ],
)
def test_too_little_memory_is_told_with_the_images(
    error: Exception, batches: RememberedBatches
) -> None:
    with pytest.raises(UserError, match=rf"^Out of memory at iteration=7: .*\. {IMAGES} Lower"):
        _fail(error, batches)


def test_a_cpu_that_has_no_memory_left_is_recognised(batches: RememberedBatches) -> None:
    with pytest.raises(UserError, match="Out of memory"), explaining_failures(7, batches):
        torch.empty(2**60, dtype=torch.uint8)


def test_other_errors_remain_what_they_are(batches: RememberedBatches) -> None:
    with pytest.raises(RuntimeError, match=r"^shapes differ$"):
        _fail(RuntimeError("shapes differ"), batches)


def test_many_images_are_cut_short() -> None:
    remembered = RememberedBatches([[BATCH[0]] * 20])
    next(iter(remembered))
    with pytest.raises(UserError, match=r"a\.png \(4 x 5\) and 4 more\. Lower"):
        _fail(MemoryError(), remembered)


def test_a_training_that_diverges_ends_with_a_message(tmp_path: Path, tiny_root: Path) -> None:
    solver = {"BASE_LR": 1e30, "MAX_ITER": 5, "OPTIMIZER": "SGD"}
    content = tiny_config(tiny_root, tmp_path / "output", SOLVER=solver)
    config = write_config(tmp_path / "tiny.yaml", content)
    tool = REPOSITORY / "tools/train_net.py"
    run = run_python(tool, "--config-file", config, cwd=tmp_path)
    assert run.returncode == 2
    error = run.stderr.splitlines()[-1]
    assert error.startswith("error: Training diverged at iteration=")
    assert f"{tiny_root}/shapes/train/" in error
    assert "Lower SOLVER.BASE_LR" in error
