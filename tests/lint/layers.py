#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fails when an include points up or sideways on the map of lib/README.md, modules include one another in a circle, a
library is used where it should not be, or the map and the tree have different folders and files."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
LIB = ROOT / "lib"
# Folders with sources; a room inside a folder ("weights/torch") is a layer of its own.
FOLDERS = {str(p.parent.relative_to(LIB)) for p in LIB.rglob("*.cc")} | {"tools"}


def layers_of(readme):
    """The layers of the map's picture, lowest first: each line begins with the names of its folders."""
    layers = []
    for line in readme.split("```")[1].strip().splitlines():
        names = []
        for word in line.split():
            if word not in FOLDERS:
                break
            names.append(word)
        layers.insert(0, names)
    return layers


MAP = (ROOT / "lib/README.md").read_text()
RANK = {folder: rank for rank, layer in enumerate(layers_of(MAP)) for folder in layer}
# A library's headers, and the only files or folders that may see them.
LIBRARIES = {
    "CLI/": ["lib/cli/", "tools/"],
    "nlohmann/": ["lib/base/json.cc"],
    "openssl/": ["lib/hash/"],
    "curl/": ["lib/net/"],
    "zlib.h": ["lib/hash/", "lib/weights/"],
    "Eigen/": ["lib/lora/eigen.h"],
    "yaml.h": ["lib/card/"],
    "pcre2.h": ["lib/base/regex.cc"],
}
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.MULTILINE)


def folder_of(path):
    """The folder of a file named relative to lib/, as the map calls it."""
    return path.rpartition("/")[0]


def faults(path, text):
    """The faults of one file, named relative to the root."""
    folder = "tools" if path.startswith("tools/") else folder_of(path.removeprefix("lib/"))
    if folder not in RANK:
        yield f"{path}: the folder {folder} is in no layer"
        return
    for include in INCLUDE.findall(text):
        if ".." in include.split("/"):
            yield f"{path}: lib/ is the include root, not {include}"
        target = folder_of(include)
        if target in RANK and target != folder and RANK[target] >= RANK[folder]:
            yield f"{path}: {folder} may not include {include}"
        for library, places in LIBRARIES.items():
            if include.startswith(library) and not any(path.startswith(place) for place in places):
                yield f"{path}: only {', '.join(places)} may include {include}"


def circles(sources):
    """Modules (a header and its source) that include one another, directly or by others. Takes {path below lib: text}."""
    graph = {}
    for path, text in sources.items():
        module = path.rpartition(".")[0]
        graph.setdefault(module, set()).update(i.rpartition(".")[0] for i in INCLUDE.findall(text) if i.endswith(".h") and i in sources)
        graph[module].discard(module)
    done = set()

    def walk(module, way):
        if module in way:
            yield way[way.index(module):] + [module]
        elif module not in done:
            for other in sorted(graph.get(module, ())):
                yield from walk(other, way + [module])
            done.add(module)

    for module in sorted(graph):
        for circle in walk(module, []):
            yield f"lib/: {' -> '.join(circle)}: a circle of includes"


def map_faults(readme, exists):
    for folder in sorted(FOLDERS - {name for layer in layers_of(readme) for name in layer}):
        yield f"lib/README.md: the folder {folder} is missing in the picture"
    for path in re.findall(r"`([a-z_]+/[a-z0-9_./]+\.(?:h|cc))`", readme):
        if not exists(path):
            yield f"lib/README.md: there is no {path}"


def self_test():
    wrong = [
        ("lib/base/a.cc", '#include "os/file.h"'),
        ("lib/inspect/a.cc", '#include "pack/plan.h"'),
        ("lib/hash/a.cc", '#include "cli/run.h"'),
        ("lib/model/a.h", "#include <CLI/CLI.hpp>"),
        ("lib/base/text.cc", "#include <nlohmann/json.hpp>"),
        ("lib/base/text.cc", '#include "../os/file.h"'),
        ("lib/model/a.cc", "#include <openssl/sha.h>"),
        ("lib/tensor/a.cc", "#include <zlib.h>"),
        ("lib/hub/a.cc", "#include <curl/curl.h>"),
        ("lib/lora/a.cc", "#include <pcre2.h>"),
        ("lib/attic/a.cc", ""),
        ("lib/weights/weights.cc", '#include "weights/open/open.h"'),
        ("lib/weights/pickle/a.cc", '#include "weights/archive/zip.h"'),
    ]
    right = [("lib/weights/torch/a.cc", '#include "weights/weights.h"'), ("lib/pack/a.cc", '#include "model/input.h"\n#include <vector>'), ("tools/a.cc", "#include <CLI/CLI.hpp>")]
    assert all(list(faults(*case)) for case in wrong), "a wrong include went unnoticed"
    assert not any(list(faults(*case)) for case in right), "a right include was refused"
    assert list(circles({"a/a.h": '#include "a/b.h"', "a/b.h": "", "a/b.cc": '#include "a/a.h"'})), "a circle went unnoticed"
    assert not list(circles({"a/a.h": "", "a/a.cc": '#include "a/a.h"\n#include "a/b.h"', "a/b.h": ""}))
    assert list(map_faults(MAP.replace("\nos  ", "\n"), lambda path: True)), "a folder missing in the map went unnoticed"
    assert list(map_faults(MAP, lambda path: path != "os/stage.h")), "a file that is gone went unnoticed"


def main():
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    files = [p for d in ("lib", "tools") for e in ("*.h", "*.cc") for p in sorted((ROOT / d).rglob(e))]
    found = [f for p in files for f in faults(str(p.relative_to(ROOT)), p.read_text())]
    found += circles({str(p.relative_to(LIB)): p.read_text() for p in files if p.is_relative_to(LIB)})
    found += map_faults(MAP, lambda path: (ROOT / "lib" / path).is_file() or (ROOT / path).is_file())
    print("\n".join(found) or f"layers: {len(files)} files, no arrow points up, no circle")
    return 1 if found or not files else 0


if __name__ == "__main__":
    sys.exit(main())
