# SPDX-License-Identifier: Apache-2.0
"""What the tests of the Python package share: the built programs (BIN_DIR), inputs, programs that only say how they were
called, and the local Hub."""
import logging
import os
import pathlib
import shutil
import stat
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
FIXTURES = pathlib.Path(os.environ.get("FIXTURES", ROOT / "tests" / "fixtures"))
BIN_DIR = pathlib.Path(os.environ.get("BIN_DIR", ROOT / "build" / "release" / "tools")).resolve()
SOURCES = ROOT / "tools" / "python"
sys.path.insert(0, str(SOURCES))

HUB_VARIABLES = ("HF_TOKEN_PATH", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HUGGING_FACE_HUB_TOKEN", "HF_OIDC_RESOURCE")


class Case(unittest.TestCase):
    """A test in a folder of its own, which is also the home, with the built programs."""

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="model-coreutils-test-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.folder)
        logging.getLogger("model_coreutils").addHandler(logging.NullHandler())  # else warnings go to stderr
        before = dict(os.environ)
        self.addCleanup(lambda: (os.environ.clear(), os.environ.update(before)))
        os.environ.update(MODEL_COREUTILS_BIN=str(BIN_DIR), HOME=str(self.folder / "home"), PYTHONPATH=str(SOURCES))
        for name in ("XDG_CACHE_HOME", "XDG_STATE_HOME", "HF_TOKEN", "HF_HOME", "HF_ENDPOINT", *HUB_VARIABLES):
            os.environ.pop(name, None)

    def copy(self, name, to):
        shutil.copytree(FIXTURES / name, self.folder / to)
        return self.folder / to

    def fake(self, program, script):
        """A program of this name that runs a shell script instead, but answers --version."""
        folder = self.folder / "fakes"
        folder.mkdir(exist_ok=True)
        path = folder / program
        path.write_text(f'#!/bin/sh\n[ "$1" != --version ] || {{ echo {program} 0.0.0; exit; }}\n{script}\n')
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        os.environ["MODEL_COREUTILS_BIN"] = str(folder)
        return path

    def called_with(self, function, *operands, **options):
        """The arguments that a program gets from a function."""
        program = function.__name__.replace("_", "-")
        program = "card-gen" if program.startswith("card-") else program
        self.fake(program, "printf '%s\\0' \"$@\"")
        said = function(*operands, **options)
        arguments = (said if isinstance(said, str) else said.text).split("\0")[:-1]
        return [each for i, each in enumerate(arguments) if i > 1 or each not in ("--color=always", "--json")]

    def start_hub(self, *options):
        """The local Hub, with the ecosystem's variables pointing at it as a user who may write."""
        program = os.environ.get("TEST_HUB", BIN_DIR.parent / "tests" / "hub" / "test_hub")
        hub = subprocess.Popen([program, "--port", "0", *options], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.addCleanup(lambda: (hub.kill(), hub.wait(), hub.stdout.close()))
        address = hub.stdout.readline().decode().split()[0]
        os.environ.update(HF_ENDPOINT=address[len("HUB=") :], HF_TOKEN="hf_testwrite", HF_HOME=str(self.folder / "hf"))
        os.environ.update(no_proxy="127.0.0.1", NO_PROXY="127.0.0.1")
