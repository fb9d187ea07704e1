# SPDX-License-Identifier: Apache-2.0
"""The version, which the metadata of the installed package have; a source tree has none."""

from __future__ import annotations

from importlib import metadata


def _installed() -> str:
    try:
        return metadata.version("model-coreutils")
    except metadata.PackageNotFoundError:
        return "unknown"


__version__ = _installed()
