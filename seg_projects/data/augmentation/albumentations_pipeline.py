"""Pipelines of the albumentations library, described as data: no code comes from a config.

Their random numbers come from a seed that Detectron2's generator draws, so that one seed governs
all augmentations, and the same pipeline moves image, labels and coordinates by itself.
"""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from fvcore.transforms.transform import Transform

from detectron2.data import transforms as T
from seg_projects.data.augmentation.geometry import VOID
from seg_projects.data.panoptic_ids import ids_from_rgb, rgb_from_ids

# Those that take other transforms.
COMPOSITIONS = ("Compose", "Sequential", "OneOf", "SomeOf", "RandomOrder")
# Those that need nothing but the image, keep its type, and move labels and coordinates alike (which
# version 2.0.8 of GridDistortion and ThinPlateSpline does not), in a time that a training can wait
# (PiecewiseAffine takes seconds for a photograph).
TRANSFORMS = (
    *("AdditiveNoise", "AdvancedBlur", "Affine", "AutoContrast", "Blur", "CLAHE", "CenterCrop"),
    *("ChannelDropout", "ChannelShuffle", "ChromaticAberration", "CoarseDropout", "ColorJitter"),
    *("Crop", "CropAndPad", "D4", "Defocus", "Downscale", "ElasticTransform", "Emboss", "Equalize"),
    *("Erasing", "FancyPCA", "GaussNoise", "GaussianBlur", "GlassBlur", "GridDropout"),
    *("HEStain", "HorizontalFlip", "HueSaturationValue", "ISONoise"),
    *("Illumination", "ImageCompression", "InvertImg", "LongestMaxSize", "MedianBlur"),
    *("MotionBlur", "MultiplicativeNoise", "NoOp", "OpticalDistortion", "Pad", "PadIfNeeded"),
    *("Perspective", "PixelDropout", "PlanckianJitter"),
    *("PlasmaBrightnessContrast", "PlasmaShadow", "Posterize", "RGBShift"),
    *("RandomBrightnessContrast", "RandomCrop", "RandomCropFromBorders", "RandomFog"),
    *("RandomGamma", "RandomGravel", "RandomRain", "RandomResizedCrop", "RandomRotate90"),
    *("RandomScale", "RandomShadow", "RandomSizedCrop", "RandomSnow", "RandomSunFlare"),
    *("RandomToneCurve", "Resize", "RingingOvershoot", "Rotate", "SafeRotate", "SaltAndPepper"),
    *("Sharpen", "ShiftScaleRotate", "ShotNoise", "SmallestMaxSize", "Solarize", "Spatter"),
    *("SquareSymmetry", "Superpixels", "ToGray", "ToSepia", "Transpose"),
    *("UnsharpMask", "VerticalFlip", "ZoomBlur"),
)
# What albumentations writes beside the arguments of a transform.
_NO_ARGUMENTS = ("__class_fullname__", "transforms")
_OF_COMPOSE = ("bbox_params", "keypoint_params", "additional_targets", "is_check_shapes", "seed")


class AlbumentationsTransform(Transform):
    """One run of a pipeline: the same for everything that belongs to an image."""

    def __init__(self, pipeline: Any, image: np.ndarray, seed: int) -> None:
        """Takes an ``A.Compose`` with keypoints as (x, y), and what it is first run on."""
        super().__init__()
        self.pipeline, self.image, self.seed = pipeline, image, seed

    def _run(self, image: np.ndarray, **targets: np.ndarray) -> dict[str, np.ndarray]:
        # Drawn anew from the same seed for the same image, so that all draws are the same.
        self.pipeline.set_random_seed(self.seed)
        return self.pipeline(image=np.ascontiguousarray(image), **targets)

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """The changed pixels, of the same type and number of dimensions."""
        if img.dtype == np.uint8:
            result = self._run(img)["image"]
        else:
            # The library's floats are in [0, 1].
            white = np.float32(65535 if img.dtype == np.uint16 else 255)
            result = self._run(img.astype(np.float32) / white)["image"].clip(0, 1) * white
            result = (result if img.dtype.kind == "f" else result.round()).astype(img.dtype)
        return result.reshape(*result.shape[:2], *img.shape[2:])

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """The labels that are nearest, ``VOID`` where nothing was."""
        if segmentation.dtype != np.uint8:
            # OpenCV knows bytes: three of them hold any label.
            moved = ids_from_rgb(self.apply_segmentation(rgb_from_ids(segmentation)))
            moved[moved == 2**24 - 1] = VOID
            return moved.astype(segmentation.dtype)
        return self._run(self._first_image(), mask=np.ascontiguousarray(segmentation))["mask"]

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """The moved (N, 2) coordinates; the library has (0, 0) at the centre of the first pixel."""
        run = self._run(self._first_image(), keypoints=coords - 0.5)
        return np.asarray(run["keypoints"], dtype=np.float64).reshape(-1, 2) + 0.5

    def _first_image(self) -> np.ndarray:
        image = self.image
        if image.dtype == np.uint8:
            return image
        return image.astype(np.float32) / (65535 if image.dtype == np.uint16 else 255)


