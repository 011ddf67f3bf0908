"""Several processes: one looks at the data sets, and all stop with what it found."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
import torch
from tiny_runs import prepare_tiny_shapes, tiny_config, write_config

from detectron2.utils import comm
from seg_projects.engine import load_config, setup
from seg_projects.errors import UserError

COUNT = 2


def _worker(rank: int, config: str, folder: Path) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=COUNT
    )
    judge = setup.require_sound

    def counted(name: str) -> None:
        (folder / f"{name}_by_{rank}").touch()
        judge(name)

    setup.require_sound = counted
    cfg = load_config(config)
    setup.declare_datasets(cfg)
    try:
        setup._check_soundness([*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST])
        (folder / f"went_on_{rank}").touch()
    except UserError as error:
        (folder / f"error_{rank}").write_text(str(error))
    comm.synchronize()
    torch.distributed.destroy_process_group()


def _run(tmp_path: Path, root: Path) -> set[str]:
    """The names of the files that the processes wrote."""
    config = write_config(tmp_path / "tiny.yaml", tiny_config(root, tmp_path / "output"))
    folder = tmp_path / "found"
    folder.mkdir()
    context = multiprocessing.get_context("fork")
    workers = [
        context.Process(target=_worker, args=(rank, config, folder)) for rank in range(COUNT)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0] * COUNT
    return {path.name for path in folder.iterdir()} - {"meeting"}


def test_sound_data_sets_are_looked_at_once(tmp_path: Path) -> None:
    root = prepare_tiny_shapes(tmp_path / "data")
    expected = {"tiny_train_by_0", "tiny_val_by_0", "went_on_0", "went_on_1"}
    assert _run(tmp_path, root) == expected


def test_all_stop_with_the_one_message(tmp_path: Path) -> None:
    root = prepare_tiny_shapes(tmp_path / "data")
    next((root / "shapes" / "train").iterdir()).unlink()
    assert _run(tmp_path, root) == {"tiny_train_by_0", "error_0", "error_1"}
    first, second = ((tmp_path / "found" / f"error_{rank}").read_text() for rank in range(COUNT))
    assert first == second
    assert "'tiny_train' has errors: missing image (1)" in first


def test_what_no_check_foresaw_is_raised_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise ZeroDivisionError(name)

    monkeypatch.setattr(setup, "require_sound", broken)
    with pytest.raises(ZeroDivisionError, match="any"):
        setup._check_soundness(["any"])
