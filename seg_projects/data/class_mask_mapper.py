"""The mapper of binary masks: from a record with a mask per class to image and planes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from detectron2.config import configurable
from detectron2.data import transforms as T
from seg_projects.data.class_masks import Combinations, read_class_masks
from seg_projects.data.label_maps import IGNORED
from seg_projects.data.semantic_mapper import SemanticMapper
from seg_projects.errors import UserError


class ClassMaskMapper(SemanticMapper):
    """Turns a record of a data set of class masks into a training or test input.

    In training, ``sem_seg`` is (K, H, W) int16: 1 where a pixel has the class, 0 where not, or the
    ignored value.
    """

    labelled_by = "masks of classes"

    @configurable
    def __init__(self, is_train: bool, *, ignore_value: int, **options: Any) -> None:
        """Takes what :class:`SemanticMapper` does.

        Args:
            is_train: as there.
            ignore_value: marks what the model does not learn from; neither 0 nor 1.
            options: as there; the table is one of :func:`mask_table`.
        """
        if ignore_value in (0, 1):
            raise UserError(
                f"MODEL.SEM_SEG_HEAD.IGNORE_VALUE is {ignore_value}, which says whether a pixel is "
                f"of a class: take {IGNORED}."
            )
        super().__init__(is_train, ignore_value=ignore_value, **options)

    def _augmented(self, record: dict[str, Any], image: np.ndarray) -> tuple[np.ndarray, Tensor]:
        found = Combinations.of(read_class_masks(record, self.label_table))
        # Crops that look for a mixture of classes see each combination as a class.
        labels = found.codes + (IGNORED + 1) if self.needs_labels else None
        inputs = T.AugInput(image, sem_seg=labels)
        transforms = self.augmentations(inputs)
        planes = torch.from_numpy(found.planes(transforms.apply_segmentation(found.packed())))
        target = planes.to(torch.int16).masked_fill(planes == IGNORED, self.ignore_value)
        return inputs.image, target
