# SPDX-License-Identifier: Apache-2.0
"""A training that only saves, for tests of the callbacks without transformers and with programs that only pretend."""
import logging
import os
import pathlib
import select
import sys
import tempfile
import time
import types
import unittest
from types import SimpleNamespace
from unittest import mock

HERE = pathlib.Path(__file__).resolve().parent
PACKAGE = HERE.parents[1] / "tools/python"
sys.path[:0] = [str(PACKAGE), str(HERE)]

from fake_programs import Programs  # noqa: E402

PATIENCE = 120


def fake_transformers():
    """As much of transformers as the callbacks use, unless it is there."""
    transformers, utils = types.ModuleType("transformers"), types.ModuleType("transformers.utils")
    transformers.TrainerCallback = type("TrainerCallback", (), {})
    utils.logging = SimpleNamespace(get_logger=logging.getLogger)
    transformers.utils = utils
    sys.modules.update({"transformers": transformers, "transformers.utils": utils})


fake_transformers()

from model_coreutils import __version__  # noqa: E402
from model_coreutils._background import hold as holding, link as linking  # noqa: E402


UNPATCHED = linking._CODE


def until(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        select.select([], [], [], 0.02)


def gone(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] in "ZX"
    except FileNotFoundError:
        return True


class Training(unittest.TestCase):
    """A training that only saves: self.callback hears of it."""

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.run_folder = pathlib.Path(self.folder.name) / "run"
        self.run_folder.mkdir()
        self.programs = Programs(pathlib.Path(self.folder.name) / "bin", __version__)
        environment = mock.patch.dict(os.environ, {"MODEL_COREUTILS_BIN": str(self.programs.folder), "HF_TOKEN": "hf_testwrite"})
        environment.start()
        self.addCleanup(environment.stop)
        self.said = []
        handler = logging.Handler()
        handler.emit = lambda record: self.said.append((record.levelname, record.getMessage()))
        logger = logging.getLogger("transformers.model_coreutils")
        logger.setLevel(logging.INFO)
        logger.propagate = False
        logger.addHandler(handler)
        self.addCleanup(logger.removeHandler, handler)
        self.args = SimpleNamespace(
            output_dir=str(self.run_folder), save_on_each_node=False, save_total_limit=None, push_to_hub=False, hub_model_id=None, world_size=1
        )
        self.state = SimpleNamespace(
            is_world_process_zero=True, is_local_process_zero=True, is_hyper_param_search=False, global_step=0, best_model_checkpoint=None
        )
        self.in_worker("from model_coreutils._background import worker; worker._lower_priority = lambda: None")  # quick on a busy machine
        self.addCleanup(self.end)
        self.callback = None

    def in_worker(self, code):
        """Runs code in workers that are started from now on."""
        patch = mock.patch.object(linking, "_CODE", linking._CODE.replace("; main(", f"; {code}; main("))
        patch.start()
        self.addCleanup(patch.stop)

    def end(self):
        for link in list(linking._open):
            link.final_wait = 0
            link.finish()
            linking._open.remove(link)

    def begin(self, callback):
        self.callback = callback
        callback.on_train_begin(self.args, self.state, None)
        return callback

    def save(self, step, torn=False):
        checkpoint = self.run_folder / f"checkpoint-{step}"
        checkpoint.mkdir()
        for name in ("model.safetensors", "trainer_state.json", *(["torn"] if torn else [])):
            (checkpoint / name).write_text(f"{name} {step}")
        self.state.global_step = step
        self.callback.on_save(self.args, self.state, None)

    def train_end(self):
        self.callback.on_train_end(self.args, self.state, None)

    def warnings(self):
        self.callback.on_step_end(self.args, self.state, None)
        return [text for level, text in self.said if level == "WARNING"]

    def held(self):
        return [one.name for one in holding.held(str(self.run_folder))]

    def finish(self):
        """As the interpreter's end does."""
        for link in list(linking._open):
            link.finish()
            linking._open.remove(link)
