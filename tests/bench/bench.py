# SPDX-License-Identifier: Apache-2.0
"""bench.py BIN_DIR JSON: runs each of our commands and its rival in turn, as whole processes, and prints medians and the
median ratio of the pairs beside the goal; the same, with the machine, goes to the file JSON.
bench.py --markdown JSON: that file as the table of README.md here.

A ratio above 1 means that ours is faster. The goals are not tests: no number makes this fail."""
import array
import io
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
import zipfile

BIN = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path()
PAIRS = 5
FIXTURES = pathlib.Path(__file__).resolve().parents[1] / "fixtures"
ROWS = []

# The least that each ratio should be; a row without an entry has no goal yet.
GOALS = {
    "card-gen, from options / TRL's card": 200,
    "card-gen, 10 shards, 20,000 logs / TRL's card": 200,
    "st-inspect, 1,000 tensors / Python": 50,
    "st-inspect -t, 1,000 tensors / Python": 50,
    "st-inspect, 500,000 tensors / Python opens": 1,
    "st-inspect --hash, 2 GB / sha256sum": 1,
    "st-pack copy, 2 GB / cp and sync": 1,
    "st-pack copy, new header / cp and sync": 1,
    "st-pack --dtype bf16, 2 GB / torch": 2,
    "st-inspect .bin, 1,000 tensors / torch": 50,
    "st-pack .bin, 2 GB / cp and sync": 1,
    "st-pack .bin, 2 GB / torch": 2,
    "st-pack ZeRO-3, 2 GB / zero_to_fp32": 5,
    "st-pack ZeRO-3, 2 GB / cp and sync": 1,
    "st-pack DCP, 2 GB / dcp_to_torch_save": 2,
    "st-pack DCP, 2 GB / cp and sync": 1,
    "st-pack rank pickles, 2 GB, CPU / verl's model_merger": 5,
    "st-pack rank pickles, 2 GB / cp and sync": 1,
    "ckpt-prune, 100 of 101, 8 MB each / rm -rf": 1,
    "hub-push, 1 GiB cold / sha256sum and curl -T": 0.9,
    "hub-push, 1 GiB cold / hf upload": 2,
    "hub-push, 2,000 files, no change / hf upload": 10,
    "lora-extract, 4096 x 4096, r 64 / torch.svd_lowrank(72, 4)": 1,
    "lora-extract, 4096 x 4096, r 64 / LAPACK": 30,
    "lora-extract, 8 of 2048 x 4096, 2 threads / 1": 1.8,
    "lora-extract -j 1, two parts at once / one run": 1.8,
    "st-pack --adapter, 1.1 GB / PEFT": 3,
    "st-pack --adapter, 1.1 GB / cp and sync": 0.8,
    "st-inspect hf://, 100 shards, 20 ms / curl in turn": 10,
}


def write_file(path, count, elements, fill):
    """count F32 tensors of this many elements; random data or a sparse file."""
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for i in range(count):
        header[f"model.layers.{i // 10:05}.mlp.w{i % 10}.weight"] = {"dtype": "F32", "shape": [elements], "data_offsets": [offset, offset + 4 * elements]}
        offset += 4 * elements
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(raw)) + raw)
        if fill:
            # Plausible weights without NumPy: the memory of a large parent would count towards its children's peak.
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


