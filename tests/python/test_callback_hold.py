# SPDX-License-Identifier: Apache-2.0
"""Holds, the queue of a push, and what the callbacks tell from arguments."""
import os
import pathlib
import sys
import tempfile
import unittest
from types import SimpleNamespace
from unittest import mock

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools/python"))

from model_coreutils._background import hold as holding  # noqa: E402
from model_coreutils._background.hold import Hold  # noqa: E402
from model_coreutils._background.nodes import lacks_other_ranks  # noqa: E402
from model_coreutils._background.push import Outcome, outcome_of  # noqa: E402
from model_coreutils._background.queue import Queue  # noqa: E402


def no_links(*_, **__):
    raise PermissionError(1, "Operation not permitted")


class Holds(unittest.TestCase):
    def setUp(self):
        self.run_folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory())) / "run"
        self.checkpoint = self.run_folder / "checkpoint-300"
        for name in ("model.safetensors", "trainer_state.json", "optimizer.pt", "rng_state_1.pth", "global_step300/mp_rank_00_model_states.pt"):
            place = self.checkpoint / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(name)
        self.room = holding.room_of(str(self.run_folder), "me/model", None, None)

    def enterContext(self, context):  # unittest has it from Python 3.11 on
        value = context.__enter__()
        self.addCleanup(context.__exit__, None, None, None)
        return value

    def hold(self):
        return holding.hold(self.room, str(self.checkpoint))

    def files(self, held):
        return {os.path.relpath(os.path.join(folder, name), held.checkpoint) for folder, _, names in os.walk(held.checkpoint) for name in names}

    def test_links_what_a_push_needs(self):
        held, copied = self.hold()
        self.assertEqual(self.files(held), {"model.safetensors", "trainer_state.json", "global_step300/mp_rank_00_model_states.pt"})
        for name in self.files(held):
            self.assertTrue(os.path.samefile(os.path.join(held.checkpoint, name), self.checkpoint / name), name)
        self.assertEqual((held.name, held.step, copied), ("checkpoint-300", 300, 0))
        self.assertEqual(holding.held(str(self.run_folder)), [held])

    def test_is_no_checkpoint_to_the_trainer_and_left_out_of_uploads(self):
        self.hold()
        self.assertEqual([one.name for one in self.run_folder.glob("checkpoint-*")], ["checkpoint-300"])
        self.assertEqual([name for name in os.listdir(self.run_folder) if not name.startswith(".")], ["checkpoint-300"])
        self.assertIn("/.cache/huggingface/", self.room)  # what huggingface_hub never uploads

    def test_copies_where_links_fail_and_only_once(self):
        with mock.patch("os.link", no_links):
            held, copied = self.hold()
            self.assertEqual(copied, sum(os.path.getsize(self.checkpoint / name) for name in self.files(held)))
            self.assertEqual(holding.mirror(str(self.checkpoint), held.checkpoint), 0)
        self.assertEqual((pathlib.Path(held.checkpoint) / "model.safetensors").read_text(), "model.safetensors")
        self.assertTrue(holding.same_save(held, str(self.checkpoint)))

    def test_copies_where_the_kernel_can_not_help(self):
        with mock.patch("os.link", no_links), mock.patch("os.copy_file_range", no_links):
            held, _ = self.hold()
        self.assertEqual((pathlib.Path(held.checkpoint) / "model.safetensors").read_text(), "model.safetensors")

    def test_stays_when_the_checkpoint_goes(self):
        held, _ = self.hold()
        (self.checkpoint / "model.safetensors").unlink()
        self.assertEqual((pathlib.Path(held.checkpoint) / "model.safetensors").read_text(), "model.safetensors")

    def test_takes_what_other_ranks_write_later(self):
        (self.checkpoint / "zero_pp_rank_1.pt.tmp").write_text("rank 1")
        held, _ = self.hold()
        (self.checkpoint / "zero_pp_rank_1.pt.tmp").rename(self.checkpoint / "zero_pp_rank_1.pt")
        replaced = self.checkpoint / "new"
        replaced.write_text("whole weights")
        replaced.rename(self.checkpoint / "model.safetensors")
        holding.mirror(str(self.checkpoint), held.checkpoint)
        self.assertIn("zero_pp_rank_1.pt", self.files(held))
        self.assertNotIn("zero_pp_rank_1.pt.tmp", self.files(held))
        self.assertEqual((pathlib.Path(held.checkpoint) / "model.safetensors").read_text(), "whole weights")

    def test_keeps_what_it_has_of_a_checkpoint_that_is_removed_meanwhile(self):
        held, _ = self.hold()
        before = self.files(held)
        (self.checkpoint / "model.safetensors").unlink()
        holding.mirror(str(self.checkpoint), held.checkpoint)
        self.assertEqual(self.files(held), before)
        with mock.patch("os.link", side_effect=FileNotFoundError):
            (self.checkpoint / "trainer_state.json").write_text("another")
            (self.checkpoint / "trainer_state.json").rename(self.checkpoint / "t")
            (self.checkpoint / "trainer_state.json").write_text("a third")
            holding.mirror(str(self.checkpoint), held.checkpoint)
        self.assertEqual(self.files(held), before)

    def test_follows_links_to_files(self):
        (self.run_folder / "blob").write_text("blob")
        (self.checkpoint / "tokenizer.json").symlink_to("../blob")
        held, _ = self.hold()
        self.assertTrue(os.path.samefile(os.path.join(held.checkpoint, "tokenizer.json"), self.run_folder / "blob"))
        self.assertFalse(os.path.islink(os.path.join(held.checkpoint, "tokenizer.json")))

    def test_tells_a_later_save_of_the_same_step(self):
        held, _ = self.hold()
        self.assertTrue(holding.same_save(held, str(self.checkpoint)))
        (self.checkpoint / "trainer_state.json").unlink()
        self.assertFalse(holding.same_save(held, str(self.checkpoint)))
        (self.checkpoint / "trainer_state.json").write_text("another training")
        self.assertFalse(holding.same_save(held, str(self.checkpoint)))

    def test_a_checkpoint_that_is_not_there_is_an_error_and_leaves_no_hold(self):
        with self.assertRaises(FileNotFoundError):
            holding.hold(self.room, str(self.run_folder / "checkpoint-7"))
        self.assertEqual([name for name in os.listdir(self.room) if not name.startswith(".gitignore")], [])

    def test_are_in_the_order_of_saves_and_can_be_dropped(self):
        first, second = self.hold()[0], self.hold()[0]
        self.assertEqual(holding.holds(self.room), [first, second])
        holding.drop(first)
        holding.drop(first)
        self.assertEqual(holding.holds(self.room), [second])

    def test_sweep_removes_what_a_kill_left_but_not_what_the_trainer_makes(self):
        held, _ = self.hold()
        for name in (".new-1-5", ".new-22-5", ".gone-5"):
            os.makedirs(os.path.join(self.room, name, "checkpoint-1"))
        holding.sweep(self.room, trainer=22)
        self.assertEqual(sorted(os.listdir(self.room)), [".new-22-5", os.path.basename(held.folder)])

    def test_a_room_is_locked_by_one_and_goes_with_the_folders_around_it(self):
        self.hold()
        lock = holding.lock(self.room)
        self.assertIsNone(holding.lock(self.room))
        self.assertEqual(holding.remove_stale_rooms(str(self.run_folder), but=[]), [])
        os.close(lock)
        self.assertEqual(holding.remove_stale_rooms(str(self.run_folder), but=[self.room]), [])
        self.assertEqual(holding.remove_stale_rooms(str(self.run_folder), but=[]), [self.room])
        self.assertEqual(os.listdir(self.run_folder), ["checkpoint-300"])

    def test_rooms_differ_by_place(self):
        places = [("me/a", None, None), ("me/b", None, None), ("me/a", "dev", None), ("me/a", None, "https://mirror")]
        self.assertEqual(len({holding.room_of("run", *place) for place in places}), 4)


