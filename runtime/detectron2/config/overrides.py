"""Parses ``key=value`` settings from a command line, as data."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

_KEY = re.compile(r"[^\s=~+,\[\]{}()'\"]+")
_INT = re.compile(r"[+-]?(0|[1-9][0-9]*(_[0-9]+)*)")
_FLOAT = re.compile(r"[+-]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][+-]?[0-9]+)?")
_SPECIAL_FLOAT = re.compile(r"[+-]?(inf|nan)", re.IGNORECASE)
_CONSTANTS: dict[str, Any] = {"null": None, "true": True, "false": False}
_QUOTED = re.compile(r"'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\"", re.DOTALL)
# A string without quotes; ${name}, which OmegaConf resolves, may be a part of it.
_PLAIN = re.compile(r"(?:\$\{[^{}]*\}|[^\[\]{}()'\",])+")
_DICT_KEY = re.compile(r"[^\[\]{}()'\",:\s]+")


class Override(NamedTuple):
    """A setting: the dotted key and its new value."""

    key: str
    value: Any


def parse_override(text: str) -> Override:
    """Parses ``key=value``; ``+`` or ``++`` in front, for keys that may be new, change nothing.

    Values are ``null``, ``true``, ``false``, numbers, ``[lists]``, ``{key: value}`` and strings,
    with quotes where they hold brackets, quotes or commas. Nothing in them is evaluated.

    Raises:
        NotImplementedError: ``~key``, which would delete a key.
        ValueError: The text is not of that form.
    """
    if text.startswith("~"):
        raise NotImplementedError(f"{text!r}: deleting a key is not supported.")
    key, equals, value = text.partition("=")
    key = re.sub(r"^\+{1,2}", "", key.strip())
    if not equals or not _KEY.fullmatch(key):
        raise ValueError(f"{text!r} is not of the form key=value, such as train.max_iter=100.")
    return Override(key, _ValueParser(value, text).parse())


class _ValueParser:
    """A recursive descent over one value."""

    def __init__(self, value: str, override: str) -> None:
        self._text, self._override = value.strip(), override
        self._at = 0

    def parse(self) -> Any:
        if not self._text:
            return ""
        value = self._value()
        if self._at < len(self._text):
            self._fail()
        return value

    def _fail(self) -> NoReturn:
        rest = self._text[self._at :]
        raise ValueError(
            f"{self._override!r}: cannot read the value from {rest!r} on. Write a list as [1,2], "
            "and quote a string that holds brackets, quotes or commas."
        )

    def _value(self) -> Any:
        self._skip_space()
        start = self._text[self._at : self._at + 1]
        if start == "[":
            return self._elements("[", "]", self._value)
        if start == "{":
            return dict(self._elements("{", "}", self._item))
        quoted = _QUOTED.match(self._text, self._at)
        if quoted:
            self._at = quoted.end()
            self._skip_space()
            return re.sub(r"\\(['\"\\])", r"\1", quoted[0][1:-1])
        match = _PLAIN.match(self._text, self._at)
        if match is None:
            self._fail()
        self._at = match.end()
        return _scalar(match[0].strip())

    def _item(self) -> tuple[Any, Any]:
        self._skip_space()
        match = _DICT_KEY.match(self._text, self._at)
        if match is None:
            self._fail()
        self._at = match.end()
        self._expect(":")
        return _scalar(match[0]), self._value()

    def _elements(self, opening: str, closing: str, element: Callable[[], Any]) -> list[Any]:
        self._expect(opening)
        elements: list[Any] = []
        while not self._accept(closing):
            if elements:
                self._expect(",")
            elements.append(element())
        self._skip_space()
        return elements

    def _accept(self, symbol: str) -> bool:
        self._skip_space()
        found = self._text.startswith(symbol, self._at)
        self._at += len(symbol) if found else 0
        return found

    def _expect(self, symbol: str) -> None:
        if not self._accept(symbol):
            self._fail()

    def _skip_space(self) -> None:
        while self._text[self._at : self._at + 1].isspace():
            self._at += 1


def _scalar(text: str) -> Any:
    if text.lower() in _CONSTANTS:
        return _CONSTANTS[text.lower()]
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text) or _SPECIAL_FLOAT.fullmatch(text):
        return float(text)
    return text
