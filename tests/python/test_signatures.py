# SPDX-License-Identifier: Apache-2.0
"""The functions that are checked in, against what the programs say."""
import ast
import inspect
import json
import keyword
import subprocess
import sys
import typing

from programs import BIN_DIR, SOURCES, Case

import model_coreutils as mc
from model_coreutils import _programs, functions

NOT_OFFERED = {"json", "color", "progress", "no_progress", "help", "version"}


class Signatures(Case):
    def test_they_are_what_the_programs_say(self):
        made = subprocess.run([sys.executable, SOURCES / "make-functions", "--check", BIN_DIR], stderr=subprocess.PIPE, universal_newlines=True)
        self.assertEqual((made.returncode, made.stderr), (0, ""))

    def test_every_option_is_a_keyword(self):
        for program in _programs.PROGRAMS:
            options = json.loads(subprocess.run([BIN_DIR / program, "--dump-options"], stdout=subprocess.PIPE, check=True).stdout)["options"]
            names = {name[2:].replace("-", "_") for option in options for name in option["names"] if name.startswith("--")}
            names = {name + "_" if keyword.iskeyword(name) else name for name in names} - NOT_OFFERED
            names -= {name for name in names if name.startswith("no_") and name[3:] in names}
            function = getattr(mc, program.replace("-", "_"))
            keywords = {p.name for p in inspect.signature(function).parameters.values() if p.kind == p.KEYWORD_ONLY}
            self.assertEqual(keywords, names, program)
            self.assertTrue(program == "st-pack" or "from_" not in keywords)

    def test_each_has_a_line_in_the_docstring_and_a_type(self):
        for name in functions.__all__:
            function = getattr(mc, name)
            typing.get_type_hints(function)
            lines = {line.split()[0] for line in inspect.getdoc(function).splitlines() if line.startswith("  ")}
            for parameter in inspect.signature(function).parameters.values():
                if parameter.kind == parameter.KEYWORD_ONLY:
                    self.assertIn(parameter.name, lines, name)
            self.assertTrue(all(len(line) <= 120 for line in function.__doc__.splitlines()), name)

    def test_all_that_is_public_is_there(self):
        self.assertEqual(sorted(mc.__all__), mc.__all__)
        for name in mc.__all__:
            self.assertTrue(hasattr(mc, name), name)
        self.assertLessEqual(set(functions.__all__), set(mc.__all__))

    def test_sources_are_python_3_9(self):
        for path in (SOURCES / "model_coreutils").rglob("*.py"):
            tree = ast.parse(path.read_text(), str(path), feature_version=(3, 9))
            first = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
            if path.name != "__init__.py":
                self.assertEqual(first[0].module, "__future__", path)
