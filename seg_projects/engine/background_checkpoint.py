"""Checkpoints that training waits for only as long as the copying of its state takes."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from detectron2.checkpoint import DetectionCheckpointer
from seg_projects.engine.resumption import LAST
from seg_projects.errors import UserError
from seg_projects.files import open_atomically, write_atomically

logger = logging.getLogger(__name__)


class BackgroundCheckpointer(DetectionCheckpointer):
    """A ``DetectionCheckpointer`` whose files are written by another thread.

    They hold, byte for byte of each tensor, what a plain one would write, and appear under their
    names when they are complete. A save waits for the one before. The memory of the copy stays,
    since new memory costs more than the copying: from :meth:`reserve` or the first save on, until
    :meth:`finishing` ends.
    """

    def __init__(
        self, model: nn.Module, save_dir: str = "", *, save_to_disk: bool, **checkpointables: Any
    ) -> None:
        """Takes what Detectron2's checkpointer takes."""
        super().__init__(model, save_dir, save_to_disk=save_to_disk, **checkpointables)
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._written: Future[None] | None = None
        self._snapshot = Snapshot()
        self.iteration: int | None = None  # the one that was saved last

    def save(self, name: str, **kwargs: Any) -> None:
        """Starts to write ``<save_dir>/<name>.pth``, with ``kwargs`` beside the state.

        Raises:
            UserError: the checkpoint before this one could not be written.
        """
        if "://" in self.save_dir or not self.save_dir or not self.save_to_disk:
            super().save(name, **kwargs)  # stores at an address have their own ways
            return
        self.wait()
        self.iteration = kwargs.get("iteration")
        path = Path(self.save_dir, f"{name}.pth")
        assert path.name == f"{name}.pth", f"{name!r} is no plain file name."
        content = self._snapshot.take({**self._state(), **kwargs})
        self.logger.info("Saving checkpoint to %s", path)
        self._written = self._writer.submit(_write, path, content)

    def reserve(self) -> None:
        """Starts to take the memory that the next save needs, without waiting for it."""
        if self.save_to_disk:
            self.wait()
            sizes = self._snapshot.sizes(self._state())
            self._written = self._writer.submit(self._snapshot.reserve, sizes)

    def _state(self) -> dict[str, Any]:
        parts = {key: part.state_dict() for key, part in self.checkpointables.items()}
        return {"model": self.model.state_dict(), **parts}

    def wait(self) -> None:
        """Returns when the last checkpoint stands.

        Raises:
            UserError: it could not be written; said once.
        """
        written, self._written = self._written, None
        if written is not None:
            written.result()

    @contextmanager
    def finishing(self) -> Iterator[None]:
        """Waits at the end of what is done within, also if that fails, and frees the copy."""
        try:
            yield
        except BaseException:
            # That is what the caller has to hear of; what failed in writing has been logged.
            with suppress(UserError):
                self.wait()
            raise
        finally:
            try:
                self.wait()
            finally:
                self._snapshot = Snapshot()

    def has_checkpoint(self) -> bool:
        """Is there a last checkpoint?"""
        self.wait()
        return super().has_checkpoint()

    def get_checkpoint_file(self) -> str:
        """The path of the last checkpoint, "" without one."""
        self.wait()
        return super().get_checkpoint_file()

    def load(self, path: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Loads ``path``, as Detectron2 does."""
        self.wait()
        return super().load(path, *args, **kwargs)


def _write(path: Path, content: Mapping[str, Any]) -> None:
    """Writes the file, and its name into ``last_checkpoint`` once it stands."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open_atomically(path) as file:
            torch.save(content, file)
        write_atomically(path.with_name(LAST), path.name.encode())
    except (OSError, RuntimeError) as error:
        # torch fails once more when it closes what it could not write.
        cause = error.__context__ if isinstance(error.__context__, OSError) else error
        message = (
            f"The checkpoint {path} was not written: {cause}. Make room in a folder that can be "
            "written to; --resume then goes on from the checkpoint before."
        )
        logger.error("%s", message)
        raise UserError(message) from cause


class Snapshot:
    """Copies of nested dicts, lists and tuples of tensors on the CPU, in memory used again.

    A copy is good until the next one is taken.
    """

    def __init__(self) -> None:
        """Has no memory yet."""
        self._buffers: list[Tensor] = []

    def take(self, content: Any) -> Any:
        """The copy of ``content``; tensors that share memory there do so in the copy."""
        copied: dict[int, Tensor] = {}
        for place, (key, whole) in enumerate(_storages(content).items()):
            buffer = self._buffer(place, len(whole), pinned=whole.is_cuda)
            copied[key] = buffer.copy_(whole, non_blocking=True)
        if any(buffer.is_pinned() for buffer in self._buffers):
            torch.cuda.synchronize()
        return _rebuilt(content, copied)

    @staticmethod
    def sizes(content: Any) -> list[tuple[int, bool]]:
        """What :meth:`reserve` has to know of ``content``."""
        return [(len(whole), whole.is_cuda) for whole in _storages(content).values()]

    def reserve(self, sizes: Sequence[tuple[int, bool]]) -> None:
        """Takes the memory of a copy, so that the next :meth:`take` only copies.

        Args:
            sizes: bytes of each buffer, and whether it is to be pinned.
        """
        for place, (size, pinned) in enumerate(sizes):
            self._buffer(place, size, pinned=pinned).zero_()  # pages exist once they are written

    def _buffer(self, place: int, size: int, *, pinned: bool) -> Tensor:
        """Memory of ``size`` bytes, pinned for what is on a GPU."""
        if place == len(self._buffers):
            self._buffers.append(torch.empty(0, dtype=torch.uint8))
        buffer = self._buffers[place]
        if len(buffer) != size or (size > 0 and buffer.is_pinned() != pinned):
            buffer = torch.empty(size, dtype=torch.uint8, pin_memory=pinned)
            self._buffers[place] = buffer
        return buffer


def _is_plain(value: Any) -> bool:
    return type(value) is Tensor and value.layout == torch.strided


def _storages(content: Any) -> dict[int, Tensor]:
    """The memory in which the tensors of ``content`` lie, each once, as bytes."""
    found: dict[int, Tensor] = {}

    def visit(value: Any) -> None:
        if _is_plain(value):
            storage = value.untyped_storage()
            if storage._cdata not in found:
                whole = torch.empty(0, dtype=torch.uint8, device=value.device)
                found[storage._cdata] = whole.set_(storage)
        elif isinstance(value, dict):
            for item in value.values():
                visit(item)
        elif type(value) in (list, tuple):
            for item in value:
                visit(item)

    visit(content)
    return found


def _rebuilt(value: Any, copied: Mapping[int, Tensor]) -> Any:
    """``value`` with its tensors in the memory that has been ``copied``."""
    if _is_plain(value):
        buffer = copied[value.untyped_storage()._cdata]
        view = torch.empty(0, dtype=value.dtype)
        where = (value.storage_offset(), value.size(), value.stride())
        return view.set_(buffer.untyped_storage(), *where)
    if isinstance(value, dict):
        result = copy.copy(value)  # keeps the type, and the versions that a state dict has
        for key, item in value.items():
            result[key] = _rebuilt(item, copied)
        return result
    if type(value) in (list, tuple):
        return type(value)(_rebuilt(item, copied) for item in value)
    return copy.deepcopy(value)
