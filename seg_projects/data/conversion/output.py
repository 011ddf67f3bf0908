"""The folder that a conversion writes: images, a JSON, a folder of PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from seg_projects.data.conversion.annotated import AnnotatedImage, Record
from seg_projects.errors import UserError
from seg_projects.files import copy_atomically, remove_stale_files, write_atomically


@dataclass(slots=True)
class OutputFolder:
    """``root/name/`` for the images, ``root/name.json``, ``root/name_masks/`` for the PNG files."""

    root: Path
    name: str
    _mask_names: set[str] = field(default_factory=set)

    @property
    def json_file(self) -> Path:
        """The annotation file."""
        return self.root / f"{self.name}.json"

    @property
    def stems_file(self) -> Path:
        """The names of the images without suffix, a line each, beside label maps."""
        return self.root / f"{self.name}.txt"

    @property
    def classes_file(self) -> Path:
        """The names of the classes, a line each, beside label maps."""
        return self.root / f"{self.name}_classes.txt"

    @property
    def images(self) -> Path:
        """Folder of the images."""
        return self.root / self.name

    @property
    def masks(self) -> Path:
        """Folder of the PNG files."""
        return self.root / f"{self.name}_masks"

    def remove_stale(self) -> None:
        """Removes what a conversion that was killed has left half-written."""
        remove_stale_files(self.root)
        for folder in (self.images, self.masks):
            remove_stale_files(folder, below=True)

    def add_image(self, image: AnnotatedImage, number: int) -> Record:
        """Copies the image, its bytes unchanged; returns its COCO record.

        The record has the id that the source gave it, otherwise ``number``.

        Raises:
            UserError: the image would be written over itself or outside the folder.
        """
        if ".." in PurePosixPath(image.file_name).parts or image.file_name.startswith("/"):
            raise UserError(f"The image name {image.file_name!r} leaves the data set's folder.")
        path = self.images / image.file_name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(image.source, bytes):
            write_atomically(path, image.source)
        elif path.exists() and path.samefile(image.source):
            raise UserError(f"The output {path} is the source itself: choose another --output.")
        else:
            copy_atomically(image.source, path)
        return {
            "id": number if image.image_id is None else image.image_id,
            "file_name": image.file_name,
            "height": image.size[0],
            "width": image.size[1],
        }

    def mask_name(self, image_name: str) -> str:
        """A PNG name for an image, unique also where images differ in their suffix alone."""
        path = PurePosixPath(image_name)
        name = str(path.with_suffix(".png"))
        if name in self._mask_names:
            name = f"{path}.png"
        self._mask_names.add(name)
        return name

    def require_images(self, records: Sequence[Record]) -> None:
        """Raises if nothing was converted, or an image occurs twice.

        Raises:
            UserError: no image could be converted, or two have one name or id.
        """
        if not records:
            raise UserError("No image could be converted.")
        for key in ("id", "file_name"):
            seen = set()
            for record in records:
                if record[key] in seen:
                    raise UserError(f"Two images of the source have the {key} {record[key]!r}.")
                seen.add(record[key])
