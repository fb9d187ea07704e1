# SPDX-License-Identifier: Apache-2.0
"""verdicts.py FIXTURES FOLDER [N]: makes broken inputs of every kind in FOLDER and asks every view of st-inspect for its verdict (of
each Nth input). Whether an input is malformed (4) must not depend on the view, and st-pack refuses what they refuse. Prints where they
disagree; exits 1 then."""
import concurrent.futures
import json
import os
import pathlib
import shutil
import struct
import subprocess
import sys

FIXTURES, OUT = map(pathlib.Path, sys.argv[1:3])
VIEWS = [[], ["-v"], ["-t"], ["--names"], ["--tree"], ["--metadata"], ["--json"], ["--stats"], ["--hash"], ["--check=loads"], ["--check"],
         ["--check=hub"], ["--check=hub", "--json"], ["--part", "1/1", "--stats"], ["--diff"]]
PARTS = {"sharded": "sharded", "torch": "torch/model-sharded", "whole": "base"}  # folders of a model, and what is in them
CUTS = (1, 64)  # bytes from the end; and fractions


def safetensors(header, data=16):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + bytes(data)


def entry(dtype="F32", shape=(2, 2), offsets=(0, 16)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def headers():
    yield {"t": entry(dtype={"F32": None})}  # the reference takes it
    yield {"t": entry(dtype={"F32": {}})}
    yield {"t": entry(dtype={})}
    yield {"t": entry(dtype=["F32"])}
    yield {"t": entry(dtype="Q4")}
    yield {"t": entry(dtype=None)}
    yield {"t": entry(shape=(2, 3))}
    yield {"t": entry(shape=(2**40, 2**40))}
    yield {"t": entry(shape=(-2, 2))}
    yield {"t": entry(offsets=(8, 24))}
    yield {"t": entry(offsets=(16, 0))}
    yield {"t": entry(), "u": entry()}
    yield {"t": {"dtype": "F32", "shape": [2, 2]}}
    yield {"t": []}
    yield {"__metadata__": {"a": 1}, "t": entry()}
    yield {"__metadata__": [], "t": entry()}
    yield b'{"t":' + json.dumps(entry()).encode() + b',"t":' + json.dumps(entry()).encode() + b"}"
    yield b'{"\xff":' + json.dumps(entry()).encode() + b"}"
    yield b'{"t":' + json.dumps(entry()).encode() + b"} x"
    yield b"[]"
    yield b"[" * 200
    yield b""
    yield b'{"t":' + b'{"a":' * 200 + b"1" + b"}" * 201


def write_json(path, value):
    path.write_text(json.dumps(value))


def cut_all(path, make, files=None):
    """`make` copies a whole input; each copy has one of its files (of `files` below `path`) cut or gone."""
    whole = make()
    if files is None:
        files = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
    names = sorted(p.relative_to(path) for p in files)
    for name in names:
        size = (whole / name).stat().st_size
        for left in sorted({size - cut for cut in CUTS} | {0, size // 2}):
            if 0 <= left < size:
                copy = make()
                os.truncate(copy / name, left)
        if whole.is_dir():
            (make() / name).unlink()


def make():
    count = 0

    def place(suffix=""):
        nonlocal count
        count += 1
        return OUT / f"{count:04}{suffix}"

    def copy_of(path, suffix=""):
        def copied():
            to = place(suffix)
            shutil.copytree(path, to, symlinks=False) if path.is_dir() else shutil.copyfile(path, to)
            subprocess.run(["chmod", "-R", "u+w", to], check=True)
            return to
        return copied

    for header in headers():
        place(".safetensors").write_bytes(safetensors(header))
    for data in (0, 15, 17):
        place(".safetensors").write_bytes(safetensors({"t": entry()}, data))
    place(".safetensors").write_bytes(struct.pack("<Q", 2**60) + b"{}")
    place(".safetensors").write_bytes(struct.pack("<Q", 200) + b"{}")
    for file in ("torch/odd-tensors.pt", "torch/legacy.pt", "torch/unsafe.pt", "torch/training.pth", "formats/arrays.npz", "formats/one.npy",
                 "formats/object.npy", "formats/tiny.gguf"):
        cut_all(FIXTURES / file, copy_of(FIXTURES / file, pathlib.Path(file).suffix))
    for folder in ("base", "lora-adapter", "sharded", "torch/model-sharded", "fsdp-run/checkpoint-1", "zero3-run/checkpoint-1"):
        cut_all(FIXTURES / folder, copy_of(FIXTURES / folder))
    # Models of several folders: beside a model in the folder itself, and without one.
    sentences = OUT.parent / "sentences"
    shutil.copytree(FIXTURES / "base", sentences)
    write_json(sentences / "modules.json", [{"path": "", "type": "sentence_transformers.models.Transformer"},
                                            *({"path": path, "type": "sentence_transformers.models.Dense"} for path in PARTS)])
    pipeline = OUT.parent / "pipeline"
    pipeline.mkdir()
    write_json(pipeline / "model_index.json", {"_class_name": "P", **{path: ["diffusers", "Part"] for path in PARTS}})
    for whole in (sentences, pipeline):
        for path, fixture in PARTS.items():
            shutil.copytree(FIXTURES / fixture, whole / path)
        subprocess.run(["chmod", "-R", "u+w", whole], check=True)
        cut_all(whole, copy_of(whole), [p for p in whole.rglob("*")
                                          if p.parent != whole and "token" not in p.name or p.name in ("modules.json", "model_index.json")])
        dangerous = copy_of(whole)() / "torch"
        shutil.rmtree(dangerous)
        dangerous.mkdir()
        shutil.copyfile(FIXTURES / "torch/unsafe.pt", dangerous / "pytorch_model.bin")
    # The optimizer's pieces lie behind the model's in one file.
    script = 'dcp({"model.a": ((4, 3), [((0, 0), (4, 3), "__0_0.distcp")]), "optim.a": ((40, 3), [((0, 0), (40, 3), "__0_0.distcp")])})'
    both = OUT.parent / "both"
    subprocess.run([sys.executable, pathlib.Path(__file__).with_name("ranks.py"), both], input=script, text=True, check=True)
    cut_all(both, copy_of(both))
    index = json.loads((FIXTURES / "sharded/model.safetensors.index.json").read_text())
    for change in (lambda m: m.update({"more": next(iter(m.values()))}), lambda m: m.popitem(), lambda m: m.update({"x": "../x.safetensors"}),
                   lambda m: m.update({k: "model.safetensors" for k in m}), lambda m: m.clear()):
        to = copy_of(FIXTURES / "sharded")()
        changed = json.loads(json.dumps(index))
        change(changed["weight_map"])
        write_json(to / "model.safetensors.index.json", changed)


def status(argv):
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    return done.returncode, done.stderr.strip()


def judge(path):
    codes = {}
    for view in VIEWS:
        argv = ["st-inspect", *view, path] + ([path] if view == ["--diff"] else [])
        codes[" ".join(view) or "overview"] = status(argv)
    faults = [f"{view}: exit {code}: {text}" for view, (code, text) in codes.items() if code not in (0, 1, 4, 7)]
    for verdict in (4, 7):
        views = sorted(view for view, (code, _) in codes.items() if code == verdict)
        if views and len(views) < len(VIEWS):
            faults.append(f"{verdict} by {', '.join(views)} alone: {codes[views[0]][1]}")
    refused = any(code == 4 for code, _ in codes.values())
    packed = status(["st-pack", "-n", path, "-o", OUT / "none.out"])
    if refused and packed[0] != 4:
        faults.append(f"st-pack exits {packed[0]}: {packed[1]}")
    return path, refused, faults


OUT.mkdir()
make()
inputs = sorted(OUT.iterdir())[::int(sys.argv[3]) if len(sys.argv) > 3 else 1]
bad = refused = 0
with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    for path, is_refused, faults in pool.map(judge, inputs):
        refused += is_refused
        for fault in faults:
            print(f"{path.name}: {fault}")
        bad += bool(faults)
print(f"{len(inputs)} inputs, {refused} malformed, {bad} with two verdicts")
sys.exit(bad > 0)
