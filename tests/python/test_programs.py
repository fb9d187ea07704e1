# SPDX-License-Identifier: Apache-2.0
"""Finding the programs, and `python -m model_coreutils`."""
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import warnings

from programs import BIN_DIR, FIXTURES, SOURCES, Case

import model_coreutils as mc
from model_coreutils import _programs


class Finding(Case):
    def setUp(self):
        super().setUp()
        self.addCleanup(_programs._known.clear)
        _programs._known.clear()

    def installed(self, version):
        """The package in a folder of its own as pip installs it, without programs."""
        site = self.folder / "env" / "lib" / "python3" / "site-packages"
        shutil.copytree(SOURCES / "model_coreutils", site / "model_coreutils", ignore=shutil.ignore_patterns("__pycache__"))
        info = site / f"model_coreutils-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: model-coreutils\nVersion: {version}\n")
        os.environ["PYTHONPATH"] = str(site)
        os.environ.pop("MODEL_COREUTILS_BIN")
        return site

    def python(self, code):
        done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
        return done.stdout

    def test_the_override_alone_counts(self):
        self.assertEqual(mc.find_program("st-pack"), str(BIN_DIR / "st-pack"))
        os.environ["MODEL_COREUTILS_BIN"] = os.path.relpath(BIN_DIR)
        self.assertEqual(mc.find_program("st-pack"), str(BIN_DIR / "st-pack"))
        os.environ["MODEL_COREUTILS_BIN"] = "nowhere"
        with self.assertRaisesRegex(mc.ProgramNotFound, "nowhere, which MODEL_COREUTILS_BIN names"):
            mc.find_program("st-pack")
        with self.assertRaises(ValueError):
            mc.find_program("../st-pack")

    def test_beside_the_package_before_the_path(self):
        path = self.fake("st-inspect", "exit 0")
        self.installed("0.0.0")
        os.environ["PATH"] = f"{path.parent}:{os.environ['PATH']}"
        code = "import model_coreutils as mc; print(mc.__version__, mc.find_program('st-inspect'))"
        self.assertEqual(self.python(code), f"0.0.0 {path}\n")
        beside = self.folder / "env" / "bin"
        beside.mkdir()
        shutil.copy(path, beside)
        self.assertEqual(self.python(code), f"0.0.0 {beside / 'st-inspect'}\n")

    def test_installed_into_a_target(self):
        path = self.fake("st-inspect", "exit 0")
        target = self.folder / "target"
        self.installed("0.0.0").rename(target)
        os.environ["PYTHONPATH"] = str(target)
        (target / "bin").mkdir()
        shutil.copy(path, target / "bin")
        self.assertEqual(self.python("import model_coreutils as mc; print(mc.find_program('st-inspect'))"), f"{target}/bin/st-inspect\n")

    def test_a_missing_program_says_what_to_do(self):
        os.environ.pop("MODEL_COREUTILS_BIN")
        os.environ["PATH"] = str(self.folder)
        with self.assertRaises(mc.ProgramNotFound) as caught:
            mc.st_inspect("x")
        self.assertIn("pip install", str(caught.exception))
        self.assertIn("MODEL_COREUTILS_BIN", str(caught.exception))

    def test_another_version_is_a_warning_once(self):
        path = self.fake("st-inspect", "exit 0")
        self.installed("9.9.9")
        os.environ["MODEL_COREUTILS_BIN"] = str(path.parent)
        said = self.python("import model_coreutils as mc; mc.st_inspect('x'); mc.st_inspect('x')")
        self.assertEqual(said.count("RuntimeWarning"), 1, said)
        self.assertIn("has version 0.0.0, the package model_coreutils has 9.9.9", said)

    def test_another_program_of_this_name(self):
        folder = self.folder / "others"
        folder.mkdir()
        (folder / "st-pack").write_text("#!/bin/sh\necho SuperTux packer 3\n")
        (folder / "st-pack").chmod(0o755)
        os.environ["MODEL_COREUTILS_BIN"] = str(folder)
        with self.assertRaisesRegex(mc.ProgramNotFound, "another program of this name"):
            mc.st_pack("x", output="y")

    def test_one_that_does_not_start(self):
        folder = self.folder / "others"
        folder.mkdir()
        (folder / "st-pack").write_bytes(b"\x7fELF of another machine")
        (folder / "st-pack").chmod(0o755)
        os.environ["MODEL_COREUTILS_BIN"] = str(folder)
        with self.assertRaisesRegex(mc.ProgramNotFound, "can't be started"):
            mc.st_pack("x", output="y")

    def test_callbacks_are_imported_when_asked_for(self):
        code = "import sys, model_coreutils; print('transformers' in sys.modules, 'PruneCallback' in dir(model_coreutils))"
        self.assertEqual(self.python(code), "False False\n")
        (self.folder / "transformers.py").touch()
        self.assertEqual(self.python("import transformers; " + code), "True True\n")

    def test_help_needs_no_transformers(self):
        (self.folder / "transformers.py").write_text("raise ImportError('is not here')")
        self.assertIn("exit code 1", self.python("import model_coreutils; help(model_coreutils)"))
        with self.assertRaises(AttributeError):
            mc.no_such_name


class Module(Case):
    def module(self, *arguments, **options):
        return subprocess.run([sys.executable, "-m", "model_coreutils", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)

    def test_alone_it_lists_the_programs(self):
        for arguments in ((), ("--help",)):
            said = self.module(*arguments)
            self.assertEqual((said.returncode, said.stderr), (0, b""))
            self.assertEqual([line.split()[0] for line in said.stdout.decode().splitlines()[2:]], list(_programs.PROGRAMS))

    def test_it_becomes_the_program(self):
        for arguments in (["st-inspect", str(FIXTURES / "tied")], ["st-inspect", "missing"], ["st-inspect", "--sort=x", "y"], ["st-pack", "--help"]):
            direct = subprocess.run([BIN_DIR / arguments[0], *arguments[1:]], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            through = self.module(*arguments)
            self.assertEqual((through.returncode, through.stdout, through.stderr), (direct.returncode, direct.stdout, direct.stderr))
        weights = (FIXTURES / "tied" / "model.safetensors").read_bytes()
        packed = self.module("st-pack", "-", "-o", "-", input=weights)
        self.assertEqual(packed.stdout, subprocess.run([BIN_DIR / "st-pack", "-", "-o", "-"], input=weights, stdout=subprocess.PIPE).stdout)

    def test_signals_are_those_of_the_program(self):
        self.fake("st-inspect", "kill -TERM $$")
        self.assertEqual(self.module("st-inspect").returncode, -signal.SIGTERM)
        self.fake("st-inspect", "kill -PIPE $$")  # which Python ignores
        self.assertEqual(self.module("st-inspect").returncode, -signal.SIGPIPE)

    def test_no_such_program(self):
        said = self.module("rm")
        self.assertEqual((said.returncode, said.stdout), (2, b""))
        os.environ["MODEL_COREUTILS_BIN"] = "nowhere"
        self.assertEqual(self.module("st-pack").returncode, 127)
