# SPDX-License-Identifier: Apache-2.0
"""From keyword arguments to a command line. The functions in functions/ are signatures; their bodies call this,
and so do the callbacks."""

from __future__ import annotations

import difflib
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
    """What the arguments of one function are. Each word is the name of a parameter.

    operands  in the order of the command line
    flags     options without a value
    switches  flags with an opposite, --NAME and --no-NAME
    maybe     options that may have a value: True, or the value
    values    options with one value
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
        values: str = "",
        lists: str = "",
        files: str = "",
        views: str = "",
        several: str = "",
        fixed: str = "",
    ) -> None:
        self.program = program
        self._function = function
        self._operands = operands.split()
        self._flags = flags.split()
        self._switches = switches.split()
        self._maybe = maybe.split()
        self._lists = lists.split()
        self._names = [*self._flags, *self._switches, *self._maybe, *values.split(), *self._lists]
        self._files = files.split()
        self._views = views.split()
        self._several = several.split()
        self._fixed = fixed.split()

    def report(self, given: Mapping[str, Any]) -> Report:
        """Runs the program and returns its document, or in the views without one its text. `given`: the parameters."""
        as_json = self._any(self._several, given) or not self._any(self._views, given)
        count = len(given[self._operands[0]]) if self._several else 1
        if as_json and count > 1 and not self._any(self._several, given):
            raise TypeError(
                f"{self._function}() returns one document, so it takes one of the {self._operands[0]}, not {count}: "
                f"call it for each; only with {' or '.join(self._several)} it takes more"
            )
        return run(self.program, ["--json"] * as_json + self.arguments(given), as_json)

    def text(self, given: Mapping[str, Any]) -> Text:
        """Runs the program and returns what it prints, or the card that it wrote."""
        report = run(self.program, self.arguments(given), as_json=False)
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
        options = self.options({name: value for name, value in given.items() if name not in self._operands})
        operands: List[str] = []
        for name in self._operands:
            values = given[name] if isinstance(given[name], tuple) else (given[name],)
            operands += [self._operand(name, value) for value in values if value is not None]
        return [*self._fixed, *options, "--", *operands]

    def options(self, given: Mapping[str, Any]) -> List[str]:
        """The options of the command line: {"keep_best": 1, "pin": [3, 4], "min": True, "max": False, "metric": None} are
        --keep-best=1 --pin=3 --pin=4 --min."""
        return [word for name, value in given.items() for word in self._option(name, value)]

    def _operand(self, name: str, value: Any) -> str:
        if not isinstance(value, (str, bytes, os.PathLike)):
            raise self._type_error(name, "a path", value)
        return self._path(name, value)

    def _option(self, name: str, value: Any) -> List[str]:
        if name not in self._names:
            close = "".join(f"; did you mean {one!r}?" for one in difflib.get_close_matches(str(name), self._names, 1))
            raise TypeError(f"{self._function}() has no keyword argument {name!r}{close}")
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
