"""Saves and loads models and the state of training.

Loading never runs code from a file: ``.pth`` files are read with ``weights_only=True``, ``.pkl``
files by an unpickler of plain data, ``.safetensors`` files hold nothing but tensors. A file that
needs more is refused, and never tried again in another way.
"""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import ParseResult, parse_qs, urlparse

import torch
import torch.distributed as dist
from fvcore.common.checkpoint import Checkpointer
from torch import nn

from detectron2.utils import comm
from detectron2.utils.atomic import atomic_write
from detectron2.utils.file_io import PathManager
from detectron2.utils.safe_pickle import load_pickle

from .c2_model_loading import align_and_update_state_dicts
from .torchvision_names import convert_torchvision_resnet_names, is_torchvision_resnet

# No longer saved with a model; checkpoints may still hold them, or lack them.
_UNSAVED_BUFFERS = ("pixel_mean", "pixel_std")


class DetectionCheckpointer(Checkpointer):
    """fvcore's ``Checkpointer`` for the formats of Detectron2's model zoo, safe and atomic.

    ``?matching_heuristics=True`` at the end of a path, or the key ``matching_heuristics`` in the
    file, matches parameters by the ends of their names: a backbone's weights fit into a detector.
    """

    def __init__(
        self,
        model: nn.Module,
        save_dir: str = "",
        *,
        save_to_disk: bool | None = None,
        **checkpointables: Any,
    ) -> None:
        """Takes what is saved and where.

        Args:
            model: also a data-parallel wrapper, whose inner model is meant.
            save_dir: folder of the checkpoints; nothing is saved without it.
            save_to_disk: by default, only on the main process.
            **checkpointables: further objects with ``state_dict`` and ``load_state_dict``.
        """
        if save_to_disk is None:
            save_to_disk = comm.is_main_process()
        super().__init__(model, save_dir, save_to_disk=save_to_disk, **checkpointables)
        self.path_manager = PathManager
        self._parsed_url_during_load: ParseResult | None = None

    def load(self, path: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Loads the checkpoint ``path``; see fvcore's ``Checkpointer.load`` for the rest.

        In a run of several processes it is enough that the main one has the file, if only the
        model is loaded.

        Args:
            path: a file or URL; an empty one loads nothing.
            *args: as in fvcore.
            **kwargs: as in fvcore.

        Returns:
            What the file holds beside the model and the checkpointables.
        """
        if not path:
            return super().load(path, *args, **kwargs)
        url = urlparse(path)
        self._parsed_url_during_load = url
        try:
            local_path = self.path_manager.get_local_path(url._replace(query="").geturl())
            return self._load_in_all_processes(local_path, *args, **kwargs)
        finally:
            self._parsed_url_during_load = None

    def _load_in_all_processes(self, path: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        has_file = os.path.isfile(path)
        all_have = comm.all_gather(has_file)
        if all(all_have) or len(all_have) == 1:
            return super().load(path, *args, **kwargs)
        if not all_have[0]:
            raise OSError(f"The checkpoint {path!r} is missing on the main process.")
        wanted = args[0] if args else kwargs.get("checkpointables")
        if self.checkpointables if wanted is None else wanted:
            raise OSError(
                f"The checkpoint {path!r} is not visible to all processes; to resume, "
                "OUTPUT_DIR has to be in a file system that the machines share."
            )
        self.logger.warning("Only some processes can read %s: it is sent to the others.", path)
        extra = super().load(path, *args, **kwargs) if has_file else {}
        for tensor in self.model.state_dict().values():
            dist.broadcast(tensor, src=0)
        return extra

    def save(self, name: str, **kwargs: Any) -> None:
        """Saves the model, the checkpointables and ``kwargs`` as ``<save_dir>/<name>.pth``.

        The file appears under its name when it is complete.

        Args:
            name: the file's name, without folder and extension.
            **kwargs: plain data to save as well.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        basename = f"{name}.pth"
        assert os.path.basename(basename) == basename, f"{name!r} is no plain file name."
        data: dict[str, Any] = {"model": self.model.state_dict()}
        for key, checkpointable in self.checkpointables.items():
            data[key] = checkpointable.state_dict()
        data.update(kwargs)
        path = os.path.join(self.save_dir, basename)
        self.logger.info("Saving checkpoint to %s", path)
        self._write(path, lambda file: torch.save(data, file), "wb")
        self.tag_last_checkpoint(basename)

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Writes the name of the last checkpoint, by which ``resume_or_load`` finds it."""
        path = os.path.join(self.save_dir, "last_checkpoint")
        self._write(path, lambda file: file.write(last_filename_basename), "w")

    def _write(self, path: str, write: Callable[[Any], Any], mode: str) -> None:
        if "://" in path:
            # Stores behind such an address show an object once it has been uploaded.
            with self.path_manager.open(path, mode) as file:
                write(file)
            return
        with atomic_write(path, mode) as file:
            write(file)

    def _load_file(self, f: str) -> dict[str, Any]:
        """Reads a local file into {"model": state dict, ...}."""
        assert self._parsed_url_during_load is not None, "`_load_file` is called inside `load`"
        checkpoint = _read(f)
        if "model" not in checkpoint:
            checkpoint = {"model": checkpoint}
        if not isinstance(checkpoint["model"], dict):
            raise ValueError(
                f"{f!r}: 'model' is a {type(checkpoint['model']).__name__}, not a state dict."
            )
        queries = parse_qs(self._parsed_url_during_load.query)
        if queries.pop("matching_heuristics", ["False"]) == ["True"]:
            checkpoint["matching_heuristics"] = True
        if queries:
            raise ValueError(
                f"Unsupported query {queries} in {self._parsed_url_during_load.geturl()!r}; "
                "'matching_heuristics=True' is supported."
            )
        return checkpoint

    def _load_model(self, checkpoint: Any) -> Any:
        """Loads the weights, and leaves out of the report what needs no attention."""
        if checkpoint.get("matching_heuristics", False):
            self._convert_ndarray_to_tensor(checkpoint["model"])
            checkpoint["model"] = self._match_by_heuristics(
                checkpoint["model"], is_caffe2=checkpoint.get("__author__") == "Caffe2"
            )
        incompatible = super()._load_model(checkpoint)
        own_buffers = dict(self.model.named_buffers(recurse=False))
        for name in _UNSAVED_BUFFERS:
            if name in own_buffers and name in incompatible.missing_keys:
                incompatible.missing_keys.remove(name)
        # Anchors follow from the config; old checkpoints hold them.
        incompatible.unexpected_keys[:] = [
            name
            for name in incompatible.unexpected_keys
            if "anchor_generator.cell_anchors" not in name
        ]
        return incompatible

    def _match_by_heuristics(
        self, weights: dict[str, torch.Tensor], *, is_caffe2: bool
    ) -> dict[str, torch.Tensor]:
        own = self.model.state_dict()
        if is_torchvision_resnet(weights) and not any("layer1." in name for name in own):
            self.logger.info(
                "The weights have torchvision's names of a ResNet; they are renamed. Mind that "
                "such weights want INPUT.FORMAT 'RGB', MODEL.RESNETS.STRIDE_IN_1X1 False and "
                "MODEL.PIXEL_MEAN and PIXEL_STD of that training."
            )
            weights = convert_torchvision_resnet_names(weights)
        return align_and_update_state_dicts(own, weights, c2_conversion=is_caffe2)


def _read(path: str) -> dict[str, Any]:
    """The content of a checkpoint file, by its extension."""
    if path.endswith(".safetensors"):
        from safetensors.torch import load_file

        return {"model": load_file(path)}
    if path.endswith(".pkl"):
        return _read_pickle(path)
    content = _read_torch(path)
    if not isinstance(content, Mapping):
        raise ValueError(f"{path!r} holds a {type(content).__name__}, not a dict of weights.")
    if path.endswith(".pyth") and "model_state" in content:
        return {
            "model": content["model_state"],
            "__author__": "pycls",
            "matching_heuristics": True,
        }
    return dict(content)


def _read_pickle(path: str) -> dict[str, Any]:
    """A ``.pkl`` of the model zoo, or of Caffe2: a dict of arrays, maybe under "blobs"."""
    with PathManager.open(path, "rb") as file:
        content = load_pickle(file, encoding="latin1")
    if not isinstance(content, dict):
        raise ValueError(f"{path!r} holds a {type(content).__name__}, not a dict of weights.")
    if "model" in content and "__author__" in content:
        return content
    blobs = content.get("blobs", content)
    weights = {name: blob for name, blob in blobs.items() if not name.endswith("_momentum")}
    return {"model": weights, "__author__": "Caffe2", "matching_heuristics": True}


def _read_torch(path: str) -> Any:
    """A file of ``torch.save``, if it holds tensors and plain containers only."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        refused = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"it asks for {refused[1]}" if refused else str(error).splitlines()[0]
        raise pickle.UnpicklingError(
            f"{path!r} is not loaded, because loading it could run code: {reason}, and a "
            "checkpoint may hold tensors, numbers, strings, dicts, lists and tuples only. If you "
            "trust the file, convert it with the program that wrote it: save its state dict "
            "alone, by torch.save(model.state_dict(), ...) or as .safetensors."
        ) from error
    except (RuntimeError, EOFError, ValueError) as error:
        raise ValueError(f"{path!r} is damaged, or no checkpoint: {error}") from error
