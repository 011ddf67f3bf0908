"""The name of Detectron2's module of rotated proposals, which this package does not offer."""

from __future__ import annotations

from typing import NoReturn


def __getattr__(name: str) -> NoReturn:
    raise AttributeError(
        f"{__name__}.{name}: rotated boxes are not offered; docs/compatibility.md lists what is."
    )
