# SPDX-License-Identifier: Apache-2.0
"""The callbacks and their workers, without transformers and with programs that only pretend."""
import copy
import logging
import os
import pathlib
import pickle
import select
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import types
import unittest
from types import SimpleNamespace
from unittest import mock

HERE = pathlib.Path(__file__).resolve().parent
PACKAGE = HERE.parents[1] / "tools/python"
sys.path[:0] = [str(PACKAGE), str(HERE)]

from fake_programs import Programs, option  # noqa: E402

PATIENCE = 120


def fake_transformers():
    """As much of transformers as the callbacks use, unless it is there."""
    transformers, utils = types.ModuleType("transformers"), types.ModuleType("transformers.utils")
    transformers.TrainerCallback = type("TrainerCallback", (), {})
    utils.logging = SimpleNamespace(get_logger=logging.getLogger)
    transformers.utils = utils
    sys.modules.update({"transformers": transformers, "transformers.utils": utils})


fake_transformers()

from model_coreutils import callbacks, finish_push  # noqa: E402
from model_coreutils._background import hold as holding, link as linking  # noqa: E402
from model_coreutils._errors import ProgramNotFound, RemoteRefused  # noqa: E402
from model_coreutils.callbacks import PruneCallback, PushCallback  # noqa: E402


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
        self.programs = Programs(pathlib.Path(self.folder.name) / "bin")
        environment = mock.patch.dict(os.environ, {"MODEL_COREUTILS_BIN": str(self.programs.folder), "HF_TOKEN": "hf_testwrite"})
        environment.start()
        self.addCleanup(environment.stop)
        versions = mock.patch("model_coreutils._programs._warn_of_other_version")
        versions.start()
        self.addCleanup(versions.stop)
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


