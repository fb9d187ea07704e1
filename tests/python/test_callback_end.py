# SPDX-License-Identifier: Apache-2.0
"""What becomes of a push when its training ends, is killed, or is started again."""
import multiprocessing
import os
import pathlib
import subprocess
import sys
import textwrap
import time
import unittest
from unittest import mock

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from callback_training import HERE, PACKAGE, PATIENCE, UNPATCHED, Training, gone, until  # noqa: E402
from model_coreutils import finish_push  # noqa: E402
from model_coreutils._background import hold as holding, link as linking  # noqa: E402
from model_coreutils.callbacks import PushCallback  # noqa: E402


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
        until(lambda: self.programs.was_terminated("hub-push"))
        self.assertEqual(self.held(), ["checkpoint-10"])
        self.programs.works("hub-push")
        with mock.patch("sys.stderr"):
            self.assertEqual(finish_push.main([str(self.run_folder)]), 0)
            self.assertEqual(self.programs.pushed(), ["Training in progress, step 10"])
            self.assertEqual(os.listdir(self.run_folder), ["checkpoint-10"])
            self.assertEqual(finish_push.main([str(self.run_folder)]), 0)
        self.assertEqual(len(self.programs.pushed()), 1)

    def test_relative_paths_are_those_of_the_training(self):
        self.programs.hangs("hub-push")
        self.begin(PushCallback("me/model", pack={"base": "base"}, final_wait=0))
        self.save(10)
        until((self.programs.folder / "hub-push.hanging").exists)
        self.finish()
        self.programs.works("hub-push")
        self.addCleanup(os.chdir, os.getcwd())
        training, programs = os.getcwd(), os.path.relpath(self.programs.folder, self.folder.name)
        os.chdir(self.folder.name)
        with mock.patch("sys.stderr"), mock.patch.dict(os.environ, {"MODEL_COREUTILS_BIN": programs}):
            self.assertEqual(finish_push.main(["run"]), 0)
            self.assertEqual((self.programs.pushed(), os.getcwd()), (["Training in progress, step 10"], training))
        (self.programs.folder / "st-pack").unlink()
        with mock.patch("sys.stderr") as said:
            self.assertEqual(finish_push.main([str(self.run_folder)]), 127)
        self.assertIn("finish_push: st-pack: is not in the folder", str(said.write.call_args_list))

    def test_waits_without_an_end(self):
        self.begin(PushCallback("me/model", final_wait=float("inf")))
        with mock.patch.object(linking.Link, "idle", False), mock.patch.object(linking.Link, "wait"):
            self.callback._link.finish()
        self.assertIn("PushCallback: waiting for the last push; Ctrl-C ends the wait", self.warnings())
        linking._open.clear()
        self.begin(PushCallback("me/model", final_wait=float("inf")))
        self.save(10)
        self.finish()
        self.assertEqual(self.programs.pushed(), ["Training in progress, step 10"])

    def test_a_training_with_another_folder_does_not_end_the_push_of_the_one_before(self):
        self.programs.hangs("hub-push")
        self.begin(PushCallback("me/model"))
        self.save(10)
        self.train_end()
        until((self.programs.folder / "hub-push.hanging").exists)
        first, self.args.output_dir = self.callback._link, self.folder.name
        self.callback.on_train_begin(self.args, self.state, None)
        self.assertIsNot(self.callback._link, first)
        self.programs.works("hub-push")
        until(self.programs.goes_on)
        self.assertTrue(first.wait(PATIENCE))
        self.assertEqual(self.programs.pushed(), ["Training in progress, step 10"])
        first._process.wait(PATIENCE)

    def test_a_process_that_multiprocessing_forked_waits_too(self):
        def train():
            self.begin(PushCallback("me/model"))
            self.save(10)
            self.train_end()

        child = multiprocessing.get_context("fork").Process(target=train)
        child.start()
        child.join(PATIENCE)
        self.assertEqual((child.exitcode, self.programs.pushed()), (0, ["Training in progress, step 10"]))

    def test_ctrl_c_ends_the_wait(self):
        self.programs.hangs("hub-push")
        self.begin(PushCallback("me/model"))
        self.save(10)
        until((self.programs.folder / "hub-push.hanging").exists)
        with mock.patch.object(linking.Link, "wait", side_effect=KeyboardInterrupt):
            self.finish()
        self.assertIn("This finishes the push", self.warnings()[-1])
        until(lambda: self.programs.was_terminated("hub-push"))

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
            push.start()
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
            push.send(do="save", hold=held.folder, name=held.name, rooms=[])
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
            until(lambda: self.programs.was_terminated("hub-push"))  # it says so when its turn comes
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

    def test_two_callbacks_leave_each_other_what_they_hold(self):
        self.begin(PushCallback("me/model"))
        self.in_worker("from model_coreutils._background import hold; hold.lock = lambda room: None")  # is not at work yet
        other = PushCallback("me/other", final_wait=0)
        other.on_train_begin(self.args, self.state, None)
        self.state.global_step = 10
        (self.run_folder / "checkpoint-10").mkdir()
        (self.run_folder / "checkpoint-10/trainer_state.json").write_text("{}")
        other.on_save(self.args, self.state, None)
        self.callback.on_save(self.args, self.state, None)
        self.assertTrue(self.callback.wait(PATIENCE))
        self.assertEqual([one.name for one in holding.holds(other._room)], ["checkpoint-10"])

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


def is_here(program):
    return any(os.access(os.path.join(folder, program), os.X_OK) for folder in os.get_exec_path())


if __name__ == "__main__":
    unittest.main()
