"""The interface of augmentations: policies that look at their input and choose a transform."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
from fvcore.transforms.transform import Transform, TransformList

__all__ = [
    "AugInput",
    "Augmentation",
    "AugmentationList",
    "StandardAugInput",
    "TransformGen",
    "apply_augmentations",
    "apply_transform_gens",
]


class Augmentation:
    """Chooses a transform, often at random, and applies it to an :class:`AugInput`.

    A subclass defines ``get_transform``. Its parameters are named after the attributes of the
    input that it needs, such as ``image``, ``boxes``, ``sem_seg``; a single one is the image,
    whatever its name. Random numbers come from
    numpy's global legacy generator, so that ``numpy.random.seed`` makes them reproducible.
    """

    input_args: tuple[str, ...] | None = None

    def get_transform(self, *args: Any) -> Transform:
        """Chooses the transform for an input; changes nothing."""
        raise NotImplementedError(f"{type(self).__name__} defines no get_transform")

    def __call__(self, aug_input: Any) -> Transform:
        """Transforms ``aug_input`` in place and returns the transform that was used."""
        args = self._arguments(aug_input)
        transform = self.get_transform(*args)
        assert isinstance(transform, (Transform, TransformList)), (
            f"{type(self)}.get_transform must return an instance of Transform! "
            f"Got {type(transform)} instead."
        )
        aug_input.transform(transform)
        return transform

    def _arguments(self, aug_input: Any) -> list[Any]:
        """The attributes that ``get_transform`` asks for."""
        if self.input_args is None:
            self.input_args = _parameter_names(self)
        missing = [name for name in self.input_args if not hasattr(aug_input, name)]
        if missing:
            raise AttributeError(
                f"{type(self)}.get_transform needs input attribute {missing[0]!r}, but it is not "
                f"an attribute of {type(aug_input)}!"
            )
        return [getattr(aug_input, name) for name in self.input_args]

    def _init(self, params: dict[str, Any] | None = None) -> None:
        """Stores the constructor's ``locals()`` as attributes: for subclasses of few words."""
        for name, value in (params or {}).items():
            if name != "self" and not name.startswith("_"):
                setattr(self, name, value)

    def _rand_range(
        self, low: float = 1.0, high: float | None = None, size: int | None = None
    ) -> Any:
        """Uniform random numbers in [low, high), or in [0, low) if ``high`` is None."""
        if high is None:
            low, high = 0, low
        return np.random.uniform(low, high, [] if size is None else size)

    def __repr__(self) -> str:
        """The call that makes it, without arguments that are the very default objects."""
        shown = []
        for name, parameter in inspect.signature(self.__init__).parameters.items():  # type: ignore[misc]
            variadic = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
            if variadic or not hasattr(self, name):
                return super().__repr__()
            value = getattr(self, name)
            if value is not parameter.default:
                shown.append(f"{name}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"

    __str__ = __repr__


def _parameter_names(augmentation: Augmentation) -> tuple[str, ...]:
    """Names of the parameters of ``get_transform``; a single one, of any name, is the image."""
    parameters = list(inspect.signature(augmentation.get_transform).parameters.values())
    if len(parameters) == 1:
        return ("image",)
    variadic = [p for p in parameters if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if not variadic:
        return tuple(p.name for p in parameters)
    raise TypeError(
        f"{type(augmentation)}.get_transform has '{variadic[0]}' beside other parameters; name "
        "the attributes of the input that it needs"
    )


class _FixedTransform(Augmentation):
    """A deterministic transform in the place of an augmentation."""

    input_args = ()

    def __init__(self, transform: Transform) -> None:
        self.transform = transform

    def get_transform(self, *args: Any) -> Transform:
        return self.transform

    def __repr__(self) -> str:
        return repr(self.transform)

    __str__ = __repr__


def as_augmentation(item: Augmentation | Transform | Sequence[Any]) -> Augmentation:
    """An augmentation as it is; transforms and lists of both wrapped into one."""
    if isinstance(item, Augmentation):
        return item
    if isinstance(item, Transform):
        return _FixedTransform(item)
    assert isinstance(item, (list, tuple)), f"{item!r} is neither augmentation nor transform"
    return AugmentationList(item)


class AugmentationList(Augmentation):
    """Applies augmentations one after the other; each sees the result of those before it."""

    def __init__(self, augs: Sequence[Augmentation | Transform]) -> None:
        """Takes augmentations, transforms, or lists of them."""
        super().__init__()
        self.augs = [as_augmentation(item) for item in augs]

    def __call__(self, aug_input: Any) -> TransformList:
        """Transforms ``aug_input`` in place and returns the transforms that were used."""
        return TransformList([augmentation(aug_input) for augmentation in self.augs])

    def __repr__(self) -> str:
        return f"AugmentationList[{', '.join(map(str, self.augs))}]"

    __str__ = __repr__


class AugInput:
    """What an augmentation reads and transforms: an image and what belongs to it."""

    def __init__(
        self,
        image: np.ndarray,
        *,
        boxes: np.ndarray | None = None,
        sem_seg: np.ndarray | None = None,
    ) -> None:
        """Stores the parts.

        Args:
            image: (H, W) or (H, W, C); uint8 in [0, 255], or floats.
            boxes: (N, 4) XYXY in pixels.
            sem_seg: (H, W) labels.
        """
        assert isinstance(image, np.ndarray), (
            f"an image is a numpy array, not {type(image).__name__}"
        )
        assert image.ndim in (2, 3), f"an image has 2 or 3 dimensions, not {image.ndim}"
        self.image, self.boxes, self.sem_seg = image, boxes, sem_seg

    def transform(self, tfm: Transform) -> None:
        """Transforms all parts in place."""
        self.image = tfm.apply_image(self.image)
        if self.boxes is not None:
            self.boxes = tfm.apply_box(self.boxes)
        if self.sem_seg is not None:
            self.sem_seg = tfm.apply_segmentation(self.sem_seg)

    def apply_augmentations(
        self, augmentations: Sequence[Augmentation | Transform]
    ) -> TransformList:
        """Applies the augmentations in place and returns the transforms that were used."""
        return AugmentationList(augmentations)(self)


def apply_augmentations(
    augmentations: Sequence[Augmentation | Transform], inputs: Any
) -> tuple[Any, TransformList]:
    """Applies augmentations to an image or an :class:`AugInput`.

    Returns:
        The transformed image (for an array) or the input itself, and the transforms used.
    """
    if isinstance(inputs, np.ndarray):
        aug_input = AugInput(inputs)
        transforms = aug_input.apply_augmentations(augmentations)
        return aug_input.image, transforms
    transforms = inputs.apply_augmentations(augmentations)
    return inputs, transforms


# Names of earlier versions.
apply_transform_gens = apply_augmentations
StandardAugInput = AugInput
TransformGen = Augmentation