class Push(Training):
    def test_packs_writes_the_card_and_pushes_and_leaves_nothing_behind(self):
        self.begin(PushCallback("me/model", dtype="bf16", base="o/base", dataset=["a/b", "c/d"], private=True, push={"limit_rate": "5MB"}))
        self.save(10)
        self.assertTrue(self.callback.wait(PATIENCE))
        self.train_end()
        self.finish()
        self.assertEqual(self.programs.pushed(), ["Training in progress, step 10"])
        pack, card, push = (self.programs.calls(program)[-1] for program in ("st-pack", "card-gen", "hub-push"))
        self.assertLess({"--dtype=bf16", "--threads=1"}, set(pack))
        self.assertLess({"--base=o/base", "--dataset=a/b", "--dataset=c/d", "--repo=me/model", "--in-place"}, set(card))
        self.assertLess({"--private", "--limit-rate=5MB", "--threads=1"}, set(push))
        self.assertEqual(push[-1], "me/model")
        self.assertEqual(sorted(os.listdir(self.run_folder)), ["checkpoint-10"])
        self.assertEqual(self.warnings(), [])
        self.assertIn(("INFO", "PushCallback: pushed checkpoint-10 to https://hub/me/model"), self.said)

    def test_newest_wins(self):
        self.programs.hangs("hub-push")
        self.begin(PushCallback("me/model"))
        self.save(10)
        until((self.programs.folder / "hub-push.hanging").exists)
        for step in (20, 30, 40):
            self.save(step)
        until(lambda: self.held() == ["checkpoint-10", "checkpoint-40"])
        self.assertEqual(self.programs.pushed(), [])

    def test_uses_the_previous_one_until_the_newest_is_complete(self):
        self.begin(PushCallback("me/model"))
        self.save(10, torn=True)
        self.save(20, torn=True)
        (self.run_folder / "checkpoint-10/torn").unlink()
        until(self.programs.pushed)
        self.assertEqual(self.programs.pushed(), ["Training in progress, step 10"])
        (self.run_folder / "checkpoint-20/rank_1.pt").write_text("late")
        (self.run_folder / "checkpoint-20/torn").unlink()
        self.assertTrue(self.callback.wait(PATIENCE))
        self.assertEqual(self.programs.pushed()[1:], ["Training in progress, step 20"])

    def test_pushes_a_checkpoint_that_was_removed_meanwhile(self):
        self.programs.says("st-pack", 75, "busy")
        self.begin(PushCallback("me/model"))
        self.save(10)
        for name in ("model.safetensors", "trainer_state.json"):
            (self.run_folder / "checkpoint-10" / name).unlink()
        (self.run_folder / "checkpoint-10").rmdir()
        until(lambda: len(self.programs.calls("st-pack")) > 1 or self.warnings())
        self.programs.works("st-pack")
        self.train_end()
        self.finish()
        self.assertEqual(self.programs.pushed(), ["Training in progress, step 10"])

    def test_an_outage_is_said_once_and_so_is_its_end(self):
        self.in_worker("from model_coreutils._background import push; push._TRIES_S = (0.05, 0.05)")
        self.begin(PushCallback("me/model"))
        self.programs.says("hub-push", 75, "no connection")
        self.save(10)
        before = len(self.programs.calls("hub-push"))
        until(lambda: len(self.programs.calls("hub-push")) >= before + 3)
        self.programs.says("hub-push", 75, "server error 503")
        self.save(20)
        until(lambda: len(self.programs.calls("hub-push")) >= before + 6)
        self.assertEqual(self.warnings(), ["PushCallback: me/model: checkpoint-10 is not pushed: hub-push: no connection; trying again"])
        self.programs.works("hub-push")
        self.assertTrue(self.callback.wait(PATIENCE))
        self.assertEqual(self.warnings()[1:], ["PushCallback: pushed checkpoint-20 to https://hub/me/model"])
        self.assertEqual(self.held(), [])

    def test_what_the_hub_refuses_for_good_is_said_once_and_ends_it(self):
        self.begin(PushCallback("me/model"))
        self.programs.says("hub-push", 6, "403: no write access")
        self.save(10)
        self.assertTrue(self.callback.wait(PATIENCE))
        self.save(20)
        self.train_end()
        self.finish()
        self.assertEqual(len(self.warnings()), 1)
        self.assertIn("403: no write access; nothing more will be pushed", self.warnings()[0])
        self.assertIn("finish_push", self.warnings()[0])
        self.assertEqual(self.held(), [])

    def test_a_refused_checkpoint_is_passed_over(self):
        self.begin(PushCallback("me/model"))
        self.programs.says("hub-push", 5, "config.json: secret: an access token")
        self.save(10)
        self.assertTrue(self.callback.wait(PATIENCE))
        self.save(20)
        self.assertTrue(self.callback.wait(PATIENCE))
        self.assertEqual(len(self.warnings()), 1)
        self.programs.works("hub-push")
        self.save(30)
        self.assertTrue(self.callback.wait(PATIENCE))
        self.assertEqual(self.programs.pushed(), ["Training in progress, step 30"])

    def test_without_a_card_the_weights_are_pushed(self):
        self.begin(PushCallback("me/model"))
        self.programs.says("card-gen", 4, "broken front matter")
        self.save(10)
        self.assertTrue(self.callback.wait(PATIENCE))
        self.assertEqual(self.programs.pushed(), ["Training in progress, step 10"])
        self.assertEqual(self.warnings(), ["PushCallback: checkpoint-10 is pushed without a new card: card-gen: broken front matter"])

    def test_a_copy_is_said_once(self):
        self.begin(PushCallback("me/model"))
        with mock.patch("os.link", side_effect=PermissionError(1, "Operation not permitted")):
            self.save(10)
            self.save(20)
        self.assertEqual(len([text for text in self.warnings() if "has no hard links" in text]), 1)

    def test_nothing_raises_into_training(self):
        self.begin(PushCallback("me/model"))
        self.state.global_step = 10
        self.callback.on_save(self.args, self.state, None)  # no such checkpoint
        self.state.global_step = "ten"
        self.callback.on_save(self.args, self.state, None)
        self.callback.on_train_end(None, None, None)
        self.assertEqual(len(self.warnings()), 2, self.said)

    def test_a_worker_that_is_gone_or_stands_still_costs_nothing(self):
        self.begin(PushCallback("me/model"))
        process = self.callback._link._process
        os.kill(process.pid, signal.SIGSTOP)
        begin = time.monotonic()
        for number in range(3000):
            self.callback._link.send(do="save", hold="x" * 100, name="checkpoint-1")
        self.assertLess(time.monotonic() - begin, 20)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        self.save(10)
        self.assertTrue(self.callback.wait(PATIENCE))
        self.assertEqual(self.programs.pushed(), ["Training in progress, step 10"])
        self.assertEqual(self.warnings(), ["PushCallback: the worker ended unexpectedly; it is started again"])

    def test_every(self):
        cases = [(None, (None, 0)), (500, (500, 0)), ("30m", (None, 1800)), ("1h30m", (None, 5400)), ("10", (None, 600)), ("1d", (None, 86400))]
        for every, expected in cases:
            self.assertEqual(callbacks._pace(every), expected)
        for wrong in (0, -5, 1.5, True, "", "soon", "0m", "5x", [5]):
            with self.assertRaises(ValueError, msg=repr(wrong)):
                PushCallback("me/model", every=wrong)

    def test_every_so_many_steps_and_always_the_last(self):
        self.begin(PushCallback("me/model", every=100))
        for step in (50, 100, 150):
            self.save(step)
        self.assertTrue(self.callback.wait(PATIENCE))
        self.train_end()
        self.assertTrue(self.callback.wait(PATIENCE))
        self.assertEqual(self.programs.pushed(), ["Training in progress, step 100", "Training in progress, step 150"])

    def test_acts_on_one_process(self):
        self.state.is_world_process_zero = False
        self.args.save_on_each_node = True
        self.begin(PushCallback("me/model"))
        self.save(10)
        self.train_end()
        self.assertIsNone(self.callback._link)

    def test_refuses_before_the_first_step(self):
        for wrong in (dict(repo=""), dict(repo=5), dict(repo="me/model", final_wait=-1), dict(repo="me/model", push={"endpoint": "x"}),
                      dict(repo="me/model", card=[1]), dict(repo="me/model", private="yes")):
            with self.assertRaises(ValueError, msg=repr(wrong)):
                PushCallback(**wrong)
        self.programs.says("hub-push", 2, "'a b' is not a repository name")
        with self.assertRaisesRegex(ValueError, "is not a repository name"):
            PushCallback("a b")
        self.programs.works("hub-push")
        callback = PushCallback("me/model")
        self.programs.says("hub-push", 6, "no token found")
        with self.assertRaisesRegex(RemoteRefused, "no token found"):
            self.begin(callback)
        self.begin(PushCallback("me/model", endpoint="file:///cache"))
        with mock.patch.dict(os.environ, {"HF_HUB_OFFLINE": "1"}), self.assertRaisesRegex(ValueError, "HF_HUB_OFFLINE"):
            self.begin(callback)
        (self.programs.folder / "card-gen").unlink()
        with self.assertRaises(ProgramNotFound):
            PushCallback("me/model")

    def test_push_to_hub_is_warned_of_once(self):
        self.args.push_to_hub = True
        self.begin(PushCallback("me/model"))
        self.assertEqual(len(self.warnings()), 1)
        self.assertIn("PushCallback pushes to me/model", self.warnings()[0])

    def test_can_be_copied(self):
        self.begin(PushCallback("me/model"))
        self.assertEqual(copy.deepcopy(self.callback).repo, "me/model")
        self.assertEqual(pickle.loads(pickle.dumps(self.callback)).repo, "me/model")


