# SPDX-License-Identifier: Apache-2.0
"""What PruneCallback does while a training runs."""
import logging
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from callback_training import PATIENCE, Training, until  # noqa: E402
from fake_programs import option  # noqa: E402
from model_coreutils._background import hold as holding  # noqa: E402
from model_coreutils._errors import InputOutputError  # noqa: E402
from model_coreutils.callbacks import PruneCallback  # noqa: E402


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
        with self.assertRaisesRegex(ValueError, "'keeep'; did you mean 'keep'"):
            PruneCallback(keeep=3)
        self.programs.says("ckpt-prune", 2, "--torn takes keep, remove or aside, not 'never'")
        with self.assertRaisesRegex(ValueError, "ckpt-prune: --torn takes keep"):
            PruneCallback(torn="never")
        self.programs.says("ckpt-prune", 7, "/nowhere: cannot open the pin")
        with self.assertRaisesRegex(InputOutputError, "cannot open the pin"):
            PruneCallback(pin="/nowhere")
        self.programs.says("ckpt-prune", 1, "still 1 TB short of --min-free")  # where nothing can be removed yet
        with self.assertLogs("model_coreutils") as logs:
            PruneCallback(min_free="1TB")
            logging.getLogger("model_coreutils").warning("what a program says of its options is not logged")
        self.assertEqual(len(logs.output), 1)

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


if __name__ == "__main__":
    unittest.main()
