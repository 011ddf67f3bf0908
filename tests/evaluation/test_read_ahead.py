"""Reading what is expected next while the caller works."""

from __future__ import annotations

import threading

import pytest

from seg_projects.errors import UserError
from seg_projects.evaluation.read_ahead import ReadAhead


class _Reader:
    """Squares numbers and remembers in which thread."""

    def __init__(self) -> None:
        self.threads: dict[int, str] = {}
        self.events = {key: threading.Event() for key in range(10)}

    def __call__(self, key: int) -> int:
        if key == 7:
            raise UserError("7 is missing.")
        self.threads[key] = threading.current_thread().name
        self.events[key].set()
        return key**2

    def ahead(self) -> list[int]:
        return sorted(key for key, name in self.threads.items() if name != "MainThread")


def test_what_follows_is_read_in_another_thread() -> None:
    reader = _Reader()
    read = ReadAhead(reader, range(6))
    assert [read(0), read(1)] == [0, 1]
    assert reader.events[2].wait(10)
    assert reader.events[3].wait(10)
    assert not reader.events[4].is_set()
    assert [read(key) for key in range(2, 6)] == [4, 9, 16, 25]
    assert reader.ahead() == [2, 3, 4, 5]


@pytest.mark.parametrize("keys", [[0], [3, 1, 4, 0, 2], [5, 4, 3, 2, 1, 0], [0, 2, 4]])
def test_nothing_is_read_in_vain_where_requests_follow_no_order(keys: list[int]) -> None:
    reader = _Reader()
    read = ReadAhead(reader, range(6))
    assert [read(key) for key in keys] == [key**2 for key in keys]
    assert (reader.ahead(), sorted(reader.threads)) == ([], sorted(keys))


def test_a_part_of_the_order_is_followed_too() -> None:
    reader = _Reader()
    read = ReadAhead(reader, range(6))
    assert [read(3), read(4), read(5)] == [9, 16, 25]
    assert reader.ahead() == [5]


def test_the_last_values_are_kept() -> None:
    reader = _Reader()
    read = ReadAhead(reader, range(10))
    for key in (9, 5, 3, 1):
        read(key)
    reader.threads.clear()
    assert [read(9), read(5), read(9)] == [81, 25, 81]
    assert not reader.threads
    assert (read(0), read(3), list(reader.threads)) == (0, 9, [0, 3])


def test_an_error_is_that_of_its_own_request() -> None:
    read = ReadAhead(_Reader(), range(10))
    assert [read(4), read(5), read(6)] == [16, 25, 36]
    with pytest.raises(UserError, match="7 is missing"):
        read(7)
    assert read(8) == 64


def test_unknown_keys_are_read_as_they_come() -> None:
    reader = _Reader()
    read: ReadAhead[int, int] = ReadAhead(reader, [])
    assert [read(1), read(2)] == [1, 4]
    assert reader.ahead() == []