class End(Training):
    def test_without_time_the_command_that_finishes_the_push_is_named_and_works(self):
        self.programs.hangs("hub-push")
        self.begin(PushCallback("me/model", final_wait=0))
        self.save(10)
        until((self.programs.folder / "hub-push.hanging").exists)
        self.train_end()
        self.finish()
        command = f"{sys.executable} -m model_coreutils.finish_push {self.run_folder}"
        self.assertEqual(self.warnings(), [f"PushCallback: the last checkpoint is not pushed to me/model yet. This finishes the push: {command}"])
        self.assertTrue(self.programs.was_terminated("hub-push"))
        self.assertEqual(self.held(), ["checkpoint-10"])
        self.programs.works("hub-push")
        with mock.patch("sys.stderr"):
            self.assertEqual(finish_push.main([str(self.run_folder)]), 0)
            self.assertEqual(self.programs.pushed(), ["Training in progress, step 10"])
            self.assertEqual(os.listdir(self.run_folder), ["checkpoint-10"])
            self.assertEqual(finish_push.main([str(self.run_folder)]), 0)
        self.assertEqual(len(self.programs.pushed()), 1)

    def test_ctrl_c_ends_the_wait(self):
        self.programs.hangs("hub-push")
        self.begin(PushCallback("me/model"))
        self.save(10)
        until((self.programs.folder / "hub-push.hanging").exists)
        with mock.patch.object(linking.Link, "wait", side_effect=KeyboardInterrupt):
            self.finish()
        self.assertIn("This finishes the push", self.warnings()[-1])
        self.assertTrue(self.programs.was_terminated("hub-push"))

    def test_a_last_checkpoint_that_never_becomes_complete_is_named(self):
        self.in_worker("from model_coreutils._background import push; push._PATIENCE_S = 0.1")
        self.begin(PushCallback("me/model"))
        self.save(10, torn=True)
        self.train_end()
        self.finish()
        self.assertIn("PushCallback: me/model: checkpoint-10 is not pushed: no weights", self.warnings())
        self.assertEqual(os.listdir(self.run_folder), ["checkpoint-10"])

    def trainer(self, code):
        """A trainer of its own, which runs the code, says "ready" and waits."""
        script = textwrap.dedent(
            f"""
            import sys
            sys.path[:0] = [{str(PACKAGE)!r}, {str(HERE)!r}]
            from model_coreutils._background import hold, link
            run = {str(self.run_folder)!r}
            room = hold.room_of(run, "me/model", None, None)
            settings = dict(run=run, room=room, trainer=0, repo="me/model", message="{{step}}", pack=[], card=[], push=[], command="c", programs={self.programs.paths!r})
            push = link.Link("push", settings, print, 0, "unfinished")
            """
        )
        return subprocess.Popen([sys.executable, "-c", script + textwrap.dedent(code)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def test_a_trainer_that_is_killed_takes_worker_and_programs_along_and_the_next_run_pushes(self):
        self.programs.hangs("hub-push")
        checkpoint = self.run_folder / "checkpoint-10"
        checkpoint.mkdir()
        (checkpoint / "trainer_state.json").write_text("{}")
        code = """
            held, _ = hold.hold(room, run + "/checkpoint-10")
            push.send(do="save", hold=held.folder, name=held.name)
            import os
            if os.fork() == 0:  # as a data loader's process: it keeps the pipe open
                sys.stdin.read()
                os._exit(0)
            print(push._process.pid, flush=True)
            sys.stdin.read()
            """
        with self.trainer(code) as trainer:
            worker = int(trainer.stdout.readline())
            until((self.programs.folder / "hub-push.hanging").exists)
            trainer.kill()
            begin = time.monotonic()
            until(lambda: gone(worker))
            self.assertLess(time.monotonic() - begin, 10)
            self.assertTrue(self.programs.was_terminated("hub-push"))
            trainer.stdin.close()
        self.assertEqual(self.held(), ["checkpoint-10"])
        self.programs.works("hub-push")
        self.begin(PushCallback("me/model"))
        until(self.programs.pushed)
        self.assertEqual(self.programs.pushed(), ["Training in progress, step 10"])
        until(lambda: self.held() == [])

    def test_a_run_that_pushes_elsewhere_removes_what_is_left(self):
        self.save_room = holding.room_of(str(self.run_folder), "me/other", None, None)
        (self.run_folder / "checkpoint-5").mkdir()
        (self.run_folder / "checkpoint-5/trainer_state.json").write_text("{}")
        holding.hold(self.save_room, str(self.run_folder / "checkpoint-5"))
        self.begin(PushCallback("me/model"))
        self.save(10)
        self.assertTrue(self.callback.wait(PATIENCE))
        self.assertFalse(os.path.exists(self.save_room))

    def test_the_worker_has_the_lowest_priority_and_a_session_of_its_own(self):
        with mock.patch.object(linking, "_CODE", UNPATCHED):
            self.begin(PushCallback("me/model"))
        self.save(10)
        self.assertTrue(self.callback.wait(PATIENCE))
        pid = self.callback._link._process.pid
        self.assertEqual(os.getpriority(os.PRIO_PROCESS, pid), 19)
        self.assertEqual(os.getsid(pid), pid)
        if is_here("ionice"):
            self.assertEqual(subprocess.run(["ionice", "-p", str(pid)], stdout=subprocess.PIPE, text=True).stdout.strip(), "idle")


class Prune(Training):
    def test_prunes_after_each_save_and_pins_the_best_and_what_is_held(self):
        self.begin(PruneCallback(keep=2, keep_best=1, metric="eval_f1", max=True))
        self.save(10)
        self.assertTrue(self.callback.wait(PATIENCE))
        holding.hold(holding.room_of(str(self.run_folder), "me/model", None, None), str(self.run_folder / "checkpoint-10"))
        self.state.best_model_checkpoint = str(self.run_folder / "checkpoint-20")
        self.save(20)
        self.assertTrue(self.callback.wait(PATIENCE))
        self.train_end()
        self.finish()
        _, first, second, *rest = self.programs.calls("ckpt-prune")
        self.assertEqual(first, ["--color=never", "--keep=2", "--keep-best=1", "--metric=eval_f1", "--max", "--json", "--threads=1", "--", str(self.run_folder)])
        self.assertLess({"--pin=10", "--pin=20"}, set(second))
        self.assertGreaterEqual(len(rest), 1)
        self.assertEqual(self.warnings(), [])

    def test_looks_again_until_the_newest_is_complete_and_when_a_hold_ends(self):
        self.begin(PruneCallback())
        self.save(10, torn=True)
        before = len(self.programs.calls("ckpt-prune"))
        until(lambda: len(self.programs.calls("ckpt-prune")) >= before + 2)
        held, _ = holding.hold(holding.room_of(str(self.run_folder), "me/model", None, None), str(self.run_folder / "checkpoint-10"))
        until(lambda: option(self.programs.calls("ckpt-prune")[-1], "--pin") == "10")
        (self.run_folder / "checkpoint-10/torn").unlink()
        self.assertTrue(self.callback.wait(PATIENCE))
        holding.drop(held)
        until(lambda: option(self.programs.calls("ckpt-prune")[-1], "--pin") is None)

    def test_trouble_is_said_once(self):
        self.begin(PruneCallback())
        self.programs.says("ckpt-prune", 4, "no checkpoint has eval_f1")
        for step in (10, 20, 30):
            self.save(step)
            self.assertTrue(self.callback.wait(PATIENCE))
        self.assertEqual(self.warnings(), ["PruneCallback: ckpt-prune: no checkpoint has eval_f1"])

    def test_acts_on_one_process_of_the_job_or_of_each_node(self):
        for each_node, world, local, acts in [(False, True, True, True), (False, False, True, False), (True, False, True, True), (True, False, False, False)]:
            self.args.save_on_each_node = each_node
            self.state.is_world_process_zero, self.state.is_local_process_zero = world, local
            self.assertEqual(self.begin(PruneCallback())._link is not None, acts)

    def test_with_save_total_limit_it_acts_at_the_end_and_says_so(self):
        self.args.save_total_limit = 2
        self.begin(PruneCallback())
        self.assertEqual(len(self.warnings()), 1)
        self.save(10)
        self.assertTrue(self.callback.wait(PATIENCE))
        before = len(self.programs.calls("ckpt-prune"))
        self.train_end()
        self.assertTrue(self.callback.wait(PATIENCE))
        self.assertEqual((before, len(self.programs.calls("ckpt-prune"))), (1, 2))  # the first judged the options

    def test_refuses_wrong_arguments(self):
        for wrong in (dict(keep=-1), dict(keep=True), dict(keep="3"), dict(keep_best=1.5), dict(json=True), dict(dry_run=True)):
            with self.assertRaises(ValueError, msg=repr(wrong)):
                PruneCallback(**wrong)
        self.programs.says("ckpt-prune", 2, "there is no option --keeep")
        with self.assertRaisesRegex(ValueError, "there is no option --keeep"):
            PruneCallback(keeep=3)

    def test_training_twice_in_one_process(self):
        self.begin(PruneCallback())
        first = self.callback._link
        self.save(10)
        self.train_end()
        self.callback.on_train_begin(self.args, self.state, None)
        self.save(20)
        self.assertTrue(self.callback.wait(PATIENCE))
        self.assertIs(self.callback._link, first)
        self.args.output_dir = self.folder.name
        self.callback.on_train_begin(self.args, self.state, None)
        self.assertIsNot(self.callback._link, first)
        first._process.wait(PATIENCE)


def is_here(program):
    return any(os.access(os.path.join(folder, program), os.X_OK) for folder in os.get_exec_path())


if __name__ == "__main__":
    unittest.main()
