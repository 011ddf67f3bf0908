"""Files that are read while the model works on the images before them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class ReadAhead(Generic[Key, Value]):
    """Calls ``read``, of the keys that are expected next in threads of its own.

    Those are expected that follow in ``order``, once two requests have followed it: an evaluation
    that goes another way reads nothing in vain. The last few values are kept, since consecutive
    evaluators ask for the same image. What ``read`` raises, the request for its key raises.
    """

    # Two decode faster than one evaluator compares, even if the model costs nothing.
    AHEAD = THREADS = 2
    KEPT = 4

    def __init__(self, read: Callable[[Key], Value], order: Sequence[Key]) -> None:
        """``read`` has to let other threads run, as the decoders of image libraries do."""
        self._read, self._order = read, order
        self._places = {key: place for place, key in enumerate(order)}
        self._kept: OrderedDict[Key, Value] = OrderedDict()
        self._coming: dict[Key, Future[Value]] = {}
        self._last = -1
        # Threads start with the first work that they get.
        self._threads = ThreadPoolExecutor(self.THREADS, thread_name_prefix="read-ahead")

    def __call__(self, key: Key) -> Value:
        """The value of ``key``."""
        if key not in self._kept:
            self._expect(key)
            coming = self._coming.pop(key, None)
            self._kept[key] = self._read(key) if coming is None else coming.result()
            if len(self._kept) > self.KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]

    def _expect(self, key: Key) -> None:
        """Starts to read what follows ``key``, if the requests follow the order."""
        place = self._places.get(key, -1)
        following = self._order[place + 1 : place + 1 + self.AHEAD]
        expected = following if place > 0 and place == self._last + 1 else ()
        for other in self._coming.keys() - {key, *expected}:
            self._coming.pop(other).cancel()
        for other in expected:
            if other not in self._coming and other not in self._kept:
                self._coming[other] = self._threads.submit(self._read, other)
        self._last = place
