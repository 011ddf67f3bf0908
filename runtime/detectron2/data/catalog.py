"""The two global tables of data sets: how to load each, and what is known about it."""

from __future__ import annotations

import logging
from collections import UserDict
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

__all__ = ["DatasetCatalog", "Metadata", "MetadataCatalog"]

logger = logging.getLogger(__name__)

Record = dict[str, Any]
Loader = Callable[[], list[Record]]
Names = list[str]


class _DatasetCatalog(UserDict):
    """Maps a data set's name to the function that lists its records.

    The function takes no arguments and returns the same list, in the same order, every time it is
    called; it reads files only then, so that registering a data set is free and needs none of them.
    """

    def register(self, name: str, func: Loader) -> None:
        """Makes ``func`` the loader of the data set ``name``, which must be new."""
        if not callable(func):
            raise AssertionError(
                f"DatasetCatalog.register({name!r}, ...) takes a function that returns the records,"
                f" not a {type(func).__name__}."
            )
        if name in self:
            raise AssertionError(
                f"Dataset {name!r} is already registered. Choose another name, or call"
                f" DatasetCatalog.remove({name!r}) first."
            )
        self[name] = func

    def get(self, name: str) -> list[Record]:  # type: ignore[override]
        """Calls the loader of ``name`` and returns the records."""
        if name not in self:
            raise KeyError(
                f"Dataset {name!r} is not registered. Import the module that registers it first;"
                f" available: {', '.join(self) or 'none'}."
            )
        return self[name]()

    def list(self) -> Names:
        """All registered names, in the order of registration."""
        return [*self]

    def remove(self, name: str) -> None:
        """Forgets ``name``; an unknown name raises KeyError."""
        del self[name]

    def __repr__(self) -> str:
        return f"DatasetCatalog(registered datasets: {', '.join(self)})"

    __str__ = __repr__


_EARLIER_NAMES = {
    "class_names": "thing_classes",
    "dataset_id_to_contiguous_id": "thing_dataset_id_to_contiguous_id",
    "stuff_class_names": "stuff_classes",
}


def _present_name(key: str) -> str:
    """The name that an attribute of the metadata has today."""
    if key not in _EARLIER_NAMES:
        return key
    logger.warning("Metadata %r was renamed to %r.", key, _EARLIER_NAMES[key])
    return _EARLIER_NAMES[key]


class Metadata(SimpleNamespace):
    """What is known about one data set besides its records: class names, colours, id maps, paths.

    An attribute is set once: setting it again is allowed only to an equal value, so that two parts
    of a program cannot disagree silently about, say, the order of the classes.
    """

    name: str = "N/A"

    def __getattr__(self, key: str) -> Any:
        if key in _EARLIER_NAMES:
            return getattr(self, _present_name(key))
        known = f"Available keys are {[*self.__dict__]}" if self.__dict__ else "It has none at all"
        raise AttributeError(
            f"Attribute {key!r} does not exist in the metadata of dataset {self.name!r}. {known}."
        )

    def __setattr__(self, key: str, val: Any) -> None:
        key = _present_name(key)
        if key in self.__dict__ and self.__dict__[key] != val:
            raise AssertionError(
                f"Attribute {key!r} in the metadata of {self.name!r} is {self.__dict__[key]!r} and"
                f" cannot be set to another value, {val!r}."
            )
        super().__setattr__(key, val)

    def as_dict(self) -> dict[str, Any]:
        """A shallow copy of all attributes; changing it does not change the metadata."""
        return dict(self.__dict__)

    def set(self, **kwargs: Any) -> Metadata:
        """Sets several attributes; returns ``self``."""
        for key, value in kwargs.items():
            setattr(self, key, value)
        return self

    def get(self, key: str, default: Any = None) -> Any:
        """Attribute ``key``, or ``default`` where it is missing."""
        return self.__dict__.get(_present_name(key), default)


class _MetadataCatalog(UserDict):
    """Maps a data set's name to its one :class:`Metadata`."""

    def get(self, name: str) -> Metadata:  # type: ignore[override]
        """The metadata of ``name``, created empty at the first call."""
        if not name:
            raise AssertionError("MetadataCatalog.get needs the name of a data set; it got ''.")
        if name not in self:
            self[name] = Metadata(name=name)
        return self[name]

    def list(self) -> Names:
        """All names that have metadata, in the order of their creation."""
        return [*self]

    def remove(self, name: str) -> None:
        """Forgets the metadata of ``name``; an unknown name raises KeyError."""
        del self[name]

    def __repr__(self) -> str:
        return f"MetadataCatalog(registered metadata: {', '.join(self)})"

    __str__ = __repr__


DatasetCatalog = _DatasetCatalog()
MetadataCatalog = _MetadataCatalog()
