#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fails when a file of lib, tools or tests has more than 500 lines, a C++ function more than 60, or a longer source of lib
or tools does not open with a paragraph that explains its method."""
import pathlib
import re
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
FILE_LINES = 500
FUNCTION_LINES = 60
UNEXPLAINED_LINES = 250  # of a source without a paragraph
PARAGRAPH_LINES = 3
DATA = re.compile(r"tests/fixtures/|tests/fuzz/corpus/|lib/\w+/data/|.*/(__pycache__|\.\w+_cache)/")
# One case for each opcode: cut up, it would be harder to read.
LONG = {("lib/weights/pickle/machine.cc", "step")}

SCOPE = re.compile(r"(?:class|struct|union)\b[^;()]*\{$")
RAW = re.compile(r'R"(\w*)\(.*?\)\1"', re.DOTALL)


def functions(text):
    """Name and length of each function of a C++ file. clang-format has made the indentation that this goes by: a function
    starts at the indentation of its scope, which is that of the file or a class, and ends with a brace in that column."""
    lines = RAW.sub(lambda raw: '""' + "\n" * raw[0].count("\n"), text).splitlines()
    scope, start = 0, None
    for number, line in enumerate(lines):
        words = line.strip()
        column = len(line) - len(line.lstrip())
        if not words or words.startswith(("#", "//")) or column > scope:
            continue
        if column < scope:
            if words.startswith("}"):  # the end of a class
                scope, start = column, None
        elif words == "}":
            if start is not None:
                yield name_of(lines[start]), number - start + 1
            start = None
        elif SCOPE.match(words.removeprefix("enum ")):
            scope, start = scope + 2, None
        else:
            start = number


def name_of(line):
    return (re.findall(r"([\w~]+)\(", line) or [line.strip()])[0]


def paragraph(text):
    """The length of the first comment of a source: before the first include, after the licence, or right after it."""
    longest = 0
    for part in text.split("#include", 2)[:2]:
        lines = [line.startswith("//") and "SPDX" not in line for line in part.splitlines()]
        longest = max([longest] + [len(run) for run in re.findall("1+", "".join("01"[line] for line in lines))])
    return longest


def faults(path, text):
    """The faults of one file, named relative to the root."""
    length = text.count("\n")
    if length > FILE_LINES:
        yield f"{path}: {length} lines, more than {FILE_LINES}"
    if not path.endswith((".cc", ".h")):
        return
    for name, lines in functions(text):
        if lines > FUNCTION_LINES and name != "TEST_CASE" and (path, name) not in LONG:
            yield f"{path}: {name} has {lines} lines, more than {FUNCTION_LINES}"
    if path.endswith(".cc") and not path.startswith("tests/") and length > UNEXPLAINED_LINES and paragraph(text) < PARAGRAPH_LINES:
        yield f"{path}: {length} lines, and no paragraph at the top says how it works"


def text_of(path):
    """The text of a file; None for one that holds something else."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


def self_test():
    body = "  call();\n" * FUNCTION_LINES
    wrong = [
        ("tests/cli/a.bats", "true\n" * 501),
        ("lib/a/a.cc", "int main() {\n" + body + "}\n"),
        ("lib/a/a.cc", "int f(int a,\n      int b) {\n" + body + "}\n"),
        ("lib/a/a.h", "class A : B {\n public:\n  A() : b_(1) {\n" + body.replace("  call", "    call") + "  }\n};\n"),
        ("lib/a/a.cc", "struct A {\n  int a;\n};\n\nA::A()\n    : a(1) {\n" + body + "}\n"),
        ("tests/unit/a_test.cc", "void check() {\n" + body + "}\n"),
        ("lib/weights/pickle/machine.cc", "void Machine::run() {\n" + body + "}\n"),
        ("lib/a/a.cc", "// SPDX\n// Two\n// lines.\n#include <a>\n" + "int a();\n" * 250),
        ("tools/a.cc", "// SPDX\n#include <a>\n#include <b>\n// Late.\n// Late.\n// Late.\n" + "int a();\n" * 250),
    ]
    right = [
        ("tests/cli/a.bats", "true\n" * 500),
        ("lib/a/a.cc", "int f() {\n" + body.removesuffix("  call();\n" * 2) + "}\n\n" + "int g() {\n  call();\n}\n" * 5),
        ("lib/a/a.cc", "const int kTable[] = {\n" + body + "};\n\nnamespace a {\nint f();\n}\n"),
        ("lib/a/a.cc", 'int f() {\n  call(R"(\nint g() {\n)");\n}\n' + "int a();\n" * 70 + "}\n"),
        ("tests/unit/a_test.cc", 'TEST_CASE("a") {\n' + body + "}\n"),
        ("lib/weights/pickle/machine.cc", "void Machine::step() {\n" + body + "}\n"),
        ("lib/a/a.cc", "// SPDX\n// Three\n// true\n// lines.\n#include <a>\n" + "int a();\n" * 250),
        ("lib/a/a.cc", "// SPDX\n#include <a>\n// Three\n// true\n// lines.\n#include <b>\n" + "int a();\n" * 250),
    ]
    for case in wrong:
        assert list(faults(*case)), f"went unnoticed: {case[0]}: {case[1][:60]!r}"
    for case in right:
        assert not list(faults(*case)), f"was refused: {list(faults(*case))}"
    with tempfile.NamedTemporaryFile() as file:
        pathlib.Path(file.name).write_bytes(b"\xff\0")
        assert text_of(pathlib.Path(file.name)) is None


def main():
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    files = {str(p.relative_to(ROOT)): p for d in ("lib", "tools", "tests") for p in sorted((ROOT / d).rglob("*")) if p.is_file()}
    texts = {name: text for name, p in files.items() if not DATA.match(name) and (text := text_of(p)) is not None}
    found = [f for name, text in texts.items() for f in faults(name, text)]
    print("\n".join(found) or f"sizes: {len(texts)} files, none too long")
    return 1 if found or not texts else 0


if __name__ == "__main__":
    sys.exit(main())