def small_zip(name):
    """A file as torch.save leaves it, with one storage."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(f"{name}/data.pkl", b"\x80\x02}q\x00.")
        archive.writestr(f"{name}/data/0", bytes(64))
        archive.writestr(f"{name}/version", "3\n")
    return buffer.getvalue()


def write_runs(folder, runs, checkpoints, log_entries, optimizer_bytes):
    """Runs of this many checkpoints of 12 files, whose headers list 300 tensors; the newest state of each has the long log."""
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for i in range(300):
        header[f"model.layers.{i // 10}.mlp.w{i % 10}.weight"] = {"dtype": "F32", "shape": [4], "data_offsets": [offset, offset + 16]}
        offset += 16
    raw = json.dumps(header, separators=(",", ":")).encode()
    files = {"model.safetensors": struct.pack("<Q", len(raw)) + raw + bytes(offset), "config.json": b"{}", "generation_config.json": b"{}",
             "tokenizer.json": b"{}" * 4000, "tokenizer_config.json": b"{}", "special_tokens_map.json": b"{}", "chat_template.jinja": b"x",
             **{name: small_zip(name.split(".")[0]) for name in ("training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth")}}
    log = [{"epoch": i / 1000, "grad_norm": 0.123456789, "learning_rate": 1e-05, "loss": 1.23456789, "step": i} for i in range(log_entries)]
    for run in range(runs):
        for step in range(1, checkpoints + 1):
            path = pathlib.Path(folder) / f"run{run}" / f"checkpoint-{step}"
            path.mkdir(parents=True)
            for name, data in files.items():
                (path / name).write_bytes(data)
            if optimizer_bytes:
                (path / "model.safetensors").write_bytes(files["model.safetensors"])
                (path / "optimizer.bin").write_bytes(os.urandom(optimizer_bytes - len(files["optimizer.pt"])) + files["optimizer.pt"])
            state = {"epoch": 1.0, "global_step": step, "log_history": log if step == checkpoints else log[:20], "max_steps": 0}
            (path / "trainer_state.json").write_text(json.dumps(state, indent=2, sort_keys=True) + "\n")


def make(what, *arguments):
    # In its own process: the memory that a parent once needed counts towards its children's peak.
    subprocess.run([sys.executable, __file__, "--make", what, *map(str, arguments)], check=True)


def timed(command, prepare):
    prepare()
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, command
    return time.perf_counter() - start, usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime


def compare(what, ours, rival, prepare=lambda: None, pairs=PAIRS, times=1, cpu=False):
    """With `cpu` by processor time."""
    if times > 1:  # programs of a millisecond: many in one shell, so that starting them from Python does not count
        ours, rival = (["sh", "-c", f"for i in $(seq {times}); do {shlex.join(map(str, c))} > /dev/null; done"] for c in (ours, rival))
    timed(ours, prepare), timed(rival, prepare)
    rows = [(timed(ours, prepare), timed(rival, prepare)) for _ in range(pairs)]
    which = 2 if cpu else 0
    a, b = (statistics.median(row[i][which] for row in rows) for i in (0, 1))
    ratio = statistics.median(theirs[which] / mine[which] for mine, theirs in rows)
    memory, rivals = (max(row[i][1] for row in rows) for i in (0, 1))
    goal = GOALS.get(what)
    ROWS.append({"what": what, "ours_ms": a * 1e3 / times, "peer_ms": b * 1e3 / times, "ratio": ratio, "goal": goal, "peak_mib": memory, "peer_peak_mib": rivals})
    print(f"{what:48} {a * 1e3 / times:9.1f} ms {b * 1e3 / times:9.1f} ms {ratio:8.2f}x {f'{goal}x' if goal else '':>6} {memory:7.1f} MiB", flush=True)


def starts(folder):
    """What each program costs over /bin/true, in ms: the median of many runs, started in turn."""
    checkpoint, run = FIXTURES / "full-run/checkpoint-40", FIXTURES / "full-run"
    work = [["card-gen", "--base", "a/b", "--license", "mit", checkpoint], ["ckpt-prune", "--list", run], ["st-inspect", checkpoint],
            ["st-pack", "-n", checkpoint, "-o", folder / "none"]]
    tools = sorted(path.name for path in BIN.iterdir() if path.is_file() and os.access(path, os.X_OK))
    null = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_WRONLY, 0) for fd in (1, 2)]

    def once(command):
        start = time.perf_counter()
        _, status = os.waitpid(os.posix_spawn(command[0], command, os.environ, file_actions=null), 0)
        assert status == 0, command
        return time.perf_counter() - start

    for command in [[tool, "--help"] for tool in tools] + work:
        ours = [str(BIN / command[0]), *map(str, command[1:])]
        times = [(once(ours), once(["/bin/true"])) for _ in range(300)]
        a, b = (statistics.median(pair[i] for pair in times) * 1e3 for i in (0, 1))
        goal = 1 if command[1] == "--help" else None  # the others are whole runs, work and all
        what = (f"start: {command[0]} --help" if goal else f"whole: {command[0]} on the fixture") + " / /bin/true"
        ROWS.append({"what": what, "ours_ms": a, "peer_ms": b, "more_ms": a - b, "more_goal_ms": goal})
        print(f"{what:48} {a:9.2f} ms {b:9.2f} ms {a - b:+6.2f} ms {f'+{goal} ms' if goal else '':>6}", flush=True)


def machine():
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "unknown")
    return {"cpu": cpu, "cores": os.cpu_count(), "kernel": ".".join(os.uname().release.split(".")[:2]), "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)}


def markdown(report):
    host = report["machine"]
    print(f"Measured on {host['cores']} cores of {host['cpu']}, {host['memory_gib']} GiB, Linux {host['kernel']}; medians; repeat with `make bench`.\n")
    print("| ours / what you would use instead | ours | theirs | times as fast | goal | our peak memory |\n|---|--:|--:|--:|--:|--:|")
    for row in report["rows"]:
        name = row["what"].replace("|", "\\|")
        if "ratio" in row:
            goal, peak = f"{row['goal']}×" if row["goal"] else "", f"{row['peak_mib']:.0f} MiB" if "peak_mib" in row else ""
            print(f"| {name} | {row['ours_ms']:,.1f} ms | {row['peer_ms']:,.1f} ms | {row['ratio']:,.2f}× | {goal} | {peak} |")
        else:
            goal = f"≤ +{row['more_goal_ms']} ms" if row["more_goal_ms"] else ""
            print(f"| {name} | {row['ours_ms']:.2f} ms | {row['peer_ms']:.2f} ms | {row['more_ms']:+.2f} ms | {goal} | |")


def prune_rows(folder):
    many, logs, full, copy = (folder / name for name in ("many", "logs", "full", "copy"))
    make("runs", many, 1, 10000, 20, 0)
    compare("ckpt-prune -n, 10,000 of 12 files / du", [BIN / "ckpt-prune", "-n", "--keep", "3", many / "run0"], ["du", "-s", many])
    shutil.rmtree(many)
    make("runs", logs, 100, 2, 16000, 0)
    compare("ckpt-prune -n, 100 runs, 2.5 MB logs / cat", [BIN / "ckpt-prune", "-n", "--keep", "1", "--recursive", logs],
            ["sh", "-c", f"cat {logs}/run*/checkpoint-2/trainer_state.json"])
    shutil.rmtree(logs)
    make("runs", full, 1, 101, 20, 8000000)

    def again():
        shutil.rmtree(copy, ignore_errors=True)
        subprocess.run(["cp", "-a", full / "run0", copy], check=True)
        os.sync()

    compare("ckpt-prune, 100 of 101, 8 MB each / rm -rf", [BIN / "ckpt-prune", "--keep", "1", copy],
            ["sh", "-c", f"for i in $(seq 100); do set -- \"$@\" {copy}/checkpoint-$i; done; rm -rf \"$@\""], again)
    shutil.rmtree(full)


def compare_ranks(folder, python):
    zero, dcp, pickles, out = folder / "zero", folder / "dcp", folder / "pickles", folder / "out"
    os.environ.update(DS_ACCELERATOR="cpu", DS_BUILD_OPS="0")
    fresh = lambda: subprocess.run(["rm", "-rf", out], check=True) and os.sync()
    copy = lambda saved: ["sh", "-c", f"cp -r --reflink=never {saved} {out} && sync -f {out}"]
    make_ranks = lambda *what: subprocess.run([sys.executable, pathlib.Path(__file__).with_name("rank_files.py"), *what], check=True)
    make_ranks("zero", zero)
    # DeepSpeed exits with 0 whatever it made.
    rival = [sys.executable, "-m", "deepspeed.utils.zero_to_fp32", zero, out, "--safe_serialization"]
    subprocess.run(rival, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    subprocess.run([BIN / "st-inspect", "--diff", zero, out], check=True, stdout=subprocess.DEVNULL)
    compare("st-pack ZeRO-3, 2 GB / zero_to_fp32", [BIN / "st-pack", zero, "-o", out], rival, fresh, pairs=3)
    compare("st-pack ZeRO-3, 2 GB / cp and sync", [BIN / "st-pack", zero, "-o", out], copy(zero), fresh)
    subprocess.run(["rm", "-rf", zero], check=True)
    make_ranks("dcp", dcp)
    merge = f"from torch.distributed.checkpoint.format_utils import dcp_to_torch_save\ndcp_to_torch_save({str(dcp)!r}, {str(out)!r})"
    compare("st-pack DCP, 2 GB / dcp_to_torch_save", [BIN / "st-pack", dcp, "-o", out], python(merge), fresh, pairs=3)
    compare("st-pack DCP, 2 GB / cp and sync", [BIN / "st-pack", dcp, "-o", out], copy(dcp), fresh)
    subprocess.run(["rm", "-rf", dcp], check=True)
    rival = [sys.executable, pathlib.Path(__file__).with_name("verl_merger.py"), pickles, out]
    make_ranks("pickles", pickles)
    subprocess.run(rival, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    subprocess.run([BIN / "st-inspect", "--diff", pickles, out], check=True, stdout=subprocess.DEVNULL)
    compare("st-pack rank pickles, 2 GB, CPU / verl's model_merger", [BIN / "st-pack", pickles, "-o", out], rival, fresh, pairs=3, cpu=True)
    compare("st-pack rank pickles, 2 GB / cp and sync", [BIN / "st-pack", pickles, "-o", out], copy(pickles), fresh)


def part_rows(folder, large):
    """What cutting into parts gains and costs; both include the finishing run."""
    out, parts = folder / "cut", folder / "parts"
    fresh = lambda: subprocess.run(["rm", "-rf", out, f"{out}.parts"], check=True) and os.sync()
    pack = f"{BIN}/st-pack -q {large} -o {out} --dtype f8_e4m3 --max-shard-size 8MB"
    inspect = f"{BIN}/st-inspect --hash -j 1"
    shell = lambda script: ["bash", "-c", "set -e; " + script]
    both = lambda one, two: f"{one} & {two}; wait $!; "
    compare("st-pack -j 1, two parts at once / one run", shell(both(f"{pack} -j 1 --part 1/2", f"{pack} -j 1 --part 2/2") + f"{pack} -j 1"),
            shell(f"{pack} -j 1"), fresh)
    compare("st-inspect --hash -j 1, two parts / one run",
            shell(both(f"{inspect} {large} --part 1/2 > {parts}1", f"{inspect} {large} --part 2/2 > {parts}2") + f"{inspect} --combine {parts}1 {parts}2"),
            shell(f"{inspect} {large}"))
    compare("st-pack -j 1, 64 parts in turn / one run", shell(f"for i in {{1..64}}; do {pack} -j 1 --part $i/64; done; {pack} -j 1"),
            shell(f"{pack} -j 1"), fresh)
    fresh()


def card_rows(folder, python):
    """TRL's card has fewer facts than ours and reads none of the folder's files."""
    card = ("from trl.trainer.utils import generate_model_card\nprint(generate_model_card(base_model='a/b', model_name='m', hub_model_id='me/m', "
            "dataset_name='o/d', tags=['trl', 'dpo'], wandb_url=None, trackio_url=None, trainer_name='DPO'))")
    options = ["--base", "a/b", "--repo", "me/m", "--dataset", "o/d", "--method", "dpo"]
    compare("card-gen, from options / TRL's card", [BIN / "card-gen", *options], python(card), pairs=3)
    compare("card-gen, 10 shards, 20,000 logs / TRL's card", [BIN / "card-gen", folder / "run", *options], python(card), pairs=3)


def hub_rows(folder):
    """Pushing to the local test Hub, which here keeps nothing: `curl -T` to it shows what it can take."""
    hub = subprocess.Popen([BIN / "../tests/hub/test_hub", "--port", "0", "--discard"], stdout=subprocess.PIPE, text=True)
    url, storage = (word.split("=", 1)[1] for word in hub.stdout.readline().split())
    os.environ.update(HF_ENDPOINT=url, HF_TOKEN="hf_testwrite", HF_HUB_DISABLE_XET="1", HF_HOME=str(folder / "hf"), no_proxy="127.0.0.1",
                      XDG_CACHE_HOME=str(folder / "cache"), XDG_STATE_HOME=str(folder / "state"))
    one, four, many = folder / "one", folder / "four", folder / "many"
    for target in (one, four, many):
        target.mkdir()
    subprocess.run(["sh", "-c", f"head -c 1073741824 /dev/urandom > {one}/a.bin && split -n 4 --additional-suffix=.bin {one}/a.bin {four}/"], check=True)
    for i in range(2000):
        (many / f"{i}.txt").write_text(f"{i}\n")
    fresh = lambda: (subprocess.run(["curl", "-sS", "-X", "POST", f"{url}/_admin/reset"], stdout=subprocess.DEVNULL, check=True),
                     shutil.rmtree(folder / "cache", ignore_errors=True))
    hf = [pathlib.Path(sys.executable).with_name("hf"), "upload", "ada/b"]
    # curl's PUT is refused at the end, because it has no signature; by then the bytes are sent.
    rival = ["sh", "-c", f"sha256sum {one}/a.bin > /dev/null; curl -sS -T {one}/a.bin {storage}/x -o /dev/null"]
    try:
        compare("hub-push, 1 GiB cold / sha256sum and curl -T", [BIN / "hub-push", "-q", one, "ada/b"], rival, fresh)
        compare("hub-push, 1 GiB cold / hf upload", [BIN / "hub-push", "-q", one, "ada/b"], [*hf, one], fresh, pairs=3)
        compare("hub-push, one file / four of a quarter", [BIN / "hub-push", "-q", one, "ada/b"], [BIN / "hub-push", "-q", four, "ada/b"], fresh)
        fresh()
        subprocess.run([BIN / "hub-push", "-q", many, "ada/b"], check=True, stdout=subprocess.DEVNULL)
        time.sleep(2.1)  # hashes of files are remembered once they have settled
        compare("hub-push, 2,000 files, no change / hf upload", [BIN / "hub-push", "-q", many, "ada/b"], [*hf, many], pairs=3)
    finally:
        hub.terminate()


def cache_rows(folder):
    """Pushing into a cache folder: `cp` and `sync -f`, and the hash that names a blob."""
    os.environ.update(XDG_CACHE_HOME=str(folder / "cache"), HF_HOME=str(folder / "hf"))
    one, many, cache = folder / "one", folder / "many", folder / "hub"
    for target in (one, many):
        target.mkdir()
    subprocess.run(["sh", "-c", f"head -c 2147483648 /dev/urandom > {one}/a.bin; sync"], check=True)
    for i in range(2000):
        (many / f"{i}.txt").write_text(f"{i}\n")
    push = lambda source: [BIN / "hub-push", "-q", "--endpoint", f"file://{cache}", source, "ada/b"]
    fresh = lambda: [shutil.rmtree(path, ignore_errors=True) for path in (cache, folder / "cache")] and os.sync()
    rival = ["sh", "-c", f"mkdir {cache} && openssl dgst -sha256 {one}/a.bin > /dev/null && cp --reflink=never {one}/a.bin {cache}/x && sync -f {cache}/x"]
    compare("hub-push to file://, 2 GB / openssl, cp and sync", push(one), rival, fresh)
    fresh()
    subprocess.run(push(many), check=True, stdout=subprocess.DEVNULL)
    time.sleep(2.1)  # hashes of files are remembered once they have settled
    subprocess.run(push(many), check=True, stdout=subprocess.DEVNULL)
    compare("hub-push to file://, 2,000 files, no change / cp", push(many), ["cp", "-r", many, folder / "copy"],
            lambda: shutil.rmtree(folder / "copy", ignore_errors=True))
    for path in (one, many, cache):
        shutil.rmtree(path)


def lora_rows(folder, python):
    """A pair of one large matrix beside LAPACK and torch, and merging into a model of 1 GB beside PEFT and cp."""
    work = folder / "lora"
    work.mkdir()
    subprocess.run(python(f"""
