# SPDX-License-Identifier: Apache-2.0
"""From keyword arguments to a command line."""
import os
import pathlib

from programs import BIN_DIR, FIXTURES, Case

import model_coreutils as mc
from model_coreutils.functions.ckpt_prune import CKPT_PRUNE


class Arguments(Case):
    def test_each_kind_of_option(self):
        arguments = self.called_with(mc.st_pack, "in", output="out", max_shard_size="5GB", weights_only=True, force=False, verbose=2,
                                     select=["*.a", "*.b"], exclude=("c",), rename="s/x/y/", from_="zero", names_from=None, threads=3)
        self.assertEqual(arguments, [
            "--output=out", "--max-shard-size=5GB", "--weights-only", "--from=zero", "--select=*.a", "--select=*.b", "--exclude=c",
            "--rename=s/x/y/", "--threads=3", "--verbose", "--verbose", "--", "in"])

    def test_optional_values(self):
        for given, option in ((True, ["--check"]), ("hub", ["--check=hub"]), (False, []), (None, [])):
            self.assertEqual(self.called_with(mc.st_inspect, "x", check=given), [*option, "--", "x"])
        self.assertEqual(self.called_with(mc.st_inspect, "x", tree=2), ["--tree=2", "--", "x"])
        self.assertEqual(self.called_with(mc.card_gen, "x", plot=pathlib.Path("a.svg")), ["--plot=a.svg", "--", "x"])

    def test_negated_flags(self):
        for given, option in ((True, ["--private"]), (False, ["--no-private"]), (None, [])):
            self.assertEqual(self.called_with(mc.hub_push, "out", "a/b", private=given), [*option, "--", "out", "a/b"])

    def test_mappings_are_key_and_value(self):
        arguments = self.called_with(mc.st_pack, "in", output="out", metadata={"a": "b=c", "d": None, "e": 1}, dtype={"*norm*": "f32"})
        self.assertEqual(arguments, ["--output=out", "--metadata=a=b=c", "--metadata=d=", "--metadata=e=1", "--dtype=*norm*=f32", "--", "in"])

    def test_numbers(self):
        arguments = self.called_with(mc.ckpt_prune, keep=0, keep_step=40, pin=[3, "list"], min_free=10**15, max=True)
        self.assertEqual(arguments, ["--keep=0", "--max", "--keep-step=40", "--pin=3", "--pin=list", "--min-free=1000000000000000", "--"])
        self.assertEqual(self.called_with(mc.lora_extract, "a", "b", compare=True, tolerance=1e-9), ["--compare", "--tolerance=1e-09", "--", "a", "b"])

    def test_dashes_are_no_options(self):
        arguments = self.called_with(mc.hub_push, pathlib.Path("-n"), "--json", "-p", message="--force", delete="-x")
        self.assertEqual(arguments, ["--delete=-x", "--message=--force", "--", "-n", "--json", "-p"])

    def test_odd_values_arrive(self):
        odd = ["", "[a,b]", "{}", "a b", "'\"$x`", "=", "a=b", "\n", "ü"]
        self.assertEqual(self.called_with(mc.hub_push, "x", "a/b", exclude=odd),
                         [*(word for each in odd for word in (["--exclude=" + each] if each else ["--exclude", ""])), "--", "x", "a/b"])
        os.environ["MODEL_COREUTILS_BIN"] = str(BIN_DIR)
        report = mc.st_pack(FIXTURES / "tied", output="out", metadata=[f"key{i}={each}" for i, each in enumerate(odd) if each])
        self.assertTrue(report.ok)
        metadata = mc.st_inspect("out")["metadata"]
        self.assertEqual([metadata[f"key{i}"] for i, each in enumerate(odd) if each], [each for each in odd if each])

    def test_options_without_a_function(self):
        cases = [({"keep": 3, "keep_best": 0}, ["--keep=3", "--keep-best=0"]), ({"min": True, "max": False, "metric": None}, ["--min"]),
                 ({"pin": [1, "2"]}, ["--pin=1", "--pin=2"]), ({"trash": pathlib.Path("a b")}, ["--trash=a b"]), ({}, [])]
        for keywords, expected in cases:
            self.assertEqual(CKPT_PRUNE.options(keywords), expected)
        for keywords, said in (({"keeep": 3}, "'keeep'; did you mean 'keep'?"), ({"keep_epoch": True}, "did you mean 'keep_epochs'?"),
                               ({"run_dirs": "x"}, "run_dirs"), ({5: None}, "5$"), ({"dry-run": True}, "did you mean 'dry_run'?")):
            with self.assertRaisesRegex(TypeError, said.replace("?", "[?]")):
                CKPT_PRUNE.options(keywords)

    def test_types_are_checked(self):
        for options in ({"force": "yes"}, {"max_shard_size": ["1GB", "2GB"]}, {"output": True}, {"select": 1j, "output": "x"},
                        {"metadata": {"a": []}}, {"metadata": object()}, {"threads": object()}, {"no_such_option": 1}, {"json": True}):
            with self.subTest(options=options), self.assertRaises(TypeError) as caught:
                mc.st_pack("in", **{"output": "out", **options})
            self.assertIn(next(iter(options)), str(caught.exception))
        with self.assertRaises(TypeError):
            mc.st_pack("in")
        with self.assertRaises(TypeError):
            mc.st_pack(3, output="out")

    def test_standard_streams_are_not_offered(self):
        for call in (lambda: mc.st_pack("in", output="-"), lambda: mc.st_pack("-", output="out"), lambda: mc.card_lint("-"),
                     lambda: mc.st_pack("in", output="out", names_from="-"), lambda: mc.hub_push("-", "a/b", "c")):
            with self.assertRaisesRegex(ValueError, "standard input or output"):
                call()
        self.assertFalse(os.path.exists("out"))

    def test_a_nul_is_refused(self):
        for call in (lambda: mc.st_inspect("a\0b"), lambda: mc.st_pack("in", output="out", metadata={"a": "b\0"})):
            with self.assertRaisesRegex(ValueError, "NUL"):
                call()

    def test_one_document_a_call(self):
        with self.assertRaisesRegex(TypeError, "diff or combine"):
            mc.st_inspect(FIXTURES / "tied", FIXTURES / "base")
        self.assertFalse(mc.st_inspect(FIXTURES / "tied", FIXTURES / "base", diff=True).ok)
        names = mc.st_inspect(FIXTURES / "tied", FIXTURES / "base", names=True).text.splitlines()
        self.assertEqual(len(names), sum(len(mc.st_inspect(FIXTURES / each)["tensors"]) for each in ("tied", "base")))