class Albumentations(T.Augmentation):
    """A pipeline of albumentations as one augmentation."""

    def __init__(self, *, transforms: Sequence[Any] | None = None, file: str | None = None) -> None:
        """Builds the pipeline from one of the two.

        Args:
            transforms: each ``[name, {argument: value}]``; of ``OneOf`` and other compositions the
                argument ``transforms`` is such a list again.
            file: what ``albumentations.save`` wrote, JSON or YAML.

        Raises:
            ValueError: both or none is given, the library is missing, or something in them is
                unknown or refused.
        """
        super().__init__()
        if (transforms is None) == (file is None):
            raise ValueError("give transforms, or the file of a pipeline.")
        self.file, self.transforms = file, transforms
        items = list(transforms or ()) if file is None else [_read_file(Path(file))]
        library = _library()
        self.pipeline = library.Compose(
            # Without one that knows coordinates, the library would warn that they stay.
            [*(_build(library, item) for item in items), library.NoOp()],
            keypoint_params=library.KeypointParams(format="xy", remove_invisible=False),
        )

    def get_transform(self, image: np.ndarray) -> Transform:
        """One run, of a random seed."""
        return AlbumentationsTransform(self.pipeline, image, int(self._rand_range(2**31)))


def _library() -> Any:
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # no look for news in the network
    try:
        import albumentations
    except ImportError as error:
        raise ValueError(f"it needs `pip install albumentations` ({error}).") from error
    return albumentations


def _read_file(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ValueError(f"the file {path} cannot be read: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("transform"), dict):
        raise ValueError(f"the file {path} was not written by albumentations.save.")
    return content["transform"]


def _build(library: Any, item: Any) -> Any:
    """The transform of one item of a list, or of a node of a file."""
    if isinstance(item, dict) and "__class_fullname__" in item:
        name = str(item["__class_fullname__"]).rpartition(".")[2]
        inner = item.get("transforms")
        unused = _NO_ARGUMENTS + (_OF_COMPOSE if name in COMPOSITIONS else ())
        arguments = {key: value for key, value in item.items() if key not in unused}
    else:
        name, arguments = _parse_item(item)
        inner = arguments.pop("transforms", None)
    if name not in TRANSFORMS + COMPOSITIONS or not hasattr(library, name):
        raise ValueError(f"{name!r} is none of the transforms that can be used here.")
    make = getattr(library, name)
    known = inspect.signature(make).parameters
    if unknown := sorted(set(arguments) - set(known)):
        raise ValueError(f"{name} has no argument {unknown[0]!r}; it knows {', '.join(known)}.")
    if name in COMPOSITIONS:
        return make([_build(library, one) for one in inner or ()], **arguments)
    if "fill_mask" in known and known["fill_mask"].default is not None:
        # Where the library would say class 0, there is nothing.
        arguments = arguments | {"fill_mask": VOID}
    return make(**{key: _as_tuples(value) for key, value in arguments.items()})


def _parse_item(item: Any) -> tuple[str, dict[str, Any]]:
    if isinstance(item, str):
        return item, {}
    pair = list(item) if isinstance(item, list | tuple) else []
    if len(pair) == 1:
        pair.append({})
    if len(pair) != 2 or not isinstance(pair[0], str) or not isinstance(pair[1], dict):
        raise ValueError(f"{item!r} is no [name, {{argument: value}}].")
    return pair[0], dict(pair[1])


def _as_tuples(value: Any) -> Any:
    """YAML's lists as the tuples that the library's checks want."""
    return tuple(_as_tuples(v) for v in value) if isinstance(value, list) else value
