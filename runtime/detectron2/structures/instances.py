"""The instances of one image: fields of equal length under free names."""

from __future__ import annotations

from itertools import chain
from typing import Any, NoReturn

import torch
from torch import Tensor


class Instances:
    """Fields that describe the same N instances of one image, such as boxes, masks and scores.

    A field is an attribute: ``instances.scores = scores`` sets it, ``instances.scores`` reads it.
    A value needs ``len()``; selecting instances needs its ``__getitem__``. Names that begin with
    an underscore are plain attributes that stay with this object alone.
    """

    def __init__(self, image_size: tuple[int, int], **kwargs: Any) -> None:
        """``image_size`` is (height, width) in pixels; the keywords are the first fields."""
        self._image_size = image_size
        self._fields: dict[str, Any] = {}
        for name, value in kwargs.items():
            self.set(name, value)

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self._image_size

    def __setattr__(self, name: str, val: Any) -> None:
        """Sets the field ``name``, or a plain attribute for a leading underscore."""
        if name.startswith("_"):
            super().__setattr__(name, val)
        else:
            self.set(name, val)

    def __getattr__(self, name: str) -> Any:
        """The field ``name``."""
        # While unpickled or copied, an object has no _fields yet: ask for them without recursion.
        fields = self.__dict__.get("_fields", {})
        if name not in fields:
            raise AttributeError(f"Instances have no field {name!r}; they have {list(fields)}.")
        return fields[name]

    def set(self, name: str, value: Any) -> None:
        """Sets the field ``name`` to a value as long as the other fields."""
        if self._fields:
            assert len(value) == len(self), (
                f"the field {name!r} has {len(value)} entries for {len(self)} instances."
            )
        else:
            len(value)  # A first field without a length fails here, not at its first use.
        self._fields[name] = value

    def has(self, name: str) -> bool:
        """Whether there is a field ``name``."""
        return name in self._fields

    def remove(self, name: str) -> None:
        """Deletes the field ``name``."""
        del self._fields[name]

    def get(self, name: str) -> Any:
        """The field ``name``."""
        return self._fields[name]

    def get_fields(self) -> dict[str, Any]:
        """The fields by name: the live dict, not a copy."""
        return self._fields

    def to(self, *args: Any, **kwargs: Any) -> Instances:
        """New instances whose fields went through their own ``to``, where they have one."""
        moved = {
            name: value.to(*args, **kwargs) if hasattr(value, "to") else value
            for name, value in self._fields.items()
        }
        return Instances(self._image_size, **moved)

    def __getitem__(self, item: int | slice | torch.BoolTensor) -> Instances:
        """The instances at an int (as one instance), slice, bool mask or index tensor."""
        if isinstance(item, int):
            count = len(self)
            if not -count <= item < count:
                raise IndexError(f"Instances index {item} is out of range for {count} instances.")
            # A slice keeps the dimension, and lists stay lists.
            item = slice(item, None, count)
        selected = Instances(self._image_size)
        for name, value in self._fields.items():
            selected.set(name, value[item])
        return selected

    def __len__(self) -> int:
        """The number of instances, unknown without any field."""
        for value in self._fields.values():
            return len(value)
        raise NotImplementedError("Instances without fields have no length; set a field first.")

    def __iter__(self) -> NoReturn:
        """Instances are no sequence of objects: index them."""
        raise NotImplementedError("Instances are not iterable; use instances[i].")

    @staticmethod
    def cat(instance_lists: list[Instances]) -> Instances:
        """All instances of a list of one image's, field by field; a list of one gives it back."""
        assert instance_lists, "Instances.cat needs at least one Instances."
        assert all(isinstance(part, Instances) for part in instance_lists), (
            f"Instances.cat joins Instances, not {[type(p).__name__ for p in instance_lists]}."
        )
        first = instance_lists[0]
        if len(instance_lists) == 1:
            return first
        sizes = [part.image_size for part in instance_lists]
        assert all(size == first.image_size for size in sizes), (
            f"Instances of several image sizes do not join: {sizes}"
        )
        joined = Instances(first.image_size)
        for name in first.get_fields():
            joined.set(name, _cat_field(name, [part.get(name) for part in instance_lists]))
        return joined

    def __str__(self) -> str:
        """Size and fields in one line."""
        height, width = self._image_size
        count = len(self) if self._fields else 0
        fields = ", ".join(f"{name}: {value}" for name, value in self._fields.items())
        return (
            f"Instances(num_instances={count}, image_height={height}, image_width={width}, "
            f"fields=[{fields}])"
        )

    __repr__ = __str__


def _cat_field(name: str, values: list[Any]) -> Any:
    first = values[0]
    if isinstance(first, Tensor):
        return torch.cat(values, dim=0)
    if isinstance(first, list):
        return list(chain.from_iterable(values))
    if hasattr(type(first), "cat"):
        return type(first).cat(values)
    raise ValueError(
        f"the field {name!r} is a {type(first).__name__}; tensors, lists and types with a static "
        "`cat` can be joined."
    )