class Newest(unittest.TestCase):
    def setUp(self):
        self.queue = Queue()
        self.first, self.second, self.third = (Hold(f"room/{i}", f"checkpoint-{i}0") for i in (1, 2, 3))

    def test_one_after_the_other(self):
        self.queue.add(self.first)
        self.assertIsNone(self.queue.take())
        self.assertEqual(self.queue.complete(self.first), [])
        self.assertEqual(self.queue.take(), self.first)
        self.assertFalse(self.queue.empty)
        self.assertEqual(self.queue.pushed(), self.first)
        self.assertTrue(self.queue.empty)

    def test_a_newer_complete_one_takes_the_place(self):
        for hold in (self.first, self.second, self.third):
            self.queue.add(hold)
        self.assertEqual(self.queue.complete(self.first), [])
        self.assertEqual(self.queue.complete(self.third), [self.second, self.first])
        self.assertEqual(self.queue.take(), self.third)

    def test_the_previous_one_is_used_until_the_newer_is_complete(self):
        self.queue.add(self.first)
        self.queue.add(self.second)
        self.assertEqual(self.queue.complete(self.first), [])
        self.assertEqual(self.queue.take(), self.first)
        self.assertEqual(self.queue.waiting, [self.second])

    def test_what_failed_is_tried_again_unless_there_is_a_newer_one(self):
        self.queue.add(self.first)
        self.queue.complete(self.first)
        self.queue.take()
        self.assertEqual(self.queue.put_back(), [])
        self.assertEqual(self.queue.take(), self.first)
        self.queue.add(self.second)
        self.queue.complete(self.second)
        self.assertEqual(self.queue.put_back(), [self.first])
        self.assertEqual(self.queue.take(), self.second)

    def test_knows_each_hold_once(self):
        self.queue.add(self.first)
        self.queue.add(self.first)
        self.queue.complete(self.first)
        self.queue.add(self.first)
        self.assertEqual(self.queue.waiting, [])


