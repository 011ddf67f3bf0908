"""EventStorage and its writers: the recorded run, and the edges around it."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden import Golden, check_json, exception_name

from detectron2.utils.events import (
    CommonMetricPrinter,
    EventStorage,
    EventWriter,
    JSONWriter,
    TensorboardXWriter,
    get_event_storage,
    has_event_storage,
)


def play(golden: Golden, storage: EventStorage, writer: EventWriter) -> None:
    """The recorded run: loss and lr each iteration, the others every fifth."""
    for i, loss in enumerate(golden.input("loss").tolist()):
        storage.put_scalar("loss", loss)
        storage.put_scalar("lr", 0.1 / (i + 1), smoothing_hint=False)
        if i % 5 == 0:
            storage.put_scalars(a=i, b=2 * i, smoothing_hint=False)
            with storage.name_scope("eval"):
                storage.put_scalar("x", i, smoothing_hint=False)
        if (i + 1) % 10 == 0 or i == 24:
            writer.write()
        storage.step()
    writer.close()


@pytest.fixture
def recorded_run(tmp_path: Path) -> tuple[Golden, EventStorage, Path]:
    golden = Golden("events")
    path = tmp_path / "metrics.json"
    with EventStorage(golden.params["start"]) as storage:
        play(golden, storage, JSONWriter(str(path), window_size=20))
    return golden, storage, path


Run = tuple[Golden, EventStorage, Path]


def test_the_lines_are_the_recorded_ones(recorded_run: Run) -> None:
    golden, _, path = recorded_run
    lines = path.read_text().splitlines()
    golden.check_json("lines", [json.loads(line) for line in lines])
    assert all(list(json.loads(line)) == sorted(json.loads(line)) for line in lines)


def test_the_latest_values_are_the_recorded_ones(recorded_run: Run) -> None:
    golden, storage, _ = recorded_run
    golden.check_json("latest", storage.latest())
    golden.check_json("smoothed", storage.latest_with_smoothing_hint(20))


def test_histories_and_misuse_are_as_recorded(recorded_run: Run) -> None:
    golden, storage, _ = recorded_run
    history = storage.history("loss")
    with storage:
        has = has_event_storage()
    got = {
        "iter": storage.iter,
        "avg": history.avg(10),
        "median": history.median(10),
        "global_avg": history.global_avg(),
        "latest": history.latest(),
        "n": len(history.values()),
        "has": has,
        "values0": list(history.values()[0]),
        "hints": storage.smoothing_hints(),
        "hist_missing": exception_name(lambda: storage.history("nope")),
        "hint_conflict": exception_name(
            lambda: storage.put_scalar("loss", 1, smoothing_hint=False)
        ),
        "names": sorted(storage.histories()),
        "outside": exception_name(get_event_storage),
        "has_outside": has_event_storage(),
    }
    check_json("events.facts", got, golden.json("facts"))


def test_the_innermost_storage_is_the_current_one() -> None:
    with EventStorage() as outer:
        with EventStorage(3) as inner:
            assert get_event_storage() is inner
            assert inner.iteration == 3
        assert get_event_storage() is outer


def test_a_storage_is_left_when_the_block_fails() -> None:
    with pytest.raises(ZeroDivisionError), EventStorage():
        raise ZeroDivisionError
    assert not has_event_storage()


def test_a_name_scope_ends_with_its_block() -> None:
    storage = EventStorage()
    with storage.name_scope("a/"):
        storage.put_scalar("x", 1)
    storage.put_scalar("x", torch.tensor(2))
    assert storage.latest() == {"a/x": (1.0, 0), "x": (2.0, 0)}


def test_what_is_no_number_leaves_no_trace() -> None:
    storage = EventStorage()
    with pytest.raises(TypeError):
        storage.put_scalar("x", [1, 2], smoothing_hint=False)
    storage.put_scalar("x", 1)
    assert storage.smoothing_hints() == {"x": True}


def test_samples_are_counted_within_a_window_of_iterations() -> None:
    storage = EventStorage()
    for iteration in range(0, 30, 3):
        storage.put_scalar("x", iteration, cur_iter=iteration)
    # The last is 27: of 9, 12, ..., 27 all are after 27 - 20.
    assert storage.count_samples("x", 20) == 7
    assert storage.count_samples("x", 1) == 1
    assert storage.latest_with_smoothing_hint(20) == {"x": (18.0, 27)}


def test_an_image_belongs_to_its_iteration_until_cleared() -> None:
    storage = EventStorage(7)
    storage.put_image("im", torch.zeros(3, 2, 2))
    assert [image.iteration for image in storage._vis_data] == [7]
    storage.clear_images()
    assert storage._vis_data == []


def test_a_histogram_has_counts_and_upper_limits() -> None:
    storage = EventStorage(7)
    storage.put_histogram("h", torch.arange(10.0), bins=5)
    (histogram,) = storage._histograms
    assert histogram["bucket_counts"] == [2.0] * 5
    assert histogram["bucket_limits"] == pytest.approx([1.8, 3.6, 5.4, 7.2, 9.0])
    assert (histogram["sum"], histogram["sum_squares"], histogram["num"]) == (45.0, 285.0, 10)
    assert histogram["global_step"] == 7
    storage.clear_histograms()
    assert storage._histograms == []


def test_nothing_new_writes_no_line(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    writer = JSONWriter(str(path))
    with EventStorage() as storage:
        writer.write()
        storage.put_scalar("x", 1)
        writer.write()
        writer.write()
    writer.close()
    assert path.read_text() == '{"iteration": 0, "x": 1.0}\n'


def test_lines_are_on_disk_before_the_file_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    writer = JSONWriter(str(path))
    with EventStorage() as storage:
        storage.put_scalar("x", 1)
        writer.write()
    assert path.read_text().endswith("}\n")
    writer.close()


def test_a_resumed_run_starts_on_a_line_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    path.write_text('{"iteration": 0}\n{"iterat')
    writer = JSONWriter(str(path))
    with EventStorage(1) as storage:
        storage.put_scalar("x", 1)
        writer.write()
    writer.close()
    assert path.read_text().splitlines() == [
        '{"iteration": 0}',
        '{"iterat',
        '{"iteration": 1, "x": 1.0}',
    ]


def printed(caplog: pytest.LogCaptureFixture, storage: EventStorage, **kwargs: Any) -> str:
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="detectron2.utils.events"), storage:
        CommonMetricPrinter(**kwargs).write()
    return caplog.text.partition("events.py")[2].partition(" ")[2]


def test_the_printer_shows_what_a_training_needs(caplog: pytest.LogCaptureFixture) -> None:
    storage = EventStorage(9)
    storage.put_scalars(total_loss=3.0, loss_cls=1.0, time=2.0, data_time=0.5, other=9.0)
    storage.put_scalar("lr", 0.01, smoothing_hint=False)
    line = printed(caplog, storage, max_iter=40)
    # 30 iterations are left at 2 seconds each.
    assert line.split("  ")[:4] == [" eta: 0:01:00", "iter: 9", "total_loss: 3", "loss_cls: 1"]
    assert "time: 2.0000  last_time: 2.0000  data_time: 0.5000  last_data_time: 0.5000" in line
    assert "lr: 0.01" in line
    # Peak memory on a CPU too: this process with torch takes more than 50 MiB, and less than 1 TiB.
    assert 50 < int(line.split("max_mem: ")[1].split("M")[0]) < 2**20
    assert storage.latest()["eta_seconds"] == (60.0, 9)


def test_the_printer_does_without_what_is_not_recorded(caplog: pytest.LogCaptureFixture) -> None:
    assert printed(caplog, EventStorage()).rstrip().split("  ")[:2] == [" iter: 0", "lr: N/A"]


def test_the_printer_estimates_the_speed_itself(caplog: pytest.LogCaptureFixture) -> None:
    printer = CommonMetricPrinter(max_iter=1000)
    with EventStorage() as storage, caplog.at_level(logging.INFO, "detectron2.utils.events"):
        printer.write()
        assert "eta" not in caplog.text
        storage.iter = 10
        printer.write()
    assert "eta: 0:00:" in caplog.text


def test_the_printer_is_silent_after_the_last_iteration(caplog: pytest.LogCaptureFixture) -> None:
    assert printed(caplog, EventStorage(40), max_iter=40) == ""


def test_tensorboard_gets_scalars_images_and_histograms(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    writer = TensorboardXWriter(str(tmp_path))
    with EventStorage(4) as storage:
        storage.put_scalar("x", 2.0)
        storage.put_image("im", np.zeros((3, 2, 2), dtype=np.uint8))
        storage.put_histogram("h", torch.arange(4.0), bins=2)
        writer.write()
        writer.write()
        assert storage._vis_data == []
    writer.close()
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("x")] == [(4, 2.0)]
    assert events.Tags()["images"] == ["im"]
    assert events.Tags()["histograms"] == ["h"]


def test_tensorboard_makes_no_file_before_the_first_write(tmp_path: Path) -> None:
    folder = tmp_path / "tb"
    TensorboardXWriter(str(folder)).close()
    assert not folder.exists()


def test_a_writer_says_where_it_writes() -> None:
    with pytest.raises(NotImplementedError):
        EventWriter().write()
