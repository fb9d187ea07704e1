# SPDX-License-Identifier: Apache-2.0
"""The programs of modelutils as functions."""

from __future__ import annotations

from typing import Any, List

from ._errors import (
    InputOutputError,
    Interrupted,
    MalformedInput,
    PartlyDone,
    ProgramError,
    ProgramNotFound,
    Refused,
    RemoteRefused,
    TemporaryFailure,
    UsageError,
)
from ._programs import find_program
from ._report import Report, Text
from ._version import __version__

_CALLBACKS = ("PruneCallback", "PushCallback")  # of transformers, which is imported when one of them is asked for

__all__ = [
    "InputOutputError",
    "Interrupted",
    "MalformedInput",
    "PartlyDone",
    "ProgramError",
    "ProgramNotFound",
    "Refused",
    "RemoteRefused",
    "Report",
    "TemporaryFailure",
    "Text",
    "UsageError",
    "__version__",
    "find_program",
]


def __getattr__(name: str) -> Any:
    if name in _CALLBACKS:
        from . import callbacks

        return getattr(callbacks, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> List[str]:
    return sorted([*globals(), *_CALLBACKS])
