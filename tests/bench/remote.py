# SPDX-License-Identifier: Apache-2.0
"""remote.py BIN_DIR JSON: models that are only on a hub, packed by us beside `curl -Z` with ranges, and beside `hf download` followed by st-pack.
The hub is the local test Hub, with 300 MB a second for all connections and 20 ms before each answer. Whole processes in turn; all sync
what they write. The rows are added to the file JSON of bench.py."""
import json
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile

import bench  # takes the folder of our programs from the command line

SIZE, RANGE = 768_000_000, 8 << 20
LIMITS = ["--rate", "300MB", "--latency", "20"]


def write_model(folder, files, tensors=48):
    """48 random tensors of 16 MB in so many files."""
    folder.mkdir()
    weight_map, size = {}, SIZE // tensors
    for i in range(files):
        name = "model.safetensors" if files == 1 else f"model-{i + 1:05}-of-{files:05}.safetensors"
        names = [f"model.layers.{j}.mlp.weight" for j in range(tensors)][i * tensors // files:(i + 1) * tensors // files]
        header = {key: {"dtype": "F32", "shape": [size // 4000, 1000], "data_offsets": [size * j, size * (j + 1)]} for j, key in enumerate(names)}
        raw = json.dumps(header).encode()
        with open(folder / name, "wb") as file:
            file.write(struct.pack("<Q", len(raw)) + raw)
            for _ in names:
                file.write(os.urandom(size))
        weight_map |= dict.fromkeys(names, name)
    if files > 1:
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    (folder / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"], "model_type": "llama"}))


def curl(folder, url, repo, model):
    """All weights of the model in ranges, 16 at a time, from links that were asked for before."""
    entries = []
    for file in sorted(model.glob("*.safetensors")):
        link = subprocess.run(["curl", "-sS", "-o", "/dev/null", "-w", "%{redirect_url}", "-H", "Authorization: Bearer hf_testwrite",
                               f"{url}/{repo}/resolve/main/{file.name}"], check=True, capture_output=True, text=True).stdout
        for at in range(0, file.stat().st_size, RANGE):
            entries.append(f'url = "{link}"\nrange = "{at}-{min(at + RANGE, file.stat().st_size) - 1}"\noutput = "{folder}/out/{file.name}.{at}"\n')
    config = folder / f"{model.name}.curl"
    config.write_text("next\n".join(entries))
    return ["sh", "-c", f"mkdir {folder}/out && curl -sS -Z --parallel-max 16 -K {config} && sync -f {folder}/out"]


def main(report):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="mu-bench-"))
    out, copy = folder / "out", folder / "copy"
    hub = subprocess.Popen([bench.BIN / "../tests/hub/test_hub", "--port", "0", "--data", folder, *LIMITS], stdout=subprocess.PIPE, text=True)
    url = hub.stdout.readline().split()[0].removeprefix("HUB=")
    os.environ.update(HF_ENDPOINT=url, HF_TOKEN="hf_testwrite", HF_HUB_DISABLE_XET="1", HF_HOME=str(folder / "hf"), XDG_CACHE_HOME=str(folder / "cache"),
                      XDG_STATE_HOME=str(folder / "state"), no_proxy="127.0.0.1")
    fresh = lambda: subprocess.run(["rm", "-rf", out, copy, folder / "hf"], check=True) and os.sync()
    try:
        for what, files in (("one file", 1), ("four files", 4)):
            model, repo = folder / f"m{files}", f"ada/m{files}"
            write_model(model, files)
            subprocess.run([bench.BIN / "hub-push", "-q", model, repo], check=True, stdout=subprocess.DEVNULL)
            ours = [bench.BIN / "st-pack", "-q", f"hf://{repo}", "-o", out]
            beside = f"st-pack hf://, 768 MB, {what} / curl -Z"
            bench.GOALS[beside] = 0.9
            bench.compare(beside, ours, curl(folder, url, repo, model), fresh)
            beside = f"st-pack hf://, 768 MB, {what} / hf download, st-pack"
            bench.GOALS[beside] = 1
            download = f"{pathlib.Path(sys.executable).with_name('hf')} download {repo} --local-dir {copy} && {bench.BIN}/st-pack -q {copy} -o {out}"
            bench.compare(beside, ours, ["sh", "-c", download], fresh, pairs=3)
            shutil.rmtree(model)
    finally:
        hub.terminate()
        shutil.rmtree(folder)
    found = json.loads(report.read_text()) if report.exists() else {"machine": bench.machine(), "rows": []}
    found["rows"] += bench.ROWS
    report.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[2]))