import torch
from safetensors.torch import save_file
torch.manual_seed(1)
w = torch.randn(4096, 4096) * 0.02
d = torch.randn(4096, 16) @ torch.randn(16, 4096) * 5e-5
save_file({{'m.weight': w.bfloat16()}}, {str(work / 'a.safetensors')!r}, {{'format': 'pt'}})
save_file({{'m.weight': (w.bfloat16().float() + d).bfloat16()}}, {str(work / 'b.safetensors')!r}, {{'format': 'pt'}})
c = {{f'l.{{i}}.weight': torch.randn(2048, 4096) * 0.02 for i in range(8)}}
save_file({{k: v.bfloat16() for k, v in c.items()}}, {str(work / 'c.safetensors')!r}, {{'format': 'pt'}})
save_file({{k: (v.bfloat16().float() + torch.randn(2048, 16) @ torch.randn(16, 4096) * 5e-5).bfloat16() for k, v in c.items()}}, {str(work / 'd.safetensors')!r}, {{'format': 'pt'}})
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig
model = AutoModelForCausalLM.from_config(LlamaConfig(hidden_size=2048, intermediate_size=5632, num_hidden_layers=10, num_attention_heads=16, num_key_value_heads=16, vocab_size=8000)).bfloat16()
model.save_pretrained({str(work / 'base')!r})
peft = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules=['q_proj', 'v_proj'], task_type='CAUSAL_LM'))
for name, p in peft.named_parameters():
    if 'lora_B' in name: p.data.normal_(0, 0.01)
