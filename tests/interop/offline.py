# SPDX-License-Identifier: Apache-2.0
"""Runs code as `python -c` does, without a network, in processes that go on from one that has imported torch, transformers and
peft: to import them takes five seconds of a processor, much longer than what the code in a card does."""
import gc
import json
import os
import subprocess
import sys


class Offline:
    """The process that has imported them; `folder` is for its files."""

    def __init__(self, folder):
        self.folder, self.cache = folder, folder / "cache"
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(self.cache), "HF_HOME": str(folder / "home"), "CUDA_VISIBLE_DEVICES": ""}
        command = ["unshare", "-n"] if os.geteuid() == 0 else []
        self.process = subprocess.Popen([*command, sys.executable, __file__], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, code, where, cache):
        """What the code prints in folder `where`, with `cache` as the libraries' cache, which they look for where it is linked."""
        cache.mkdir(exist_ok=True)
        new = self.folder / "new"
        new.symlink_to(cache)
        new.replace(self.cache)
        said = {name: self.folder / name for name in ("stdout", "stderr")}
        self.process.stdin.write(json.dumps({"code": code, "where": str(where), **{name: str(path) for name, path in said.items()}}) + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "0\n", said["stderr"].read_text()
        return said["stdout"].read_text()

    def stop(self):
        self.process.stdin.close()
        self.process.wait()


def redirect(descriptor, path):
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, descriptor)
    os.close(file)


if __name__ == "__main__":
    import peft  # noqa: F401
    import torch  # noqa: F401
    from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline  # noqa: F401

    gc.freeze()  # a collection would write to all that the processes share
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            break
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    else:
        sys.exit()
    os.chdir(request["where"])
    redirect(0, os.devnull)
    redirect(1, request["stdout"])
    redirect(2, request["stderr"])
    sys.argv = ["-c"]
    exec(request["code"], {"__name__": "__main__"})
    sys.stdout.flush()
    os._exit(0)  # without taking down what was imported, which takes longer than the code
