"""What --resume says of a checkpoint that is not there, is damaged or belongs to another config."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from seg_projects.engine.resumption import explaining_unusable, last_checkpoint
from seg_projects.errors import UserError


def _note(folder: Path, name: str) -> None:
    (folder / "last_checkpoint").write_text(name)


def test_last_checkpoint_is_the_file_that_the_note_names(tmp_path: Path) -> None:
    assert last_checkpoint(tmp_path) is None
    _note(tmp_path, "model_0000009.pth\n")
    (tmp_path / "model_0000009.pth").touch()
    assert last_checkpoint(tmp_path) == tmp_path / "model_0000009.pth"


def test_a_note_of_a_file_that_is_gone_names_the_newest_other_one(tmp_path: Path) -> None:
    _note(tmp_path, "model_final.pth")
    with pytest.raises(UserError, match=r"final\.pth, which is not there: start anew without"):
        last_checkpoint(tmp_path)
    for age, name in enumerate(("model_0000019.pth", "model_0000009.pth")):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    with pytest.raises(UserError, match=r"write model_0000019\.pth, the newest other one, into /"):
        last_checkpoint(tmp_path)


@pytest.mark.parametrize("content", [b"no checkpoint", b"", b"PK\x03\x04cut off"])
def test_damaged_checkpoint_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model_final.pth"
    path.write_bytes(content)
    message = (
        r"model_final\.pth, which --resume goes on from, is damaged or not a checkpoint: start"
    )
    with pytest.raises(UserError, match=message), explaining_unusable(path):
        torch.load(path, weights_only=True)


def test_checkpoint_of_another_config_says_where_its_own_is(tmp_path: Path) -> None:
    weight, other = (torch.zeros(1, requires_grad=True) for _ in range(2))
    state = torch.optim.SGD([weight], lr=0.1).state_dict()
    message = r"does not fit the config \(loaded state.*config of that training, .*config\.yaml, or"
    with (
        pytest.raises(UserError, match=message),
        explaining_unusable(tmp_path / "model_final.pth"),
    ):
        torch.optim.SGD([weight, other], lr=0.1).load_state_dict(state)


def test_too_little_memory_is_no_damage(tmp_path: Path) -> None:
    with pytest.raises(torch.OutOfMemoryError), explaining_unusable(tmp_path / "model_final.pth"):
        raise torch.OutOfMemoryError("CUDA out of memory")
