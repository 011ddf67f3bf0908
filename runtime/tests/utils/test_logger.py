"""Loggers: a terminal handler on the first process, a file on each, messages once or rarely."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from detectron2.utils import logger as d2_logger
from detectron2.utils.logger import (
    create_small_table,
    log_every_n,
    log_every_n_seconds,
    log_first_n,
    setup_logger,
)


@pytest.fixture
def fresh_logger() -> Iterator[Callable[..., logging.Logger]]:
    """``setup_logger`` whose handlers are removed afterwards."""
    made: list[logging.Logger] = []

    def make(**kwargs: Any) -> logging.Logger:
        made.append(setup_logger(**kwargs))
        return made[-1]

    yield make
    for logger in made:
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
    setup_logger.cache_clear()


Make = Callable[..., logging.Logger]


def test_messages_go_to_the_terminal_and_the_file(
    tmp_path: Path, fresh_logger: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    fresh_logger(output=str(tmp_path), name="pkg", abbrev_name="p", color=False)
    logging.getLogger("pkg.sub.mod").warning("hello %d", 3)
    assert capsys.readouterr().out.endswith("] p.sub.mod WARNING: hello 3\n")
    assert (tmp_path / "log.txt").read_text().endswith("] p.sub.mod WARNING: hello 3\n")


@pytest.mark.parametrize(("abbrev", "shown"), [(None, "pkg2.mod"), ("", "mod"), ("q", "q.mod")])
def test_the_root_of_the_name_is_abbreviated(
    tmp_path: Path, fresh_logger: Make, abbrev: str | None, shown: str
) -> None:
    path = tmp_path / "sub" / "x.log"
    fresh_logger(output=str(path), name="pkg2", abbrev_name=abbrev, configure_stdout=False)
    logging.getLogger("pkg2.mod").info("x")
    assert path.read_text().endswith(f"] {shown} INFO: x\n")


def test_detectron2_is_shown_as_d2(tmp_path: Path, fresh_logger: Make) -> None:
    path = tmp_path / "x.txt"
    fresh_logger(output=str(path), configure_stdout=False)
    logging.getLogger("detectron2.data").info("x")
    assert path.read_text().endswith("] d2.data INFO: x\n")


def test_other_processes_write_to_files_of_their_own(
    tmp_path: Path, fresh_logger: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    fresh_logger(output=str(tmp_path), distributed_rank=2, name="pkg3").info("x")
    assert capsys.readouterr().out == ""
    assert [p.name for p in tmp_path.iterdir()] == ["log.txt.rank2"]


def test_setting_up_twice_adds_no_handlers(fresh_logger: Make) -> None:
    assert fresh_logger(name="pkg4") is fresh_logger(name="pkg4")
    assert len(logging.getLogger("pkg4").handlers) == 1


def test_warnings_stand_out_in_a_coloured_terminal(
    fresh_logger: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    fresh_logger(name="pkg5").warning("x")
    assert capsys.readouterr().out.startswith("WARNING ")


def test_messages_propagate_only_on_request(
    fresh_logger: Make, caplog: pytest.LogCaptureFixture
) -> None:
    fresh_logger(name="pkg6", configure_stdout=False).warning("quiet")
    fresh_logger(name="pkg7", configure_stdout=False, enable_propagation=True).warning("loud")
    assert [record.message for record in caplog.records] == ["loud"]


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records]


@pytest.mark.parametrize(
    ("key", "expected"),
    [("caller", ["m0"]), ("message", ["m0", "m1"]), (("caller", "message"), ["m0", "m1"])],
)
def test_first_messages_are_told_apart_by_their_key(
    caplog: pytest.LogCaptureFixture, key: str, expected: list[str]
) -> None:
    d2_logger._calls.clear()
    for i in range(4):
        log_first_n(logging.WARNING, f"m{i // 2}", key=key)
    assert messages(caplog) == expected


def test_an_unknown_key_is_refused() -> None:
    with pytest.raises(ValueError, match="key='line'"):
        log_first_n(logging.INFO, "x", key="line")


@pytest.mark.parametrize(("n", "expected"), [(1, 7), (2, 4), (3, 3)])
def test_every_nth_message_is_logged(
    caplog: pytest.LogCaptureFixture, n: int, expected: int
) -> None:
    d2_logger._calls.clear()
    for _ in range(7):
        log_every_n(logging.WARNING, "x", n)
    assert len(messages(caplog)) == expected


def test_messages_are_spaced_in_time(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        log_every_n_seconds(logging.WARNING, "x", 100)
    for _ in range(3):
        log_every_n_seconds(logging.WARNING, "y", 0)
    assert messages(caplog) == ["x", "y", "y", "y"]


def test_messages_carry_the_name_of_the_calling_module(caplog: pytest.LogCaptureFixture) -> None:
    log_first_n(logging.WARNING, "here")
    log_first_n(logging.WARNING, "there", name="other")
    assert [record.name for record in caplog.records] == [__name__, "other"]


def test_a_small_table_has_the_keys_on_top() -> None:
    lines = create_small_table({"AP": 1.23456, "x": 3.0}).splitlines()
    assert [cell.strip() for cell in lines[0].split("|")] == ["", "AP", "x", ""]
    assert [cell.strip() for cell in lines[2].split("|")] == ["", "1.235", "3.000", ""]
