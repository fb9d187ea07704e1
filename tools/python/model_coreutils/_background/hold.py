# SPDX-License-Identifier: Apache-2.0
"""Holds: the files of a checkpoint, kept for a push whatever happens to the checkpoint.

    RUN/.cache/huggingface/model-coreutils/push-ID/      one for each repository and revision that the run is pushed to
        settings.json                                    how to push: for finish_push
        lock                                             locked by the worker that pushes
        TIME/checkpoint-300/                             a hold: hard links to the files of RUN/checkpoint-300
        TIME/packed/                                     what is pushed: the model folder that st-pack made of it

No trainer and no ckpt-prune looks for checkpoints there, and what lies in .cache/huggingface is left out by every upload of
huggingface_hub, so that push_to_hub() of the run does not take holds along; hub-push leaves .cache out, too.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import fnmatch
import hashlib
import os
import re
import shutil
import time
from typing import Iterator, List, NamedTuple, Optional, Tuple

ROOM = os.path.join(".cache", "huggingface", "model-coreutils")
CHECKPOINT = re.compile(r"checkpoint-(0|[1-9][0-9]*)")

# A push needs none of these, and they are two thirds of a checkpoint.
_LEFT_OUT = ("optimizer.pt", "optimizer.bin", "optimizer_*", "scheduler.pt", "scaler.pt", "rng_state*.pth")
_FICLONE = 0x40049409  # linux/fs.h: share the blocks of another file
_NEW, _GONE = ".new-", ".gone-"


class Hold(NamedTuple):
    folder: str  # push-ID/TIME
    name: str  # checkpoint-300

    @property
    def step(self) -> int:
        return int(self.name[len("checkpoint-") :])

    @property
    def checkpoint(self) -> str:
        return os.path.join(self.folder, self.name)

    @property
    def packed(self) -> str:
        return os.path.join(self.folder, "packed")


def room_of(run: str, repo: str, revision: Optional[str], endpoint: Optional[str]) -> str:
    """The folder of a run for its pushes to one place."""
    place = "\0".join((endpoint or "", repo, revision or ""))
    return os.path.join(run, ROOM, "push-" + hashlib.sha256(place.encode()).hexdigest()[:8])


def rooms(run: str) -> List[str]:
    place = os.path.join(run, ROOM)
    return [os.path.join(place, name) for name in _names(place) if name.startswith("push-")]


def make_room(room: str) -> None:
    os.makedirs(room, exist_ok=True)
    ignore = os.path.join(os.path.dirname(room), ".gitignore")
    if not os.path.exists(ignore):
        with open(ignore, "w") as file:
            file.write("*\n")


def hold(room: str, checkpoint: str) -> Tuple[Hold, int]:
    """Holds a checkpoint; with it, how many bytes had to be copied. It appears whole or not at all."""
    make_room(room)
    name, stamp = os.path.basename(checkpoint), f"{time.time_ns():020d}"
    new = os.path.join(room, f"{_NEW}{os.getpid()}-{stamp}")
    try:
        copied = mirror(checkpoint, os.path.join(new, name))
        os.rename(new, os.path.join(room, stamp))
    except OSError:
        shutil.rmtree(new, ignore_errors=True)
        raise
    return Hold(os.path.join(room, stamp), name), copied


def holds(room: str) -> List[Hold]:
    """The holds of a room, in the order in which they were saved."""
    found = []
    for stamp in _names(room):
        if stamp.isdigit():
            names = [name for name in _names(os.path.join(room, stamp)) if CHECKPOINT.fullmatch(name)]
            found += [Hold(os.path.join(room, stamp), name) for name in names[:1]]
    return found


def held(run: str) -> List[Hold]:
    """The holds of all pushes of a run."""
    return [one for room in rooms(run) for one in holds(room)]


def drop(held: Hold) -> None:
    """Ends a hold. What can't be removed now is removed by sweep()."""
    gone = os.path.join(os.path.dirname(held.folder), _GONE + os.path.basename(held.folder))
    try:
        os.rename(held.folder, gone)
    except OSError:
        return
    shutil.rmtree(gone, ignore_errors=True)


def sweep(room: str, trainer: int) -> None:
    """Removes what a kill left half made or half removed. `trainer` is the process that may be making holds now."""
    for name in _names(room):
        if name.startswith(_GONE) or (name.startswith(_NEW) and not name.startswith(f"{_NEW}{trainer}-")):
            shutil.rmtree(os.path.join(room, name), ignore_errors=True)


