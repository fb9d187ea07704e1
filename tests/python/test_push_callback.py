# SPDX-License-Identifier: Apache-2.0
"""What PushCallback does while a training runs."""
import copy
import os
import pathlib
import pickle
import signal
import sys
import time
import unittest
from unittest import mock

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from callback_training import PATIENCE, Training, until  # noqa: E402
from model_coreutils import callbacks, finish_push  # noqa: E402
from model_coreutils._errors import ProgramNotFound, RemoteRefused  # noqa: E402
from model_coreutils.callbacks import PushCallback  # noqa: E402


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

    def test_one_that_stays_incomplete_is_said_once(self):
        self.in_worker("from model_coreutils._background import push; push._LOOKS_S = (0.05, 0.05)")
        self.begin(PushCallback("me/model"))
        self.save(10, torn=True)
        self.save(20, torn=True)
        until(self.warnings)
        before = len(self.programs.calls("ckpt-prune"))
        until(lambda: len(self.programs.calls("ckpt-prune")) > before + 3)
        self.assertEqual(len(self.warnings()), 1)
        self.assertIn("is not pushed until it is complete: no weights", self.warnings()[0])
        (self.run_folder / "checkpoint-20/torn").unlink()
        self.assertTrue(self.callback.wait(PATIENCE))
        self.assertEqual(self.programs.pushed(), ["Training in progress, step 20"])

    def test_pushes_a_checkpoint_that_was_removed_meanwhile(self):
        self.begin(PushCallback("me/model"))
        self.programs.says("st-pack", 75, "busy")
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
        self.programs.works("hub-push")
        with mock.patch("sys.stderr"):
            self.assertEqual(finish_push.main([str(self.run_folder)]), 0)
        self.assertEqual(self.programs.pushed(), ["Training in progress, step 20"])
        self.assertEqual(sorted(os.listdir(self.run_folder)), ["checkpoint-10", "checkpoint-20"])

    def test_what_the_hub_refuses_is_asked_once_more(self):
        self.begin(PushCallback("me/model"))
        before = len(self.programs.calls("hub-push"))
        self.programs.says("hub-push", 6, "404: the repository went away", once=True)
        self.save(10)
        self.assertTrue(self.callback.wait(PATIENCE))
        refused, taken = self.programs.calls("hub-push")[before:]
        self.assertEqual(refused, taken)
        self.assertEqual((self.programs.pushed(), self.warnings()), (["Training in progress, step 10"], []))
        self.save(20)
        self.assertTrue(self.callback.wait(PATIENCE))
        self.assertEqual(self.programs.pushed()[1:], ["Training in progress, step 20"])

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
            self.callback._link.send(do="save", hold="x" * 100, name="checkpoint-1", rooms=[])
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

    def test_options_that_are_lists(self):
        callback = PushCallback("me/model", dtype={"*norm*": "f32"}, dataset=(name for name in ("a/b", "c/d")), pack={"select": {"x"}, "base": b"\xff"})
        self.assertEqual(callback._pack, ["--dtype=*norm*=f32", "--select=x", "--base=\udcff"])
        self.assertEqual(callback._card[1:], ["--dataset=a/b", "--dataset=c/d"])

    def test_acts_on_one_process(self):
        self.state.is_world_process_zero = False
        self.args.save_on_each_node = True
        self.begin(PushCallback("me/model"))
        self.save(10)
        self.train_end()
        self.assertIsNone(self.callback._link)

    def test_refuses_before_the_first_step(self):
        for wrong in (dict(repo=""), dict(repo=5), dict(repo="me/model", final_wait=-1), dict(repo="me/model", push={"endpoint": "x"}),
                      dict(repo="me/model", card=[1]), dict(repo="me/model", private="yes"), dict(repo="me/model", push={"dry-run": True}),
                      dict(repo="me/model", message="a\0"), dict(repo="me/model", pack={"select": [["a"]]}), dict(repo="me/model", push={"repo": "x"}),
                      dict(repo="me/model", revision="a\0b"), dict(repo="me/model", card={"base_from": "-"}), dict(repo="me/model", pack={"select": True})):
            with self.assertRaises(ValueError, msg=repr(wrong)):
                PushCallback(**wrong)
        self.programs.says("hub-push", 2, "'a b' is not a repository name")
        with self.assertRaisesRegex(ValueError, "is not a repository name"):
            PushCallback("a b")
        self.assertIn("--message=Training in progress, step {step}", self.programs.calls("hub-push")[-1])
        self.programs.works("hub-push")
        callback, into_folder = PushCallback("me/model"), PushCallback("me/model", endpoint="file:///cache")
        self.programs.says("hub-push", 6, "no token found")
        with self.assertRaisesRegex(RemoteRefused, "no token found"):
            self.begin(callback)
        self.begin(into_folder)
        with mock.patch.dict(os.environ, {"HF_HUB_OFFLINE": "1"}), self.assertRaisesRegex(ValueError, "HF_HUB_OFFLINE"):
            self.begin(callback)
        self.programs.works("hub-push")
        (self.programs.folder / "card-gen").unlink()
        with self.assertRaises(ProgramNotFound):
            PushCallback("me/model")

    def test_push_to_hub_is_warned_of_once(self):
        self.args.push_to_hub = True
        self.begin(PushCallback("me/model"))
        self.assertEqual(len(self.warnings()), 1)
        self.assertIn("PushCallback pushes to me/model", self.warnings()[0])

    def test_a_token_of_the_arguments_goes_into_the_environment_alone(self):
        self.args.hub_token = "hf_arguments"
        link = self.begin(PushCallback("me/model"))._link
        self.assertEqual(link.environment, {"HF_TOKEN": "hf_arguments"})
        self.save(10)
        self.assertTrue(self.callback.wait(PATIENCE))
        self.assertNotIn("hf_arguments", (pathlib.Path(self.callback._room) / "settings.json").read_text() + str(self.programs.calls("hub-push")))

    def test_a_worker_that_always_ends_is_not_started_for_ever(self):
        self.begin(PushCallback("me/model"))
        for step in range(10, 80, 10):
            process = self.callback._link._process
            process.kill()
            process.wait()
            self.save(step)
        self.assertEqual(len(self.warnings()), 2)
        self.assertIn("will not be started again", self.warnings()[1])

    def test_can_be_copied(self):
        self.begin(PushCallback("me/model"))
        self.assertEqual(copy.deepcopy(self.callback).repo, "me/model")
        self.assertEqual(pickle.loads(pickle.dumps(self.callback)).repo, "me/model")


if __name__ == "__main__":
    unittest.main()
