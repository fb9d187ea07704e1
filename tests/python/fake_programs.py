# SPDX-License-Identifier: Apache-2.0
"""Stands in for the programs in tests of the callbacks: notes its calls and does what files beside it say.

    Programs(folder, version)   puts ckpt-prune, st-pack, card-gen and hub-push there

A checkpoint is torn if it holds a file `torn`. `says(program, code, text)` lets a program fail, or fail once, `hangs(program)` lets it wait for
SIGTERM where it may use the network, `works(program)` ends both."""
import json
import os
import pathlib
import signal
import stat
import sys

NAMES = ("ckpt-prune", "st-pack", "card-gen", "hub-push")


class Programs:
    def __init__(self, folder, version):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir()
        (self.folder / "version").write_text(version)
        os.mkfifo(self.folder / "never")
        script = self.folder / "fake"
        script.write_text(f"#!{sys.executable} -IS\n" + pathlib.Path(__file__).read_text())
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        for name in NAMES:
            (self.folder / name).symlink_to(script)

    @property
    def paths(self):
        return {name: str(self.folder / name) for name in NAMES}

    def calls(self, program):
        """The arguments of each call so far."""
        log = self.folder / f"{program}.calls"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    def pushed(self):
        """Titles of the commits that hub-push made."""
        log = self.folder / "pushed"
        return log.read_text().splitlines() if log.exists() else []

    def says(self, program, code, text, once=False):
        place = self.folder / f"{program}.fails"
        place.with_suffix(".new").write_text(json.dumps([code, text, once]))
        place.with_suffix(".new").rename(place)

    def hangs(self, program):
        (self.folder / f"{program}.hangs").touch()

    def works(self, program):
        for what in ("fails", "hangs"):
            (self.folder / f"{program}.{what}").unlink(missing_ok=True)

    def goes_on(self):
        """Ends the wait of one that hangs; whether there was one."""
        try:
            os.close(os.open(self.folder / "never", os.O_WRONLY | os.O_NONBLOCK))
        except OSError:
            return False
        return True

    def was_terminated(self, program):
        return (self.folder / f"{program}.terminated").exists()


def option(arguments, name):
    return next((one.partition("=")[2] for one in arguments if one.startswith(name + "=")), None)


def checkpoints(run):
    for name in sorted(os.listdir(run)):
        if name.startswith("checkpoint-"):
            torn = (pathlib.Path(run) / name / "torn").exists()
            yield {"name": name, "condition": "torn" if torn else "resumable", "why": "no weights", "being_written": False, "verb": "keep"}


def main(folder, program, arguments):
    if arguments == ["--version"]:
        print(program, (folder / "version").read_text())
        return 0
    with open(folder / f"{program}.calls", "a") as log:
        log.write(json.dumps(arguments) + "\n")
    if (folder / f"{program}.fails").exists():
        code, text, once = json.loads((folder / f"{program}.fails").read_text())
        if once:
            (folder / f"{program}.fails").unlink()
        print(f"{program}: {text}", file=sys.stderr)
        return code
    if (folder / f"{program}.hangs").exists() and "HF_HUB_OFFLINE" not in os.environ:

        def end(*_):
            (folder / f"{program}.terminated").touch()
            os._exit(143)

        signal.signal(signal.SIGTERM, end)
        (folder / f"{program}.hanging").touch()
        open(folder / "never").read()
    last = arguments[-1]
    if program == "ckpt-prune":
        print(json.dumps({"runs": [{"checkpoints": list(checkpoints(last))}]}))
    elif program == "st-pack" and "--dry-run" not in arguments:
        os.mkdir(arguments[arguments.index("--output") + 1])
    elif program == "hub-push" and "HF_HUB_OFFLINE" not in os.environ:
        with open(folder / "pushed", "a") as log:
            log.write(f"{option(arguments, '--message')}\n")
        print(f"https://hub/{last}")
    return 0


if __name__ == "__main__":
    here = pathlib.Path(sys.argv[0])
    sys.exit(main(here.parent, here.name, sys.argv[1:]))
