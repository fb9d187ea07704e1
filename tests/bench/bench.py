# SPDX-License-Identifier: Apache-2.0
"""Times each of our commands and its rival in turn, whole processes, and prints medians and the median ratio of the pairs.

Ratios above 1 mean that ours is faster. Nothing is judged here: speed is read, not tested."""
import array
import json
import os
import pathlib
import random
import shlex
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time

BIN = pathlib.Path(sys.argv[1])
PAIRS = 5


def write_file(path, count, elements, fill):
    """count F32 tensors of so many elements; random data or a sparse file."""
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for i in range(count):
        header[f"model.layers.{i // 10:05}.mlp.w{i % 10}.weight"] = {"dtype": "F32", "shape": [elements], "data_offsets": [offset, offset + 4 * elements]}
        offset += 4 * elements
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(raw)) + raw)
        if fill:
            # Plausible weights without NumPy: a large parent would be counted in its children's peak memory.
            pool = [random.gauss(0, 0.02) for _ in range(10_000)]
            block = array.array("f", (random.choice(pool) for _ in range(elements))).tobytes()
            for _ in range(count):
                f.write(block)
        f.truncate(8 + len(raw) + offset)
        os.fsync(f.fileno())


def write_run(folder):
    """A model of ten shards beside the log of a long run."""
    folder.mkdir()
    weight_map = {}
    for shard in range(10):
        name = f"model-{shard + 1:05}-of-00010.safetensors"
        header = {f"model.layers.{shard * 30 + i}.w.weight": {"dtype": "BF16", "shape": [1024], "data_offsets": [2048 * i, 2048 * (i + 1)]} for i in range(30)}
        raw = json.dumps(header).encode()
        raw += b" " * (-len(raw) % 8)
        with open(folder / name, "wb") as f:
            f.write(struct.pack("<Q", len(raw)) + raw)
            f.truncate(8 + len(raw) + 2048 * 30)
        weight_map |= dict.fromkeys(header, name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    log = [{"epoch": i / 1e4, "grad_norm": 0.8, "learning_rate": 1e-5, "loss": 3 - i / 1e4, "mean_token_accuracy": 0.5, "step": i} for i in range(20_000)]
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": 20_000, "log_history": log}, indent=2))
    (folder / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"], "model_type": "llama"}))


def make(*arguments):
    # In a process of its own: what a parent once needed is counted in its children's peak memory.
    subprocess.run([sys.executable, __file__, "--make", *map(str, arguments)], check=True)


def timed(command, prepare):
    prepare()
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, command
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def compare(what, ours, rival, prepare=lambda: None, pairs=PAIRS, times=1):
    if times > 1:  # programs of a millisecond: many in one shell, so that starting them from Python does not count
        ours, rival = (["sh", "-c", f"for i in $(seq {times}); do {shlex.join(map(str, c))} > /dev/null; done"] for c in (ours, rival))
    timed(ours, prepare), timed(rival, prepare)
    rows = [(timed(ours, prepare), timed(rival, prepare)) for _ in range(pairs)]
    a, b = (statistics.median(row[i][0] for row in rows) for i in (0, 1))
    ratio = statistics.median(theirs[0] / mine[0] for mine, theirs in rows)
    memory = max(mine[1] for mine, _ in rows)
    print(f"{what:44} {a * 1e3 / times:9.1f} ms {b * 1e3 / times:9.1f} ms {ratio:8.2f}x {memory:7.1f} MiB", flush=True)


def main():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="mu-bench-"))
    large, wide, out = folder / "large.safetensors", folder / "wide.safetensors", folder / "out.safetensors"
    torch_file = folder / "pytorch_model.bin"
    python = lambda code: [sys.executable, "-c", code]
    listing = "from safetensors import safe_open\nwith safe_open({!r}, 'np') as f:\n  for k in f.keys(): s = f.get_slice(k); print(k, s.get_dtype(), s.get_shape())"
    opening = "from safetensors import safe_open\nwith safe_open({!r}, 'np') as f: print(len(f.keys()))"
    cast = f"import torch\nfrom safetensors.torch import load_file, save_file\nt = load_file({str(large)!r})\nsave_file({{k: v.to(torch.bfloat16) for k, v in t.items()}}, {str(out)!r}, {{'format': 'pt'}})"
    convert = f"import torch\nfrom safetensors.torch import save_file\nsave_file(torch.load({str(torch_file)!r}), {str(out)!r}, {{'format': 'pt'}})"
    pickling = "import torch\nfor k, v in torch.load({!r}, mmap=True).items(): print(k, v.dtype, v.shape)"
    fresh = lambda: out.unlink(missing_ok=True) or os.sync()
    try:
        make(large, 1000, 500_000, 1)
        make(wide, 500_000, 2, 0)
        print(f"{'':44} {'ours':>12} {'rival':>12} {'faster':>9} {'our peak':>11}")
        write_run(folder / "run")
        compare("card-gen, 10 shards, 20,000 logs / PEFT's import", [BIN / "card-gen", folder / "run"], python("import peft"), pairs=3)
        compare("st-inspect, 1,000 tensors / /bin/true", [BIN / "st-inspect", large], ["/bin/true"], times=100)
        compare("st-inspect, 1,000 tensors / Python", [BIN / "st-inspect", large], python(listing.format(str(large))), times=20)
        compare("st-inspect -t, 1,000 tensors / Python", [BIN / "st-inspect", "-t", large], python(listing.format(str(large))), times=20)
        compare("st-inspect, 500,000 tensors / Python opens", [BIN / "st-inspect", wide], python(opening.format(str(wide))))
        compare("st-inspect --hash, 2 GB / sha256sum", [BIN / "st-inspect", "--hash", large], ["sha256sum", large])
        compare("st-inspect --stats, 2 GB / cat", [BIN / "st-inspect", "--stats", large], ["cat", large])
        compare("st-pack copy, 2 GB / cp and sync", [BIN / "st-pack", large, "-o", out],
                ["sh", "-c", f"cp --reflink=never {large} {out} && sync -f {out}"], fresh)
        # Another header, so that the file can't be shared or copied as a whole.
        compare("st-pack copy, new header / cp and sync", [BIN / "st-pack", large, "-o", out, "--metadata", "run=1"],
                ["sh", "-c", f"cp --reflink=never {large} {out} && sync -f {out}"], fresh)
        compare("st-pack --dtype bf16, 2 GB / torch", [BIN / "st-pack", large, "-o", out, "--dtype", "bf16"], python(cast), fresh, pairs=3)
        subprocess.run(python(f"import torch\nfrom safetensors.torch import load_file\ntorch.save(load_file({str(large)!r}), {str(torch_file)!r})"), check=True)
        os.sync()
        compare("st-inspect .bin, 1,000 tensors / torch", [BIN / "st-inspect", torch_file], python(pickling.format(str(torch_file))), times=3, pairs=3)
        compare("st-pack .bin, 2 GB / cp and sync", [BIN / "st-pack", torch_file, "-o", out],
                ["sh", "-c", f"cp --reflink=never {torch_file} {out} && sync -f {out}"], fresh)
        compare("st-pack .bin, 2 GB / torch", [BIN / "st-pack", torch_file, "-o", out], python(convert), fresh, pairs=3)
    finally:
        shutil.rmtree(folder)


if sys.argv[1] == "--make":
    write_file(sys.argv[2], *map(int, sys.argv[3:]))
else:
    main()
