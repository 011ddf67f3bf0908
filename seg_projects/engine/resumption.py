"""The checkpoint that ``--resume`` goes on from, and what is told where it cannot be used."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from seg_projects.errors import UserError

LAST = "last_checkpoint"  # beside the checkpoints: a file with the name of the last one


def noted_checkpoint(output_dir: Path) -> Path | None:
    """The file, present or not, that ``last_checkpoint`` in ``output_dir`` names; None without."""
    note = output_dir / LAST
    if not note.is_file():
        return None
    return note.with_name(note.read_text(encoding="utf-8", errors="replace").strip())


def last_checkpoint(output_dir: Path) -> Path | None:
    """The checkpoint to go on from; None where ``output_dir`` names none.

    Raises:
        UserError: the file that it names is gone.
    """
    last = noted_checkpoint(output_dir)
    if last is not None and not last.is_file():
        note = last.with_name(LAST)
        raise UserError(f"{note} names {last.name}, which is not there: {_remedy(last)}.")
    return last


@contextmanager
def explaining_unusable(checkpoint: Path) -> Iterator[None]:
    """Within it, ``checkpoint`` is loaded to go on from.

    Raises:
        UserError: it is damaged, or the optimizer of the config has other parameters.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (pickle.UnpicklingError, EOFError, RuntimeError, ValueError, KeyError) as error:
        told = str(error).partition("\n")[0]
        if "state dict" not in told:  # as an optimizer or a schedule calls what it is given
            raise UserError(
                f"The checkpoint {checkpoint}, which --resume goes on from, is damaged or not a "
                f"checkpoint: {_remedy(checkpoint)}."
            ) from error
        raise UserError(
            f"The checkpoint {checkpoint}, which --resume goes on from, does not fit the config "
            f"({told.rstrip('.')}): take the config of that training, "
            f"{checkpoint.with_name('config.yaml')}, or another OUTPUT_DIR for a new one."
        ) from error


def _remedy(unusable: Path) -> str:
    """What may take the place of a checkpoint."""
    others = [path for path in unusable.parent.glob("model_*.pth") if path != unusable]
    anew = "start anew without --resume"
    if not others:
        return anew
    newest = max(others, key=lambda path: path.stat().st_mtime)
    return f"write {newest.name}, the newest other one, into {unusable.with_name(LAST)}, or {anew}"
