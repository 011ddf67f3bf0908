"""Checkpoints by a writer thread: what they hold and what fails."""

from __future__ import annotations

import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
import torch
from torch import nn

from detectron2.checkpoint import DetectionCheckpointer
from seg_projects.engine.background_checkpoint import BackgroundCheckpointer, Snapshot
from seg_projects.errors import UserError


class _Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.second.weight = self.first.weight
        self.register_buffer("rows", torch.arange(12.0).view(3, 4)[:, 1:3])


def _trained() -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = _Tied()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model.second(model.first(torch.ones(2, 3))).sum().backward()
    optimizer.step()
    return model, optimizer


@pytest.fixture
def saving(tmp_path: Path) -> BackgroundCheckpointer:
    model, optimizer = _trained()
    return BackgroundCheckpointer(model, str(tmp_path), save_to_disk=True, optimizer=optimizer)


@contextmanager
def _held(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Holds all writing until the event is set."""
    release, save = threading.Event(), torch.save

    def slow(*args: object) -> None:
        assert release.wait(20)
        save(*args)

    monkeypatch.setattr(torch, "save", slow)
    yield release
    release.set()


@contextmanager
def _no_room() -> Iterator[None]:
    """No file may grow beyond 1 KiB."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_the_file_is_that_of_a_plain_save(saving: BackgroundCheckpointer, tmp_path: Path) -> None:
    model, optimizer = _trained()
    (tmp_path / "plain").mkdir()
    DetectionCheckpointer(model, str(tmp_path / "plain"), optimizer=optimizer).save(
        "model_0", iteration=7
    )
    saving.save("model_0", iteration=7)
    saving.wait()
    assert (tmp_path / "model_0.pth").read_bytes() == (tmp_path / "plain/model_0.pth").read_bytes()
    assert (tmp_path / "last_checkpoint").read_text() == "model_0.pth"


def test_what_changes_during_the_writing_does_not_reach_the_file(
    saving: BackgroundCheckpointer, monkeypatch: pytest.MonkeyPatch
) -> None:
    weight = saving.model.first.weight.clone()
    with _held(monkeypatch) as release:
        saving.save("model_0")
        saving.model.first.weight.data.zero_()
        saving.checkpointables["optimizer"].param_groups[0]["lr"] = 5.0
        assert not Path(saving.save_dir, "last_checkpoint").exists()
        release.set()
        path = saving.get_checkpoint_file()
    content = torch.load(path, weights_only=True)
    assert torch.equal(content["model"]["first.weight"], weight)
    assert content["optimizer"]["param_groups"][0]["lr"] == 0.1


def test_a_save_waits_for_the_one_before(
    saving: BackgroundCheckpointer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _held(monkeypatch) as release:
        saving.save("model_0")
        threading.Timer(0.1, release.set).start()
        saving.model.first.weight.data.zero_()
        saving.save("model_1")
        assert release.is_set()
    saving.wait()
    for number, is_zero in ((0, False), (1, True)):
        content = torch.load(Path(saving.save_dir, f"model_{number}.pth"), weights_only=True)
        assert (content["model"]["first.weight"] == 0).all() == is_zero


def _save_and_end(saving: BackgroundCheckpointer, end: str) -> None:
    with saving.finishing() if end == "finishing" else nullcontext():
        saving.save("model_1")
        if end == "wait":
            saving.wait()
        elif end == "save":
            saving.save("model_2")


def _save_and_fail(saving: BackgroundCheckpointer, error: type[BaseException]) -> None:
    with saving.finishing():
        saving.save("model_0")
        raise error


@pytest.mark.parametrize("end", ["save", "wait", "finishing"])
def test_a_full_disk_is_reported_once_and_keeps_the_checkpoint_before(
    saving: BackgroundCheckpointer, end: str
) -> None:
    saving.save("model_0")
    saving.wait()
    with _no_room(), pytest.raises(UserError, match=r"model_1\.pth was not written: .*too large"):
        _save_and_end(saving, end)
    names = {path.name for path in Path(saving.save_dir).iterdir()}
    assert names == {"model_0.pth", "last_checkpoint"}
    assert Path(saving.get_checkpoint_file()).name == "model_0.pth"


def test_a_folder_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    saving = BackgroundCheckpointer(nn.Linear(1, 1), str(tmp_path / "taken/run"), save_to_disk=True)
    saving.save("model_0")
    with pytest.raises(UserError, match=r"taken/run/model_0\.pth was not written"):
        saving.wait()


def test_an_exception_in_training_still_ends_the_writing(saving: BackgroundCheckpointer) -> None:
    with pytest.raises(KeyboardInterrupt):
        _save_and_fail(saving, KeyboardInterrupt)
    assert saving._written is None
    assert Path(saving.save_dir, "model_0.pth").exists()


def test_an_exception_in_training_is_not_hidden_by_one_in_writing(
    saving: BackgroundCheckpointer, our_warnings: list[str]
) -> None:
    with _no_room(), pytest.raises(ZeroDivisionError):
        _save_and_fail(saving, ZeroDivisionError)
    assert "model_0.pth was not written" in our_warnings[0]


def test_nothing_is_saved_by_other_processes(tmp_path: Path) -> None:
    BackgroundCheckpointer(nn.Linear(1, 1), str(tmp_path), save_to_disk=False).save("model_0")
    assert not list(tmp_path.iterdir())


def test_a_snapshot_uses_its_memory_again() -> None:
    snapshot = Snapshot()
    first = snapshot.take({"a": torch.ones(4)})["a"]
    second = snapshot.take({"a": torch.zeros(4)})["a"]
    assert first.data_ptr() == second.data_ptr()
    assert snapshot.take({"a": torch.full((6,), 3)})["a"].tolist() == [3] * 6


def test_memory_is_taken_before_the_first_save(saving: BackgroundCheckpointer) -> None:
    saving.reserve()
    saving.wait()
    before = [buffer.data_ptr() for buffer in saving._snapshot._buffers]
    # Parameters: one tied weight of 9 numbers, two biases of 3; rows; as much momentum.
    assert sum(buffer.nbytes for buffer in saving._snapshot._buffers) == 4 * (2 * 15 + 12)
    saving.save("model_0")
    assert [buffer.data_ptr() for buffer in saving._snapshot._buffers] == before
    with saving.finishing():
        pass
    assert saving._snapshot._buffers == []


def test_a_save_waits_for_its_memory(
    saving: BackgroundCheckpointer, monkeypatch: pytest.MonkeyPatch
) -> None:
    release, reserve = threading.Event(), saving._snapshot.reserve
    monkeypatch.setattr(
        saving._snapshot, "reserve", lambda sizes: (release.wait(20), reserve(sizes))
    )
    saving.reserve()
    threading.Timer(0.1, release.set).start()
    saving.save("model_0")
    assert release.is_set()
    saving.wait()
    assert Path(saving.save_dir, "model_0.pth").exists()


@pytest.mark.gpu
def test_a_snapshot_of_a_gpu_is_pinned_and_equal() -> None:
    values = torch.randn(1000, 100, device="cuda")
    copied = Snapshot().take([values, values[3:5].T])
    assert copied[0].is_pinned()
    assert torch.equal(copied[0], values.cpu())
    assert torch.equal(copied[1], values[3:5].T.cpu())