class Tables(unittest.TestCase):
    def test_exit_codes(self):
        expected = {0: "PUSHED", 75: "LATER", 7: "LATER", -15: "LATER", -9: "LATER", 143: "LATER", 6: "STOP", 2: "STOP", 5: "NEVER", 4: "NEVER", 3: "NEVER", 1: "NEVER"}
        self.assertEqual({code: outcome_of(code).name for code in expected}, expected)
        self.assertEqual(len(Outcome), 4)

    def test_who_lacks_the_files_of_other_ranks(self):
        def args(**members):
            return SimpleNamespace(**{"save_on_each_node": True, "world_size": 16, "deepspeed": None, "fsdp": None, "fsdp_config": {}, **members})

        zero, shards, whole = {"stage": 3}, {"state_dict_type": "SHARDED_STATE_DICT"}, {"state_dict_type": "FULL_STATE_DICT"}
        two_nodes, fsdp2 = {"LOCAL_WORLD_SIZE": "8"}, {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
        cases = [
            (args(), two_nodes, False),
            (args(deepspeed=zero), two_nodes, True),
            (args(deepspeed=zero), {}, True),  # several processes, and nothing says that they are on one node
            (args(deepspeed=zero), {"LOCAL_WORLD_SIZE": "16"}, False),
            (args(deepspeed=zero, world_size=1), {}, False),
            (args(deepspeed=zero, save_on_each_node=False), two_nodes, False),
            (args(fsdp=True, fsdp_config=shards), two_nodes, True),
            (args(fsdp=True, fsdp_config=whole), two_nodes, False),
            (args(fsdp=True), two_nodes, False),
            (args(), {**two_nodes, **fsdp2}, True),
            (args(), {**two_nodes, **fsdp2, "FSDP_STATE_DICT_TYPE": "1"}, False),
            (args(), {**two_nodes, "ACCELERATE_USE_DEEPSPEED": "true"}, True),
        ]
        for members, environment, expected in cases:
            with self.subTest(members=members, environment=environment), mock.patch.dict(os.environ, environment, clear=True):
                self.assertEqual(bool(lacks_other_ranks(members)), expected)


if __name__ == "__main__":
    unittest.main()
