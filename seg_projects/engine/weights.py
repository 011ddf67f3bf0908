"""The weights that a training starts from, or that an evaluation or a prediction uses."""

from __future__ import annotations

import pickle
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode
from seg_projects.engine.weight_names import rename_for
from seg_projects.errors import UserError

# Where other programs keep the weights among other things.
NESTS = ("model", "state_dict", "model_state_dict", "model_state")
# Parts of a model that hold classifiers.
CLASSIFYING_PARTS = ("roi_heads.", "sem_seg_head.", "auxiliary.")
FEW_NAMES = 4  # are listed in full
# Statistics that follow from others, or from the config.
UNIMPORTANT = re.compile(
    r"num_batches_tracked$|anchor_generator\.cell_anchors|^pixel_(mean|std)$"
    r"|relative_position_index$|attn_mask$"
)


def load_weights(cfg: CfgNode, model: nn.Module, *, replace_classifier: bool = False) -> None:
    """Loads ``MODEL.WEIGHTS`` into ``model``, by whatever names its file has.

    No code of the file is run. One line says what was not in the file and what of it was not used.

    Args:
        cfg: "" for its ``MODEL.WEIGHTS`` loads nothing.
        model: as built from ``cfg``.
        replace_classifier: layers that classify, of another class count in the file, keep their
            random weights.

    Raises:
        UserError: the file cannot be read, fits nothing, or has weights of another shape.
    """
    counts = [cfg.MODEL.ROI_HEADS.NUM_CLASSES, cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES]
    WeightsLoader(model, counts if replace_classifier else ()).load(cfg.MODEL.WEIGHTS)


class WeightsLoader(DetectionCheckpointer):
    """A ``DetectionCheckpointer`` for reading alone; see :func:`load_weights`."""

    def __init__(self, model: nn.Module, replaceable: Sequence[int] = ()) -> None:
        """Takes the class counts of which classifiers may be replaced; none by default."""
        super().__init__(model, save_to_disk=False)
        self.replaceable = {size for k in replaceable for size in (k, k + 1, 4 * k)}
        self._path = ""

    def load(self, path: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Loads ``path``, a file or a URL, as Detectron2 does."""
        self._path = path
        return super().load(path, *args, **kwargs)

    def _load_file(self, f: str) -> dict[str, Any]:
        # Pickles of Detectron2's model zoo, and its matching of names, are its own business.
        if f.endswith(".pkl") or "matching_heuristics" in self._path:
            return super()._load_file(f)
        return {"model": read_weights(f)}

    def _load_model(self, checkpoint: Any) -> Any:
        if checkpoint.get("matching_heuristics", False):
            return super()._load_model(checkpoint)
        self._convert_ndarray_to_tensor(checkpoint["model"])
        naming = rename_for(self.model, checkpoint["model"])
        own = self.model.state_dict()
        if not naming.matches:
            raise UserError(
                f"MODEL.WEIGHTS {self._path} fits no part of the model: it has "
                f"{_some(naming.weights)}; the model has {_some(own)}."
            )
        other_shape = [n for n, w in naming.weights.items() if n in own and w.shape != own[n].shape]
        self._check_shapes(other_shape, naming.weights, own)
        fitting = {n: w for n, w in naming.weights.items() if n not in other_shape}
        checkpoint["model"] = fitting
        super()._load_model(checkpoint)
        self._report(naming.origin, fitting, own, other_shape)
        return None  # nothing more to be said

    def _check_shapes(
        self, names: Sequence[str], weights: Mapping[str, Tensor], own: Mapping[str, Tensor]
    ) -> None:
        """Raises UserError for the first of ``names`` that is not of a replaceable classifier."""
        for name in names:
            ours, theirs = tuple(own[name].shape), tuple(weights[name].shape)
            classifies = name.startswith(CLASSIFYING_PARTS) and ours[1:] == theirs[1:]
            if classifies and ours[0] in self.replaceable:
                continue
            raise UserError(
                f"MODEL.WEIGHTS {self._path} has {name} of the shape {theirs}, the model of "
                f"{ours}: take the config that the weights were trained with"
                + (
                    ", or train with MODEL.REPLACE_CLASSIFIER True for other classes."
                    if classifies
                    else "."
                )
            )

    def _report(
        self,
        origin: str,
        weights: Mapping[str, Tensor],
        own: Mapping[str, Tensor],
        replaced: Sequence[str],
    ) -> None:
        missing = [n for n in own if n not in weights and n not in replaced]
        unused = [n for n in weights if n not in own]
        parts = [
            f"{text}: {_grouped(names)}"
            for text, names in (
                ("classifiers of other classes, which start anew", replaced),
                ("not in the file", missing),
                ("in the file, but not used", unused),
            )
            if any(not UNIMPORTANT.search(name) for name in names)
        ]
        self.logger.info(
            "MODEL.WEIGHTS %s (%s names): %d of %d parameters and buffers loaded%s.",
            self._path,
            origin,
            sum(n in own for n in weights),
            len(own),
            "; ".join(["", *parts]),
        )


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The tensors by name of a ``.safetensors`` file or of one by ``torch.save``.

    Raises:
        UserError: the file holds more than data, no weights, or is damaged.
    """
    path = str(path)
    if path.endswith(".safetensors"):
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise UserError(f"{path} is damaged, or no safetensors file: {error}") from error
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL (\S+)", str(error))
        if asked is None:
            raise UserError(f"{path} is damaged, or no file of weights.") from error
        raise UserError(
            f"{path} is not loaded: reading it could run code, it asks for {asked[1]}. If you "
            "trust it, save its weights alone with the program that wrote it, by "
            "torch.save(model.state_dict(), ...) or as .safetensors."
        ) from error
    except (RuntimeError, EOFError, ValueError) as error:
        raise UserError(f"{path} is damaged, or no file of weights: {error}") from error
    for nest in NESTS:
        if isinstance(content, Mapping) and isinstance(content.get(nest), Mapping):
            content = content[nest]
    weights = dict(content) if isinstance(content, Mapping) else {}
    weights = {str(n): w for n, w in weights.items() if isinstance(w, Tensor)}
    if not weights:
        raise UserError(f"{path} holds no weights: a dict of tensors by name is needed.")
    return weights


def _grouped(names: Iterable[str]) -> str:
    """The names, or where they are many ``a.b (3), c`` for three below ``a.b`` and one ``c``."""
    names = [name for name in names if not UNIMPORTANT.search(name)]
    if len(names) <= FEW_NAMES:
        return ", ".join(names)
    groups = Counter(".".join(name.split(".")[:2]) for name in names)
    return ", ".join(
        f"{group} ({count})" if count > 1 else group for group, count in groups.items()
    )


def _some(names: Iterable[str]) -> str:
    first = [name for _, name in zip(range(3), names, strict=False)]
    return ", ".join(first) + ", ..."
