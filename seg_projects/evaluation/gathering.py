"""State per image, put together once from all processes."""

from __future__ import annotations

from typing import TypeVar

from detectron2.utils import comm

State = TypeVar("State")


def gather_by_image(states: dict[int, State]) -> dict[int, State] | None:
    """The states of all processes in the order of image ids; None on all but the first.

    An image that several processes have seen, such as one that pads an uneven data set, is there
    once. Sums over the result are equal to the last digit however images were dealt out.
    """
    gathered = comm.gather(states)
    if not comm.is_main_process():
        return None
    merged = {image: state for part in gathered for image, state in part.items()}
    return dict(sorted(merged.items()))