peft.save_pretrained({str(work / 'adapter')!r})
"""), check=True, stdout=subprocess.DEVNULL)
    out = work / "out"
    fresh = lambda: shutil.rmtree(out, ignore_errors=True) or os.sync()
    load = f"import torch; from safetensors.torch import load_file; a, b = (load_file(f'{work}/{{n}}.safetensors')['m.weight'].float() for n in 'ab'); d = b - a\n"
    extract = [BIN / "lora-extract", "-q", "--base", work / "a.safetensors", "--tuned", work / "b.safetensors", "--rank", "64", "-o", out]
    compare("lora-extract, 4096 x 4096, r 64 / torch.svd_lowrank(72, 4)", extract, python(load + "torch.svd_lowrank(d, q=72, niter=4)"), fresh, pairs=3)
    compare("lora-extract, 4096 x 4096, r 64 / LAPACK", extract, python(load + "torch.linalg.svd(d, full_matrices=False)"), fresh, pairs=1)
    compare("lora-extract, 4096 x 4096, 2 threads / 1", extract, [*extract, "-j", "1"], fresh, pairs=9)
    many = [BIN / "lora-extract", "-q", "--base", work / "c.safetensors", "--tuned", work / "d.safetensors", "--rank", "64", "-o", out]
    compare("lora-extract, 8 of 2048 x 4096, 2 threads / 1", many, [*many, "-j", "1"], fresh, pairs=9)
    merge = [BIN / "st-pack", "-q", work / "base", "--adapter", work / "adapter", "-o", out]
    peft = (f"from transformers import AutoModelForCausalLM; from peft import PeftModel; import torch\n"
            f"PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained('{work}/base', dtype=torch.bfloat16), '{work}/adapter').merge_and_unload().save_pretrained('{out}')")
    compare("st-pack --adapter, 1.1 GB / PEFT", merge, python(peft), fresh, pairs=3)
    compare("st-pack --adapter, 1.1 GB / cp and sync", merge,
            ["sh", "-c", f"mkdir {out} && cp --reflink=never {work}/base/model.safetensors {out} && sync -f {out}"], fresh)
    pair = [BIN / "lora-extract", "-q", "--base", work / "base", "--tuned", work / "tuned", "--rank", "16", "-o", out]
    subprocess.run([*merge[:-1], work / "tuned"], check=True)
    cut = lambda: subprocess.run(["rm", "-rf", out, f"{out}.parts"], check=True) and os.sync()
    one = " ".join(map(str, pair)) + " -j 1 --kernel avx2"
    shell = lambda script: ["bash", "-c", "set -e; " + script]
    compare("lora-extract -j 1, two parts at once / one run", shell(f"{one} --part 1/2 & {one} --part 2/2; wait $!; {one} > {work}/r"), shell(f"{one} > {work}/r"), cut, pairs=3)
    compare("lora-extract -j 1, 64 parts in turn / one run", shell(f"for i in {{1..64}}; do {one} --part $i/64; done; {one} > {work}/r"), shell(f"{one} > {work}/r"), cut, pairs=3)
    compare("lora-extract, pair of 1.1 GB, 20 changed / cat", pair, ["sh", "-c", f"cat {work}/base/*.safetensors {work}/tuned/*.safetensors > /dev/null"], fresh, pairs=3)
    shutil.rmtree(work)


def remote_rows(folder, python):
    """Headers of 100 shards from a hub that takes 20 ms for each answer."""
    hub = subprocess.Popen([BIN / "../tests/hub/test_hub", "--port", "0"], stdout=subprocess.PIPE, text=True)
    url = hub.stdout.readline().split()[0].removeprefix("HUB=")
    os.environ.update(HF_ENDPOINT=url, HF_TOKEN="hf_testwrite", HF_HOME=str(folder / "hf"), no_proxy="127.0.0.1")
    model = folder / "shards"
    model.mkdir()
    weight_map = {}
    for shard in range(100):
        name = f"model-{shard + 1:05}-of-00100.safetensors"
        header = {f"model.layers.{shard}.w{i}.weight": {"dtype": "BF16", "shape": [1024], "data_offsets": [2048 * i, 2048 * (i + 1)]} for i in range(100)}
        raw = json.dumps(header).encode()
        (model / name).write_bytes(struct.pack("<Q", len(raw)) + raw + bytes(204_800))
        weight_map.update(dict.fromkeys(header, name))
    (model / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    try:
        subprocess.run([BIN / "hub-push", "-q", model, "ada/shards"], check=True, stdout=subprocess.DEVNULL)
        for route in ("*", "storage-*"):
            subprocess.run(["curl", "-sS", "--data-binary", json.dumps({"route": route, "kind": "stall", "seconds": 0.02, "times": -1}), f"{url}/_admin/fault"],
                           stdout=subprocess.DEVNULL, check=True)
        ours = [BIN / "st-inspect", "-t", "hf://ada/shards"]
        one = ["curl", "-sSL", "-H", "Range: bytes=0-100000", "-H", "Authorization: Bearer hf_testwrite"]
        for name in sorted(set(weight_map.values())):
            one += [f"{url}/ada/shards/resolve/main/{name}", "-o", "/dev/null"]
        compare("st-inspect hf://, 100 shards, 20 ms / curl in turn", ours, one, pairs=3)
        compare("st-inspect hf://, 100 shards, 20 ms / huggingface_hub", ours,
                python("from huggingface_hub import HfApi\nfor k, v in HfApi().get_safetensors_metadata('ada/shards').files_metadata.items():\n  for n, t in v.tensors.items(): print(n, t.dtype, t.shape)"), pairs=3)
    finally:
        hub.terminate()
        shutil.rmtree(model)


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
        make("file", large, 1000, 500_000, 1)
        make("file", wide, 500_000, 2, 0)
        print(f"{'':48} {'ours':>12} {'rival':>12} {'faster':>9} {'goal':>6} {'our peak':>11}")
        starts(folder)
        make("run", folder / "run")
        card_rows(folder, python)
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
        part_rows(folder, large)
        subprocess.run(python(f"import torch\nfrom safetensors.torch import load_file\ntorch.save(load_file({str(large)!r}), {str(torch_file)!r})"), check=True)
        os.sync()
        compare("st-inspect .bin, 1,000 tensors / torch", [BIN / "st-inspect", torch_file], python(pickling.format(str(torch_file))), times=3, pairs=3)
        compare("st-pack .bin, 2 GB / cp and sync", [BIN / "st-pack", torch_file, "-o", out],
                ["sh", "-c", f"cp --reflink=never {torch_file} {out} && sync -f {out}"], fresh)
        compare("st-pack .bin, 2 GB / torch", [BIN / "st-pack", torch_file, "-o", out], python(convert), fresh, pairs=3)
        torch_file.unlink(), large.unlink(), wide.unlink()
        compare_ranks(folder, python)
        prune_rows(folder)
        cache_rows(folder)
        lora_rows(folder, python)
        remote_rows(folder, python)
        hub_rows(folder)
    finally:
        shutil.rmtree(folder)
        pathlib.Path(sys.argv[2]).write_text(json.dumps({"machine": machine(), "rows": ROWS}, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1] == "--make":
        {"file": lambda path, *numbers: write_file(path, *map(int, numbers)), "run": lambda path: write_run(pathlib.Path(path)),
         "runs": lambda path, *numbers: write_runs(path, *map(int, numbers))}[sys.argv[2]](*sys.argv[3:])
    elif sys.argv[1] == "--markdown":
        markdown(json.loads(pathlib.Path(sys.argv[2]).read_text()))
    else:
        main()
