"""Steps that fail because of their batch: not finite, or too large for the memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from seg_projects.engine.random_numbers import restore_for_augmentations, restore_for_model
from seg_projects.errors import UserError

MOST_FILES = 16


class RememberedBatches:
    """The batches of a loader, of which the last one is remembered.

    With a ``random_state``, the first batch is drawn and learnt from as it would have been then.
    """

    def __init__(self, loader: Iterable[list[dict[str, Any]]]) -> None:
        """Wraps ``loader``."""
        self.loader = loader
        self.last: list[dict[str, Any]] = []
        self.random_state: Mapping[str, Any] | None = None

    def __iter__(self) -> Iterator[list[dict[str, Any]]]:
        state, self.random_state = self.random_state, None
        if state is not None:
            restore_for_augmentations(state)
        for batch in self.loader:
            if state is not None:
                # Not before: starting a loader draws numbers, too.
                restore_for_model(state)
                state = None
            self.last = batch
            yield batch


@contextmanager
def explaining_failures(iteration: int, batches: RememberedBatches) -> Iterator[None]:
    """Within it, an iteration runs on the last of ``batches``.

    Raises:
        UserError: a loss was not finite, or the memory did not suffice.
    """
    try:
        yield
    except FloatingPointError as error:
        # The second line may hold the losses; remedies may follow.
        told = " ".join(str(error).splitlines()[:2]).partition(". ")[0]
        raise UserError(
            f"Training diverged at iteration={iteration}: {told}. {_images(batches.last)} Lower "
            "SOLVER.BASE_LR, lengthen SOLVER.WARMUP_ITERS or set SOLVER.CLIP_GRADIENTS.ENABLED to "
            "True; if it is always the same images, look at them with tools/visualize_data.py. "
            "--resume goes on from the last checkpoint."
        ) from error
    except (RuntimeError, MemoryError) as error:
        if not _is_out_of_memory(error):
            raise
        raise UserError(
            f"Out of memory at iteration={iteration}: {str(error).partition(chr(10))[0]} "
            f"{_images(batches.last)} Lower SOLVER.IMS_PER_BATCH, INPUT.MIN_SIZE_TRAIN and "
            "MAX_SIZE_TRAIN, or train on crops (INPUT.CROP); SOLVER.AMP.ENABLED True needs less, "
            "too. --resume goes on from the last checkpoint."
        ) from error


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # torch has no type of its own for it on a CPU.
    return "DefaultCPUAllocator" in str(error)


def _images(batch: Sequence[dict[str, Any]]) -> str:
    """A sentence that names the images of ``batch`` and their sizes."""
    named = []
    for one in batch:
        size = " x ".join(map(str, one["image"].shape[-2:]))
        named.append(f"{one.get('file_name', 'without a name')} ({size})")
    more = f" and {len(named) - MOST_FILES} more" if len(named) > MOST_FILES else ""
    return f"Images of the batch: {', '.join(named[:MOST_FILES])}{more}."
