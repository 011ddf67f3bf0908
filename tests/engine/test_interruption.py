"""Signals that ask a training to stop."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tiny_runs import tiny_config, tool_main, write_config
from training_process import training

from detectron2.utils import comm
from seg_projects.engine.interruption import Interruption, StopBeforeEvaluation, Stopped


@pytest.fixture
def interruption() -> Iterator[Interruption]:
    # What a shell script starts with & ignores Ctrl-C, tests too.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    watched = Interruption()
    with watched.watching():
        yield watched
    signal.signal(signal.SIGINT, before)


def _send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_in_an_iteration_waits_for_its_end(
    interruption: Interruption, number: int, status: int, capfd: pytest.CaptureFixture[str]
) -> None:
    hook = StopBeforeEvaluation(interruption)
    hook.before_step()
    _send(number)
    hook.trainer = type("Trainer", (), {"iter": 4})  # type: ignore[assignment]
    with pytest.raises(Stopped) as stopped:
        hook.after_step()
    assert stopped.value.code == status
    assert "saving at the end of this iteration" in capfd.readouterr().err


def test_a_signal_between_iterations_stops_at_once(interruption: Interruption) -> None:
    with pytest.raises(Stopped):
        _send(signal.SIGTERM)


def test_a_second_ctrl_c_stops_at_once(interruption: Interruption) -> None:
    interruption.held = True
    _send(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        _send(signal.SIGINT)


def test_processes_that_load_data_are_left_to_their_training(interruption: Interruption) -> None:
    child = os.fork()
    if child == 0:
        _send(signal.SIGTERM)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def test_an_ignored_signal_remains_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interruption().watching():
            _send(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_signals_do_afterwards_what_they_did_before() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Interruption().watching():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_several_processes_stop_at_the_same_iteration(
    interruption: Interruption, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    monkeypatch.setattr(comm, "all_gather", lambda number: [number, signal.SIGTERM])
    interruption.check()
    interruption.agree(iteration=8)
    with pytest.raises(Stopped):
        interruption.agree(iteration=9)


@pytest.mark.parametrize(("number", "workers"), [(signal.SIGTERM, 1), (signal.SIGINT, 0)])
def test_a_training_saves_stops_and_can_be_resumed(
    number: int, workers: int, tmp_path: Path, tiny_root: Path
) -> None:
    output = tmp_path / "output"
    solver = {"MAX_ITER": 10**6, "CHECKPOINT_PERIOD": 1}
    loader = {"NUM_WORKERS": workers}
    content = tiny_config(tiny_root, output, SOLVER=solver, DATALOADER=loader)
    config = write_config(tmp_path / "tiny.yaml", content)
    with training(config) as process:
        process.send_signal(number)
        assert process.wait(timeout=100) == 128 + number
    told = (tmp_path / "printed.txt").read_text()
    name = (output / "last_checkpoint").read_text()
    last = torch.load(output / name, weights_only=True)["iteration"]
    assert f"Stopped by {signal.Signals(number).name}. Iteration {last} is saved; --resume" in told
    assert "Traceback" not in told
    assert not list(output.glob(".*.tmp"))
    if workers:
        arguments = ["--config-file", str(config), "--resume", "SOLVER.MAX_ITER", str(last + 2)]
        assert tool_main("train_net")(arguments) == 0
        assert torch.load(output / "model_final.pth", weights_only=True)["iteration"] == last + 1
