"""Every annotation tool that can be read, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from seg_projects.data.conversion.annotated import (
    AnnotatedImage,
    ConversionLog,
    ReaderOptions,
    Record,
)
from seg_projects.data.conversion.coco_instances import read_coco_instances
from seg_projects.data.conversion.coco_panoptic import read_coco_panoptic
from seg_projects.data.conversion.cvat import read_cvat
from seg_projects.data.conversion.image_files import read_json, read_names
from seg_projects.data.conversion.labelbox import read_labelbox
from seg_projects.data.conversion.labelme import read_labelme
from seg_projects.data.conversion.mask_folders import (
    read_instance_maps,
    read_label_and_instance_maps,
    read_label_maps,
    read_mask_folders,
    read_voc,
)
from seg_projects.data.conversion.nifti import read_nifti
from seg_projects.data.conversion.supervisely import read_supervisely
from seg_projects.data.conversion.two_channels import read_two_channels
from seg_projects.data.conversion.via import read_via
from seg_projects.data.conversion.yolo import read_yolo
from seg_projects.errors import UserError

Reader = Callable[[Path, ReaderOptions, ConversionLog], Iterator[AnnotatedImage]]

READERS: dict[str, Reader] = {
    "labelme": read_labelme,
    "via": read_via,
    "supervisely": read_supervisely,
    "mask-folders": read_mask_folders,
    "instance-maps": read_instance_maps,
    "label-maps": read_label_maps,
    "label-and-instance-maps": read_label_and_instance_maps,
    "voc": read_voc,
    "nifti": read_nifti,
    "yolo": read_yolo,
    "labelbox": read_labelbox,
    "cvat": read_cvat,
    "coco-instances": read_coco_instances,
    "coco-panoptic": read_coco_panoptic,
    "two-channels": read_two_channels,
}


def known_categories(file: Path) -> list[Record]:
    """``id``, ``name``, ``isthing`` and other fields of a COCO file's categories, or their list.

    The names in a text file, a line each, are stuff with the ids from 1 on.

    Raises:
        UserError: the file lists none.
    """
    if file.suffix == ".txt":
        names = read_names(file).values()
        return [{"id": i, "name": name, "isthing": 0} for i, name in enumerate(names, start=1)]
    content = read_json(file)
    try:
        listed = content if isinstance(content, list) else content["categories"]
        records = [dict(record) for record in listed]
        return [{**record, "id": int(record["id"]), "name": record["name"]} for record in records]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{file} lists no COCO categories: {error!r}.") from error
