#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fails when an include points up or sideways on the map of lib/README.md, a library is seen where it should not be, or
the map names folders and files other than there are."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDERS = {p.name for p in (ROOT / "lib").iterdir() if p.is_dir()} | {"tools"}


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
    "zlib.h": ["lib/weights/"],
    "lz4": ["lib/hub/"],
    "Eigen/": ["lib/lora/dense.cc"],
    "yaml-cpp/": ["lib/card/"],
}
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.MULTILINE)


def faults(path, text):
    """The faults of one file, named relative to the root."""
    parts = path.split("/")
    folder = "tools" if parts[0] == "tools" else parts[1]
    if folder not in RANK:
        yield f"{path}: the folder {folder} is in no layer"
        return
    for include in INCLUDE.findall(text):
        if ".." in include.split("/"):
            yield f"{path}: lib/ is the include root, not {include}"
        target = include.split("/")[0]
        if "/" in include and target in RANK and target != folder and RANK[target] >= RANK[folder]:
            yield f"{path}: {folder} may not include {include}"
        for library, places in LIBRARIES.items():
            if include.startswith(library) and not any(path.startswith(place) for place in places):
                yield f"{path}: only {', '.join(places)} may include {include}"


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
        ("lib/attic/a.cc", ""),
    ]
    right = [("lib/pack/a.cc", '#include "model/input.h"\n#include <vector>'), ("tools/a.cc", "#include <CLI/CLI.hpp>")]
    assert all(list(faults(*case)) for case in wrong), "a wrong include went unnoticed"
    assert not any(list(faults(*case)) for case in right), "a right include was refused"
    assert list(map_faults(MAP.replace("\nos  ", "\n"), lambda path: True)), "a folder missing in the map went unnoticed"
    assert list(map_faults(MAP, lambda path: path != "os/stage.h")), "a file that is gone went unnoticed"


def main():
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    files = [p for d in ("lib", "tools") for e in ("*.h", "*.cc") for p in sorted((ROOT / d).rglob(e))]
    found = [f for p in files for f in faults(str(p.relative_to(ROOT)), p.read_text())]
    found += map_faults(MAP, lambda path: (ROOT / "lib" / path).is_file() or (ROOT / path).is_file())
    print("\n".join(found) or f"layers: {len(files)} files, no arrow points up")
    return 1 if found or not files else 0


if __name__ == "__main__":
    sys.exit(main())
