# SPDX-License-Identifier: Apache-2.0
"""From keyword arguments to a command line. The functions in functions/ are signatures; their bodies call this."""

from __future__ import annotations

import numbers
import os
from typing import Any, Iterable, List, Mapping, Sequence, Union

from ._report import Report, Text
from ._run import run

StrPath = Union[str, os.PathLike[str]]
# Options that can be given several times. A single value is a list of one; a mapping is made of KEY=VALUE.
Strings = Union[str, Iterable[str]]
Paths = Union[StrPath, Iterable[StrPath]]
Integers = Union[int, Iterable[int]]
Pairs = Union[str, Iterable[str], Mapping[str, object]]


class Command:
    """What the arguments of one function are. Each word is the name of a parameter, and those that are not listed are
    options with one value.

    operands  in the order of the command line
    flags     options without a value
    switches  flags with an opposite, --NAME and --no-NAME
    maybe     options that may have a value: True, or the value
    lists     options that can be repeated
    files     options with paths
    views     options that print text, not a document
    several   options without which a document is about one operand
    fixed     options that the function always gives
    """

    def __init__(
        self,
        program: str,
        function: str,
        *,
        operands: str,
        flags: str = "",
        switches: str = "",
        maybe: str = "",
        lists: str = "",
        files: str = "",
        views: str = "",
        several: str = "",
        fixed: str = "",
    ) -> None:
        self._program = program
        self._function = function
        self._operands = operands.split()
        self._flags = flags.split()
        self._switches = switches.split()
        self._maybe = maybe.split()
        self._lists = lists.split()
        self._files = files.split()
        self._views = views.split()
        self._several = several.split()
        self._fixed = fixed.split()

    def report(self, given: Mapping[str, Any]) -> Report:
        """Runs the program and returns its document, or in the views without one its text. `given`: the parameters."""
        as_json = not self._any(self._views, given)
        count = len(given[self._operands[0]]) if self._several else 1
        if as_json and count > 1 and not self._any(self._several, given):
            raise TypeError(
                f"{self._function}() returns one document, so it takes one of the {self._operands[0]}, not {count}: "
                f"call it for each; only with {' or '.join(self._several)} it takes more"
            )
        return run(self._program, ["--json"] * as_json + self.arguments(given), as_json)

    def text(self, given: Mapping[str, Any]) -> Text:
        """Runs the program and returns what it prints, or the card that it wrote."""
        report = run(self._program, self.arguments(given), as_json=False)
        text = report.text
        if given.get("in_place"):
            path = os.path.join(os.fsdecode(given["folder"]), "README.md")
            with open(path, encoding="utf-8", errors="surrogateescape", newline="") as card:
                text = card.read()
        return Text(text, report.exit_code, report.messages)

    @staticmethod
    def _any(names: Iterable[str], given: Mapping[str, Any]) -> bool:
        return any(given[name] not in (None, False) for name in names)

    def arguments(self, given: Mapping[str, Any]) -> List[str]:
        """The arguments of the command line. Raises TypeError and ValueError, as functions do."""
        options: List[str] = list(self._fixed)
        for name, value in given.items():
            if name not in self._operands:
                options += self._option(name, value)
        operands: List[str] = []
        for name in self._operands:
            values = given[name] if isinstance(given[name], tuple) else (given[name],)
            operands += [self._operand(name, value) for value in values if value is not None]
        return [*options, "--", *operands]

    def _operand(self, name: str, value: Any) -> str:
        if not isinstance(value, (str, bytes, os.PathLike)):
            raise self._type_error(name, "a path", value)
        return self._path(name, value)

    def _option(self, name: str, value: Any) -> List[str]:
        option = "--" + name.rstrip("_").replace("_", "-")
        if value is None:
            return []
        if name in self._switches:
            self._require_bool(name, value)
            return [option if value else "--no-" + option[2:]]
        if name in self._flags:
            self._require_bool(name, value)
            return [option] * int(value)  # verbose=2 is --verbose twice
        if value is False:
            return []
        if name in self._lists:
            return [word for each in self._items(name, value) for word in self._pair(option, name, each)]
        if value is True and name in self._maybe:
            return [option]
        return self._pair(option, name, value)

    def _pair(self, option: str, name: str, value: Any) -> List[str]:
        """An option and its value, which may begin with a dash."""
        text = self._path(name, value) if name in self._files else self._text(name, value)
        return [f"{option}={text}"] if text else [option, text]

    def _items(self, name: str, value: Any) -> Sequence[Any]:
        if isinstance(value, (str, bytes, os.PathLike, numbers.Number)):
            return [value]
        if isinstance(value, Mapping):
            return [f"{key}={'' if each is None else self._text(name, each)}" for key, each in value.items()]
        try:
            return list(value)
        except TypeError:
            raise self._type_error(name, "one value or a list of them", value) from None

    def _path(self, name: str, value: Any) -> str:
        if value == "-":
            raise ValueError(f"{self._function}(): {name} can't be '-', standard input or output; a file of this name is './-'")
        return self._text(name, value)

    def _text(self, name: str, value: Any) -> str:
        if isinstance(value, (str, bytes, os.PathLike)):
            text = os.fsdecode(value)
        elif isinstance(value, numbers.Real) and not isinstance(value, bool):
            text = str(value)
        else:
            raise self._type_error(name, "one value", value)
        if "\0" in text:
            raise ValueError(f"{self._function}(): {name} holds a NUL character, which no argument of a program can")
        return text

    def _require_bool(self, name: str, value: Any) -> None:
        if not isinstance(value, int):
            raise self._type_error(name, "True or False", value)

    def _type_error(self, name: str, takes: str, value: Any) -> TypeError:
        return TypeError(f"{self._function}(): {name} takes {takes}, not {type(value).__name__} ({value!r:.60})")
