# SPDX-License-Identifier: Apache-2.0
"""What a program said when it ended with 0 or 1."""

from __future__ import annotations

import json
from typing import Any, Dict, Mapping, Tuple, Union


def document_of(printed: Union[str, bytes]) -> Dict[str, Any]:
    """The JSON document that was printed; nothing if it is not one."""
    try:
        document = json.loads(printed)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


class Report(Dict[str, Any]):
    """The JSON document of a program as a dict; its man page, under JSON, names the members.

    ok         whether the exit code is 0; False is the answer no: a check found something, two things differ
    exit_code  0 or 1; that of the error, where an error carries the report
    messages   what the program said on stderr, in lines
    text       what it printed instead of a document, for views that have none
    program    its name
    """

    def __init__(
        self,
        document: Mapping[str, Any] = {},
        *,
        program: str = "",
        exit_code: int = 0,
        messages: Tuple[str, ...] = (),
        text: str = "",
    ) -> None:
        super().__init__(document)
        self.program = program
        self.exit_code = exit_code
        self.messages = messages
        self.text = text

    @property
    def ok(self) -> bool:
        return self.exit_code == 0

    @property
    def schema(self) -> str:
        """Name and version of the document, such as "modelutils.st-inspect/1"; empty without one."""
        return str(self.get("schema", ""))


class Text(str):
    """What a program printed, as a str.

    ok         whether the exit code is 0; False is the answer no: a card is stale or has errors
    exit_code  0 or 1
    messages   what the program said on stderr, in lines
    """

    exit_code: int
    messages: Tuple[str, ...]

    def __new__(cls, text: str, exit_code: int = 0, messages: Tuple[str, ...] = ()) -> Text:
        self = super().__new__(cls, text)
        self.exit_code = exit_code
        self.messages = messages
        return self

    @property
    def ok(self) -> bool:
        return self.exit_code == 0
