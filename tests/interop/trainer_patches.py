# SPDX-License-Identifier: Apache-2.0
"""What can be wrong around a training run, made to happen inside its process."""
import builtins
import errno
import os
import select
import subprocess
import threading
import time

from transformers import Trainer


def no_push_of_its_own():
    """With push_to_hub=True the Trainer would talk to the real Hub."""
    for name in ("init_hf_repo", "_push_from_checkpoint", "_finish_current_push"):
        setattr(Trainer, name, lambda *_, **__: None)


def refusing(number, function, concerns):
    def call(*arguments, **options):
        if any(concerns(os.fspath(a)) for a in arguments if isinstance(a, (str, bytes, os.PathLike))):
            raise OSError(number, os.strerror(number), str(arguments[0]))
        return function(*arguments, **options)

    return call


def hidden(path):
    """In a hidden folder of a run, or one itself."""
    path = os.fsdecode(path)
    return "/run/." in path or path.startswith("run/.")


def read_only():
    """Nothing can be made in the run besides what the Trainer makes."""
    for name in ("mkdir", "link", "symlink", "rename", "replace"):
        setattr(os, name, refusing(errno.EROFS, getattr(os, name), hidden))


def full_disk():
    """No room for what we would make in the run, and hard links are not to be had."""
    os.link = refusing(errno.EPERM, os.link, hidden)
    builtins.open = refusing(errno.ENOSPC, open, hidden)


def no_links():
    os.link = refusing(errno.EPERM, os.link, hidden)


def no_waiting():
    """Waiting for a process, a lock or the clock is written to the log while on_save of one of our callbacks runs."""
    import model_coreutils

    inside = threading.local()

    def checked(function):
        def call(*arguments, **options):
            if getattr(inside, "yes", False):
                os.write(2, f"WAITED {function.__qualname__}\n".encode())
            return function(*arguments, **options)

        return call

    for owner, names in ((subprocess.Popen, ("wait", "communicate")), (time, ("sleep",)), (select, ("select", "poll")), (threading.Thread, ("join",)),
                         (threading.Event, ("wait",)), (threading.Condition, ("wait",)), (os, ("waitpid", "fsync"))):
        for name in names:
            setattr(owner, name, checked(getattr(owner, name)))
    for callback in (model_coreutils.PruneCallback, model_coreutils.PushCallback):
        def watched(self, *arguments, on_save=callback.on_save, **options):
            inside.yes = True
            try:
                return on_save(self, *arguments, **options)
            finally:
                inside.yes = False

        callback.on_save = watched
