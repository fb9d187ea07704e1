#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fails when a Markdown file of the tree has a link that leads nowhere, or names a file, a folder or a make target that
is not there; or when README is too long or names a version, which only project() in CMakeLists.txt may."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
LINES = 200
# What a path in code begins with when it is one of this tree.
PATH = re.compile(r"`((?:lib|tests|tools|man|\.github|\.ci)/[A-Za-z0-9_./-]*)`")


def anchors(text):
    """As GitHub makes them of headings."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}


def faults(name, text, read, targets):
    """The faults of a document; read(path) is the text of a file of the tree, "" of a folder, None for what is not there."""
    folder = pathlib.PurePosixPath(name).parent
    for link in re.findall(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"", text):
        path, _, anchor = (link[0] or link[1]).partition("#")
        if re.match(r"[a-z]+:", path):
            continue
        target = name if not path else str(pathlib.PurePosixPath(*simplified(folder / path)))
        there = read(target)
        if there is None:
            yield f"{name}: the link to {path} leads nowhere"
        elif anchor and anchor not in anchors(there):
            yield f"{name}: {target} has no heading for #{anchor}"
    for path in PATH.findall(text):
        if read(path.rstrip("/")) is None and name != "CHANGELOG.md":  # which tells of what was, too
            yield f"{name}: there is no {path}"
    for target in re.findall(r"`make ([a-z0-9-]+)", text) + re.findall(r"^\$ (?:sudo )?make ([a-z0-9-]+)", text, re.MULTILINE):
        if target not in targets:
            yield f"{name}: there is no `make {target}`"
    if name == "README.md":
        if text.count("\n") > LINES:
            yield f"README.md has {text.count(chr(10))} lines, more than {LINES}"
        for version in re.findall(r"modelutils[-_ ]v?[0-9]+\.[0-9]+\S*", text):
            yield f"README.md names a version: {version}"


def simplified(path):
    parts = []
    for part in path.parts:
        parts = parts[:-1] if part == ".." else parts + [part]
    return parts


def self_test():
    files = {"lib": "", "lib/README.md": "# Where a new thing belongs?\n", "README.md": "## Exit codes\n"}
    wrong = [
        ("README.md", "[a](nowhere.md)"),
        ("README.md", "[a](lib/README.md#elsewhere)"),
        ("README.md", "[a](#missing)"),
        ("lib/README.md", "[a](README.txt)"),
        ("README.md", '<img src="man/none.svg">'),
        ("README.md", "`lib/gone.cc`"),
        ("README.md", "`make gold`"),
        ("README.md", "$ sudo make gold"),
        ("README.md", "\n" * (LINES + 1)),
        ("README.md", "modelutils_0.1.0_amd64.deb"),
    ]
    right = [
        ("README.md", "[a](lib/README.md#where-a-new-thing-belongs) [b](#exit-codes) [c](https://example.org/x) `lib/` `make test`"),
        ("lib/README.md", "[a](../README.md#exit-codes) `make`"),
    ]
    assert all(list(faults(*case, files.get, {"test"})) for case in wrong), "a fault went unnoticed"
    assert not any(list(faults(*case, files.get, {"test"})) for case in right), "what is right was refused"


def main():
    if sys.argv[1:] == ["--self-test"]:
        return self_test()

    def read(path):
        place = ROOT / path
        return place.read_text(errors="replace") if place.is_file() else "" if place.is_dir() else None

    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    files = [*ROOT.glob("*.md"), *(path for folder in (".github", "lib", "tests") for path in (ROOT / folder).rglob("*.md"))]
    names = sorted(str(path.relative_to(ROOT)) for path in files if ROOT / "tests/fixtures" not in path.parents)
    found = [fault for name in names for fault in faults(name, read(name), read, targets)]
    print("\n".join(found) or f"documents: {len(names)} without a broken link")
    return 1 if found or not names else 0


if __name__ == "__main__":
    sys.exit(main())
