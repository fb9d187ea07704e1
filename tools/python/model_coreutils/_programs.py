# SPDX-License-Identifier: Apache-2.0
"""Where the programs are.

find_program() looks in the folder that MODEL_COREUTILS_BIN names, where pip puts the programs of this package, and on
PATH, in this order. A program of another version than the package is used, with a warning.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sysconfig
import warnings
from typing import Iterator, Set

from ._errors import ProgramNotFound
from ._version import __version__

PROGRAMS = ("st-inspect", "st-pack", "lora-extract", "card-gen", "hub-push", "ckpt-prune")
OVERRIDE = "MODEL_COREUTILS_BIN"

_known: Set[str] = set()  # paths whose version has been looked at


def find_program(program: str) -> str:
    """The absolute path of a program. Raises ProgramNotFound, which says what to do."""
    if program not in PROGRAMS:
        raise ValueError(f"there is no program {program!r}; the programs are {', '.join(PROGRAMS)}")
    override = os.environ.get(OVERRIDE)
    if override:
        path = os.path.join(override, program)
        if not _is_program(path):
            raise ProgramNotFound(program, 127, f"is not in the folder {override}, which {OVERRIDE} names")
    else:
        path = next(filter(_is_program, (os.path.join(f, program) for f in _script_folders())), None) or _on_path(program)
    path = os.path.abspath(path)  # it stays right when the working folder changes
    if path not in _known:
        _look_at_version(program, path)
        _known.add(path)
    return path


def _is_program(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.X_OK)


def _script_folders() -> Iterator[str]:
    """Where pip may have put the programs."""
    site = pathlib.Path(__file__).resolve().parents[1]
    if site.name in ("site-packages", "dist-packages") and len(site.parents) >= 3:
        yield str(site.parents[2] / "bin")  # PREFIX/lib/python3.X/site-packages
    else:
        yield str(site / "bin")  # pip install --target
    yield sysconfig.get_path("scripts")
    user = f"{os.name}_user"
    if user in sysconfig.get_scheme_names():
        yield sysconfig.get_path("scripts", user)


def _on_path(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise ProgramNotFound(
            program,
            127,
            "is not beside this package and not on PATH; reinstall it by `pip install --force-reinstall model-coreutils`, "
            f"or name the folder of the programs in {OVERRIDE}",
        )
    return path


def _look_at_version(program: str, path: str) -> None:
    """Raises ProgramNotFound for what does not start here, or is another program; warns of another version."""
    try:
        done = subprocess.run([path, "--version"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except OSError as error:
        raise ProgramNotFound(program, 126, f"{path} can't be started: {error.strerror}") from None
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip() or f"exit code {done.returncode}"
        raise ProgramNotFound(program, 126, f"{path} can't be started: {said}")
    words = done.stdout.decode("utf-8", "replace").split()
    if words[:1] != [program]:
        raise ProgramNotFound(program, 127, f"{path} is another program of this name; {OVERRIDE} can name the right folder")
    if words[1:2] != [__version__] and __version__ != "unknown":
        warnings.warn(
            f"{path} has version {' '.join(words[1:2])}, the package model_coreutils has {__version__}; "
            "install both in the same version",
            RuntimeWarning,
            stacklevel=2,
        )
