# SPDX-License-Identifier: Apache-2.0
"""What the functions return and raise, with the real programs: every exit code."""
import fcntl
import json
import logging
import os
import pickle
import shutil
import signal

from programs import FIXTURES, Case

import model_coreutils as mc


class Results(Case):
    def with_an_unknown_fact(self):
        model = self.copy("base", "model")
        (model / "all_results.json").write_text("x")
        return model

    def test_0_is_the_document(self):
        report = mc.st_inspect(FIXTURES / "tied", check="hub", stats=True)
        self.assertTrue(report.ok)
        self.assertEqual((report.schema, report.exit_code, report.program, report.text), ("modelutils.st-inspect/1", 0, "st-inspect", ""))
        self.assertEqual(report["tensors"][0]["dtype"], report["dtypes"][0]["dtype"])
        self.assertIn("stats", report)
        self.assertEqual(json.loads(json.dumps(report)), report)
        again = pickle.loads(pickle.dumps(report))
        self.assertEqual((again, again.ok, again.messages), (report, True, report.messages))

    def test_every_program_has_a_document(self):
        run = self.copy("full-run", "run")
        documents = [
            mc.st_pack(run / "checkpoint-40", output="out", dtype="bf16"),
            mc.st_inspect("out"),
            mc.lora_extract(FIXTURES / "lora-run" / "checkpoint-40", output="adapter"),
            mc.card_facts("out", base="a/b", run=run / "checkpoint-40"),
            mc.ckpt_prune(run, keep=1, dry_run=True),
        ]
        self.assertEqual([each.schema for each in documents], [
            "modelutils.st-pack/1", "modelutils.st-inspect/1", "modelutils.lora-extract/1", "modelutils.card-gen/1", "modelutils.ckpt-prune/1"])
        self.assertTrue(all(each.ok for each in documents))
        card = mc.card_gen("out", base="a/b", license="apache-2.0")
        self.assertTrue(card.startswith("---\n") and card.ok)
        self.assertFalse(os.path.exists("out/README.md"))
        written = mc.card_gen("out", in_place=True, base="a/b", license="apache-2.0")
        with open("out/README.md", encoding="utf-8") as file:
            self.assertEqual(written, file.read())
        with open("out/README.md", "w", newline="") as file:
            file.write("---\r\nlicense: mit\r\n---\r\n# Mine\r\n")
        written = mc.card_gen(b"out", in_place=True, base="a/b")
        with open("out/README.md", encoding="utf-8", newline="") as file:
            self.assertEqual(written, file.read())
        self.assertIn("# Mine\r\n", written)
        self.assertEqual(mc.card_lint("out/README.md").schema, "modelutils.card-gen.lint/1")

    def test_lora_extract_between_two_models(self):
        models = {"base": FIXTURES / "pair" / "base", "tuned": FIXTURES / "pair" / "tuned"}
        plan = mc.lora_extract(**models, output="adapter", rank=4, dry_run=True)
        self.assertEqual((plan.schema, plan["mode"], plan["done"], plan.ok), ("modelutils.lora-extract/1", "pair", False, True))
        made = mc.lora_extract(**models, output="adapter", rank=4)
        self.assertEqual([each["name"] for each in plan["modules"]], [each["name"] for each in made["modules"]])
        self.assertEqual(plan["modules"][0]["shape"], made["modules"][0]["shape"])
        same = mc.lora_extract(base=models["base"], tuned=models["base"], output="nothing")
        self.assertEqual((same.ok, same["done"], same["modules"], os.path.exists("nothing")), (False, False, [], False))

    def test_views_without_a_document_are_text(self):
        path = FIXTURES / "tied" / "model.safetensors"
        tensors = [each["name"] for each in mc.st_inspect(path)["tensors"]]
        self.assertEqual(mc.st_inspect(path, names=True).text.splitlines(), tensors)
        self.assertEqual(mc.st_inspect(path, names=True, null=True).text.split("\0")[:-1], tensors)
        self.assertTrue(mc.st_inspect(path, path, diff=True, names="as-is")["same"])
        self.assertEqual(set(json.loads(mc.st_inspect(path, header=True).text)) - {"__metadata__"}, set(tensors))
        self.assertEqual(mc.st_inspect(path, metadata="format").text, "pt\n")
        self.assertEqual(mc.st_inspect(path, metadata="none").ok, False)
        paths = mc.ckpt_prune(FIXTURES / "full-run", keep=1, paths="keep").text.splitlines()
        self.assertEqual([os.path.basename(each) for each in paths], ["checkpoint-40", "checkpoint-60"])
        values = mc.st_inspect(path, print=f"{tensors[0]}[0]")
        self.assertEqual(values.schema, "modelutils.st-inspect.values/1")

    def test_1_is_not_ok(self):
        report = mc.st_inspect(FIXTURES / "tied", FIXTURES / "base", diff=True)
        self.assertEqual((report.ok, report.exit_code, report.schema), (False, 1, "modelutils.st-inspect.diff/1"))
        self.copy("tied", "out")
        stale = mc.card_gen("out", check=True, base="a/b")
        self.assertEqual((stale.ok, stale), (False, "README.md: is missing\n"))

    def test_2_to_7(self):
        cut = self.folder / "cut.safetensors"
        cut.write_bytes((FIXTURES / "tied" / "model.safetensors").read_bytes()[:1000])
        full, model = self.copy("tied", "full"), self.with_an_unknown_fact()
        cases = [
            (2, mc.UsageError, "exclude one another", lambda: mc.st_inspect(full, stats=True, diff=True)),
            (3, mc.PartlyDone, "results", lambda: mc.card_gen(model, base="a/b", strict=True)),
            (4, mc.MalformedInput, "ST-", lambda: mc.st_inspect(cut)),
            (5, mc.Refused, "full", lambda: mc.st_pack(full, output="full")),
            (7, mc.InputOutputError, "No such file", lambda: mc.st_inspect("missing")),
        ]
        for code, kind, words, call in cases:
            with self.subTest(code=code), self.assertRaises(mc.ProgramError) as caught:
                call()
            error = caught.exception
            self.assertEqual((type(error), error.code, error.report.exit_code), (kind, code, code))
            self.assertIn(words, error.message)
            self.assertNotIn("\x1b", str(error))
            self.assertEqual(str(error), f"{error.program}: {error.message}")
            self.assertTrue(error.messages and all(line.startswith(error.program) for line in error.messages))
            again = pickle.loads(pickle.dumps(error))
            self.assertEqual((str(again), again.code, again.report), (str(error), code, error.report))

    def test_3_carries_what_was_done(self):
        model = self.with_an_unknown_fact()
        with self.assertRaises(mc.PartlyDone) as caught:
            mc.card_facts(model, strict=True)
        self.assertEqual(caught.exception.report.schema, "modelutils.card-gen/1")
        with self.assertRaises(mc.PartlyDone) as caught:
            mc.card_gen(model, strict=True)
        self.assertTrue(caught.exception.report.text.startswith("---\n"))
        one, two = self.copy("full-run", "one"), self.copy("full-run", "two")
        held = os.open(one, os.O_RDONLY)
        self.addCleanup(os.close, held)
        fcntl.flock(held, fcntl.LOCK_EX)
        with self.assertRaises(mc.PartlyDone) as caught:
            mc.ckpt_prune(one, two, keep=1)
        self.assertEqual(caught.exception.report.schema, "modelutils.ckpt-prune/1")
        self.assertEqual(sorted(each for each in os.listdir(two) if each.startswith("checkpoint-")), ["checkpoint-40", "checkpoint-60"])
        with self.assertRaises(mc.TemporaryFailure):
            mc.ckpt_prune(one, keep=1)

    def test_4_has_the_report_of_a_check(self):
        cut = self.folder / "cut.safetensors"
        cut.write_bytes((FIXTURES / "tied" / "model.safetensors").read_bytes()[:1000])
        with self.assertRaises(mc.MalformedInput) as caught:
            mc.st_inspect(cut, check=True)
        self.assertTrue(caught.exception.report["findings"])

    def test_6_75_and_a_push(self):
        self.start_hub()
        out = self.copy("base", "out")
        pushed = mc.hub_push(out, "ada/tiny", private=True, message="- first")
        self.assertTrue(pushed.ok and pushed.schema == "modelutils.hub-push/1")
        self.assertEqual(mc.st_inspect("hf://ada/tiny")["parameters"], mc.st_inspect(out)["parameters"])
        os.environ["HF_TOKEN"] = "hf_wrong"
        with self.assertRaises(mc.RemoteRefused) as caught:
            mc.hub_push(out, "ada/tiny")
        self.assertEqual(caught.exception.code, 6)
        self.assertNotIn("hf_wrong", repr(caught.exception))
        os.environ["HF_ENDPOINT"] = "http://127.0.0.1:9"  # nothing listens there
        with self.assertRaises(mc.TemporaryFailure) as caught:
            mc.hub_push(out, "ada/tiny", max_wait=0)
        self.assertEqual(caught.exception.code, 75)

    def test_a_signal_is_interrupted(self):
        self.fake("st-inspect", "echo begun; kill -TERM $$")
        with self.assertRaises(mc.Interrupted) as caught:
            mc.st_inspect("x")
        self.assertEqual((caught.exception.signal, caught.exception.code, caught.exception.report.text), (signal.SIGTERM, 143, "begun\n"))
        self.assertIn("SIGTERM", str(caught.exception))

    def test_another_exit_code(self):
        self.fake("st-inspect", "echo 'st-inspect: error while loading shared libraries' >&2; echo two >&2; exit 127")
        with self.assertRaises(mc.ProgramError) as caught:
            mc.st_inspect("x")
        self.assertEqual((type(caught.exception), caught.exception.code, caught.exception.message), (mc.ProgramError, 127, "two"))

    def test_keyboard_interrupt_ends_the_program(self):
        class Interrupt(logging.Handler):
            def emit(self, record):
                os.kill(os.getpid(), signal.SIGINT)

        handler = Interrupt()
        logging.getLogger("model_coreutils").addHandler(handler)
        self.addCleanup(logging.getLogger("model_coreutils").removeHandler, handler)
        self.fake("st-inspect", """trap 'echo ended > ended; kill $!; exit 143' TERM
          mkfifo wait; read x < wait & echo begun >&2; wait""")
        with self.assertRaises(KeyboardInterrupt):
            mc.st_inspect("x")
        self.assertTrue(os.path.exists("ended"))

    def test_messages_are_logged_by_kind(self):
        self.with_an_unknown_fact()
        with self.assertLogs("model_coreutils", logging.DEBUG) as logs:
            card = mc.card_gen("model", in_place=True, base="a/b")
        by_level = {record.levelname: record.getMessage() for record in logs.records}
        self.assertEqual("card-gen: wrote model/README.md", by_level["INFO"])
        self.assertIn("unknown: ", by_level["WARNING"])
        self.assertNotIn("\x1b", "".join(logs.output))
        self.assertEqual(card.messages, tuple(record.getMessage() for record in logs.records))
        with self.assertLogs("model_coreutils", logging.DEBUG) as logs, self.assertRaises(mc.InputOutputError):
            mc.st_inspect("missing")
        self.assertEqual([record.levelname for record in logs.records], ["DEBUG"])
        with self.assertLogs("model_coreutils", logging.DEBUG) as logs:
            self.assertFalse(mc.ckpt_prune(self.copy("full-run", "run"), max_total="1KB", dry_run=True, allow_unresumable=True).ok)
        self.assertIn("still", [record.getMessage() for record in logs.records if record.levelname == "WARNING"][-1])

    def test_much_on_both_streams(self):
        self.fake("st-inspect", "yes 123456789 | head -c 200000 >&2; yes 123456789 | head -c 3000000")
        report = mc.st_inspect("x", names=True)
        self.assertEqual((len(report.text), len(report.messages)), (3000000, 20000))

    def test_names_that_are_not_utf8(self):
        name = os.fsdecode(b"a\xff.safetensors")
        shutil.copy(FIXTURES / "tied" / "model.safetensors", name)
        self.assertTrue(mc.st_inspect(name, check=True).ok)
        self.assertTrue(mc.st_inspect(os.fsencode(name)).ok)
        mc.st_pack(name, output=os.fsdecode(b"out\xff"))
        self.assertTrue(os.path.isdir(b"out\xff"))
        run = self.copy("full-run", os.fsdecode(b"run\xff"))
        kept = mc.ckpt_prune(run, keep=1, paths="keep", null=True).text.split("\0")[:-1]
        self.assertTrue(len(kept) == 2 and all(os.path.isdir(path) for path in kept))
