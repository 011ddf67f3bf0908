"""Objects that pickle cannot handle, such as lambdas, made fit for worker processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cloudpickle


class PicklableWrapper:
    """Stands for ``obj`` and pickles it with cloudpickle: calls and attributes go to ``obj``.

    Meant for objects that travel between processes of one program; unpickling runs code.
    """

    def __init__(self, obj: Any) -> None:
        # A wrapped wrapper would pickle twice for nothing.
        self._obj: Any = obj._obj if isinstance(obj, PicklableWrapper) else obj

    def __reduce__(self) -> tuple[Callable[[bytes], PicklableWrapper], tuple[bytes]]:
        return _unpickle, (cloudpickle.dumps(self._obj),)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the object."""
        return self._obj(*args, **kwargs)

    def __getattr__(self, attr: str) -> Any:
        """Attribute ``attr`` of the object."""
        if attr == "_obj":  # not set yet: asked for by copy and pickle protocols
            raise AttributeError(attr)
        return getattr(self._obj, attr)


def _unpickle(pickled: bytes) -> PicklableWrapper:
    return PicklableWrapper(cloudpickle.loads(pickled))
