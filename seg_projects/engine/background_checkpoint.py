"""Checkpoints that training waits for only as long as the copying of its state takes."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from detectron2.checkpoint import DetectionCheckpointer
from seg_projects.errors import UserError
from seg_projects.files import open_atomically, write_atomically

logger = logging.getLogger(__name__)


class BackgroundCheckpointer(DetectionCheckpointer):
    """A ``DetectionCheckpointer`` whose files are written by another thread.

    They hold, byte for byte of each tensor, what a plain one would write, and appear under their
    names when they are complete. A save waits for the one before. The copy of the state stays in
    the host's memory until :meth:`finishing` ends, since new memory costs more than the copying.
    """

    def __init__(
        self, model: nn.Module, save_dir: str = "", *, save_to_disk: bool, **checkpointables: Any
    ) -> None:
        """Takes what Detectron2's checkpointer takes."""
        super().__init__(model, save_dir, save_to_disk=save_to_disk, **checkpointables)
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._written: Future[None] | None = None
        self._snapshot = Snapshot()

    def save(self, name: str, **kwargs: Any) -> None:
        """Starts to write ``<save_dir>/<name>.pth``, with ``kwargs`` beside the state.

        Raises:
            UserError: the checkpoint before this one could not be written.
        """
        if "://" in self.save_dir or not self.save_dir or not self.save_to_disk:
            super().save(name, **kwargs)  # stores at an address have their own ways
            return
        self.wait()
        path = Path(self.save_dir, f"{name}.pth")
        assert path.name == f"{name}.pth", f"{name!r} is no plain file name."
        state = {key: part.state_dict() for key, part in self.checkpointables.items()}
        content = self._snapshot.take({"model": self.model.state_dict(), **state, **kwargs})
        self.logger.info("Saving checkpoint to %s", path)
        self._written = self._writer.submit(_write, path, content)

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
        write_atomically(path.with_name("last_checkpoint"), path.name.encode())
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
        result = self._copy(content, copied)
        if any(buffer.is_pinned() for buffer in self._buffers):
            torch.cuda.synchronize()
        return result

    def _copy(self, value: Any, copied: dict[int, Tensor]) -> Any:
        if type(value) is Tensor and value.layout == torch.strided:
            buffer = self._copied_storage(value, copied)
            view = torch.empty(0, dtype=value.dtype)
            where = (value.storage_offset(), value.size(), value.stride())
            return view.set_(buffer.untyped_storage(), *where)
        if isinstance(value, dict):
            result = copy.copy(value)  # keeps the type, and the versions that a state dict has
            for key, item in value.items():
                result[key] = self._copy(item, copied)
            return result
        if type(value) in (list, tuple):
            return type(value)(self._copy(item, copied) for item in value)
        return copy.deepcopy(value)

    def _copied_storage(self, tensor: Tensor, copied: dict[int, Tensor]) -> Tensor:
        """All bytes that ``tensor`` lies in, as it may be a part of them."""
        storage = tensor.untyped_storage()
        if storage._cdata not in copied:
            whole = torch.empty(0, dtype=torch.uint8, device=tensor.device).set_(storage)
            buffer = self._buffer(len(copied), whole)
            copied[storage._cdata] = buffer.copy_(whole, non_blocking=True)
        return copied[storage._cdata]

    def _buffer(self, place: int, like: Tensor) -> Tensor:
        """Memory for the bytes ``like``, pinned where they are on a GPU."""
        if place == len(self._buffers):
            self._buffers.append(torch.empty(0, dtype=torch.uint8))
        buffer = self._buffers[place]
        if len(buffer) != len(like) or (len(like) > 0 and buffer.is_pinned() != like.is_cuda):
            buffer = torch.empty(len(like), dtype=torch.uint8, pin_memory=like.is_cuda)
            self._buffers[place] = buffer
        return buffer