def lock(room: str) -> Optional[int]:
    """A descriptor that keeps the room to this process until it is closed; None while another process has it. On a file
    system without locks everybody gets one."""
    path = os.path.join(room, "lock")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            os.close(descriptor)
            return None
    if not os.path.exists(path) or not os.path.samestat(os.stat(path), os.fstat(descriptor)):
        os.close(descriptor)  # the process that had it removed it
        return None
    return descriptor


def leave_room(room: str) -> None:
    """Removes a room that this process has locked, unless a training that came after it holds something there."""
    if not any(name.isdigit() or name.startswith(_NEW) for name in _names(room)):
        for name in ("settings.json", "lock"):
            _remove(os.path.join(room, name))
        _remove_empty(room)


def remove_room(room: str) -> None:
    """Removes a room that this process has locked, with all that is held there."""
    shutil.rmtree(room, ignore_errors=True)
    _remove_empty(room)


def _remove_empty(room: str) -> None:
    """Removes an empty room, and the folders around it if they are empty then."""
    place = os.path.dirname(room)
    try:
        if os.path.isdir(room):
            os.rmdir(room)
        if _names(place) == [".gitignore"]:
            os.unlink(os.path.join(place, ".gitignore"))
        for _ in ROOM.split(os.sep):
            os.rmdir(place)
            place = os.path.dirname(place)
    except OSError:
        pass


def remove_stale_rooms(run: str, but: List[str]) -> List[str]:
    """Removes the rooms that no process has, such as those of a run that was killed, but not these. Returns them."""
    removed = []
    for room in rooms(run):
        descriptor = None if room in but else lock(room)
        if descriptor is not None:
            removed.append(room)
            remove_room(room)
            os.close(descriptor)
    return removed


def same_save(held: Hold, checkpoint: str) -> bool:
    """Whether a checkpoint is the one that is held, not a later one of the same step."""
    try:
        return _same(os.path.join(held.checkpoint, "trainer_state.json"), os.stat(os.path.join(checkpoint, "trainer_state.json")))
    except OSError:
        return False


def mirror(source: str, target: str) -> int:
    """Gives `target` the files of a checkpoint, by hard links, and by copies where links fail. The number of bytes that were
    copied. Files that vanish meanwhile are left out; what is in `target` already stays, since the checkpoint may be under removal,
    all but unfinished files that have another name by now."""
    os.makedirs(target, exist_ok=True)
    copied, there, seen = 0, set(_names(target)), set()
    for entry in _entries(source):
        seen.add(entry.name)
        place = os.path.join(target, entry.name)
        with contextlib.suppress(FileNotFoundError):
            if entry.is_dir(follow_symlinks=False):
                copied += mirror(entry.path, place)
            elif entry.is_file():  # or a link to one
                path = os.path.realpath(entry.path) if entry.is_symlink() else entry.path
                if entry.name not in there:
                    copied += _take(path, place)
                elif not _same(place, os.stat(path)):
                    copied += _take(path, place + _NEW)
                    os.replace(place + _NEW, place)
    for name in there - seen:
        if name.endswith((".tmp", _NEW)):
            _remove(os.path.join(target, name))
    return copied


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if not any(fnmatch.fnmatchcase(entry.name, pattern) for pattern in _LEFT_OUT):
                yield entry


def _take(source: str, place: str) -> int:
    try:
        os.link(source, place)
        return 0
    except FileNotFoundError:
        raise
    except FileExistsError:  # left by a kill
        _remove(place)
        return _take(source, place)
    except OSError:
        status = os.stat(source)
        _copy(source, place)
        os.utime(place, ns=(status.st_atime_ns, status.st_mtime_ns))
        return status.st_size


def _same(path: str, status: os.stat_result) -> bool:
    """Whether a path is that file, or a copy that was made of it."""
    try:
        there = os.stat(path)
    except OSError:
        return False
    if (there.st_dev, there.st_ino) == (status.st_dev, status.st_ino):
        return True
    return (there.st_size, there.st_mtime_ns) == (status.st_size, status.st_mtime_ns)


def _copy(source: str, place: str) -> None:
    """Copies a file in the quickest way that the file system has."""
    with open(source, "rb", buffering=0) as old, open(place, "xb", buffering=0) as new:
        try:
            fcntl.ioctl(new.fileno(), _FICLONE, old.fileno())
            return
        except OSError:
            pass
        try:
            while os.copy_file_range(old.fileno(), new.fileno(), 1 << 30):
                pass
        except (AttributeError, OSError):  # a Python for musl or an old glibc; a file system or kernel without it
            old.seek(0)
            new.seek(0)
            new.truncate()
            shutil.copyfileobj(old, new, 1 << 20)


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError:
        shutil.rmtree(path, ignore_errors=True)


def _names(folder: str) -> List[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []
