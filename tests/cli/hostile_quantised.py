# SPDX-License-Identifier: Apache-2.0
"""hostile_quantised.py FIXTURES FOLDER [EVERY]: changes whatever a layout of quantised weights trusts, one thing at a time: each setting of
the config, each member of the JSON of bitsandbytes and torchao, types, shapes and values of each tensor of a module, tensors that are
missing or too many. Of all these changes every EVERYth is tried (1: all). st-pack --dequantize and st-inspect must end within 5 s of CPU
time and 300 MB, with an exit code of the contract and at most one line on stderr; what was refused leaves nothing. Prints what fails;
exits 1 then, and keeps it in FOLDER/failed."""
import collections
import copy
import json
import math
import os
import pathlib
import resource
import shutil
import struct
import sys

SECONDS, MEGABYTES = 5, 300
BYTES = {"F64": 8, "F32": 4, "BF16": 2, "F16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "I64": 8, "I32": 4, "U32": 4, "I8": 1, "U8": 1, "BOOL": 1}
VALUES = [None, True, -1, 0, 1, 2, 3, 5, 31, 2**31, 2**63, 2**64, 1e308, -0.5, "", "x", "bfloat16", "torch.bool", [], [0, 0], [1, 2**40], [128], {}, [[[]]]]
# Companions of every layout; beside those of another they make a module that is stored twice, or not whole.
ENDINGS = [".weight", ".weight_packed", ".weight_scale", ".weight_scale_inv", ".weight_shape", ".weight_zero_point", ".weight_g_idx", ".weight_global_scale", ".qweight",
           ".qzeros", ".scales", ".g_idx", ".SCB", ".weight_format", ".weight.absmax", ".weight.quant_map", ".weight.quant_state.bitsandbytes__nf4",
           ".weight.quant_state.bitsandbytes__fp4", ".weight.nested_absmax", "._weight_qdata", "._weight_scale", ".scale_weight", ".comfy_quant", ".scale", "_blocks", "_scales"]
METHODS = ["fp8", "compressed-tensors", "mxfp4", "bitsandbytes", "gptq", "awq", "torchao", "hqq", "fbgemm_fp8", "FP8", "\x1b[31m", "a" * 100_000]


class Model:
    """config.json, the header's metadata, and tensors: name -> (dtype, shape, bytes)."""

    def __init__(self, folder):
        raw = (folder / "model.safetensors").read_bytes()
        size = struct.unpack("<Q", raw[:8])[0]
        header = json.loads(raw[8:8 + size])
        self.metadata = header.pop("__metadata__", {})
        self.tensors = {name: (t["dtype"], t["shape"], raw[8 + size + t["data_offsets"][0]:8 + size + t["data_offsets"][1]]) for name, t in header.items()}
        self.config = json.loads((folder / "config.json").read_text())

    def copy(self):
        new = copy.copy(self)
        new.metadata, new.tensors, new.config = dict(self.metadata), dict(self.tensors), copy.deepcopy(self.config)
        return new

    def write(self, folder):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        header, at = {"__metadata__": self.metadata}, 0
        for name, (dtype, shape, data) in self.tensors.items():
            header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
            at += len(data)
        head = json.dumps(header).encode()
        with open(folder / "model.safetensors", "wb") as f:
            f.write(struct.pack("<Q", len(head)) + head)
            for _, _, data in self.tensors.values():
                f.write(data)
        (folder / "config.json").write_text(json.dumps(self.config))

    def put(self, name, dtype, shape, data=b"\1"):
        """The tensor with as many bytes as it needs, these again and again."""
        size = BYTES[dtype] * math.prod(shape)
        self.tensors[name] = (dtype, shape, (data * (size // max(1, len(data)) + 1))[:size])


def places(value, path=()):
    """Paths of everything in a JSON value."""
    for key in value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield (*path, key)
        yield from places(value[key], (*path, key))


def changed(document):
    """(what, document) with each of its values replaced or gone."""
    for path in places(document):
        for value in [*VALUES, "gone"]:
            new = copy.deepcopy(document)
            at = new
            for key in path[:-1]:
                at = at[key]
            if value == "gone":
                del at[path[-1]]
            else:
                at[path[-1]] = value
            yield f"{'.'.join(map(str, path))} {value}"[:200], new


def shapes(shape):
    yield from ([], [0], [2**40, 0], shape[::-1], [*shape, 1], [1, *shape], [math.prod(shape)])
    for i, n in enumerate(shape):
        yield from ([*shape[:i], m, *shape[i + 1:]] for m in {0, 1, n - 1, n + 1, 2 * n} - {n, -1})


def changes_of_tensors(model, module):
    for name in [name for name in model.tensors if name.startswith(module)]:
        dtype, shape, data = model.tensors[name]
        yield f"{name} gone", lambda m, name=name: m.tensors.pop(name)
        for other in BYTES.keys() - {dtype}:
            yield f"{name} as {other}", lambda m, name=name, other=other, shape=shape, data=data: m.put(name, other, shape, data)
        for other in shapes(shape):
            yield f"{name} {other}", lambda m, name=name, other=other, dtype=dtype, data=data: m.put(name, dtype, other, data)
        for byte in (b"\0", b"\xff", b"\x7f", b"\x80", b"{", b"\x00\x80"):
            yield f"{name} all {byte}", lambda m, name=name, byte=byte, dtype=dtype, shape=shape: m.put(name, dtype, shape, byte)
        for length in range(0, len(data), max(1, len(data) // 20)) if "quant_state" in name else ():
            yield f"{name} torn at {length}", lambda m, name=name, length=length, data=data: m.put(name, "U8", [length], data)
    for ending in ENDINGS:
        for dtype, shape in (("F32", [1]), ("U8", [3, 2]), ("I64", [2]), ("F8_E4M3", [64, 64])):
            yield f"{module}{ending} {dtype} {shape} too", lambda m, ending=ending, dtype=dtype, shape=shape: m.put(module + ending, dtype, shape)
    first = next(name for name in model.tensors if name.startswith(module))
    yield "names that meet", lambda m: m.tensors.update({f"{module}.weight": m.tensors[first], module: m.tensors[first]})


def changes(model):
    """(what, function that changes a model)."""
    module = next(name for name in sorted(model.tensors) if "q_proj" in name or "experts.down_proj" in name)
    module = module[:module.index("_proj") + 5]
    yield from changes_of_tensors(model, module)
    for what, settings in changed(model.config["quantization_config"]):
        yield f"config {what}", lambda m, settings=settings: m.config.update(quantization_config=settings)
    for method in METHODS:
        yield f"method {method}"[:60], lambda m, method=method: m.config["quantization_config"].update(quant_method=method)
    for value in (None, 1, "x", [], {}, {"quant_method": None}):
        yield f"config is {value}", lambda m, value=value: m.config.update(quantization_config=value)
    yield "no config", lambda m: m.config.pop("quantization_config")
    for name in [name for name in model.tensors if name.startswith(module) and "quant_state" in name]:
        for what, state in changed(json.loads(model.tensors[name][2])):
            text = json.dumps(state).encode()
            yield f"{name} {what}", lambda m, name=name, text=text: m.put(name, "U8", [len(text)], text)
        for text in (b"[" * 100_000, b"{}", b"null", b"\xff\xfe", b'{"shape":' + b"[1," * 9 + b"1" * 400):
            yield f"{name} {text[:20]}", lambda m, name=name, text=text: m.put(name, "U8", [len(text)], text)
    for key in [key for key in model.metadata if key.startswith(module) or key == "tensor_names"]:
        for what, value in changed(json.loads(model.metadata[key])):
            yield f"metadata {key} {what}", lambda m, key=key, value=value: m.metadata.update({key: json.dumps(value)})
        for text in ("", "[" * 100_000, "{}", "null", "1"):
            yield f"metadata {key} {text[:20]}", lambda m, key=key, text=text: m.metadata.update({key: text})
        yield f"metadata {key} gone", lambda m, key=key: m.metadata.pop(key)


def run(arguments, err):
    pid = os.fork()
    if pid == 0:
        for number, path in ((1, "/dev/null"), (2, err)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666), number)
        resource.setrlimit(resource.RLIMIT_CPU, (4 * SECONDS, 4 * SECONDS))
        os.execvp(arguments[0], arguments)
    _, status, used = os.wait4(pid, 0)
    return os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


ENDS = collections.Counter()  # of st-pack, by exit code


def faults(place):
    """What is wrong with how the programs end on the model in place/m."""
    model, out, err = place / "m", place / "out" / "plain", place / "err"
    for command, codes in ((["st-pack", "-q", model, "-o", out, "--dequantize", "-j", "1"], (0, 4, 5)), (["st-inspect", "--check=hub", model], (0, 1, 4)),
                           (["st-inspect", "--json", "--stats", model], (0, 4, 5))):
        code, seconds, megabytes = run([str(word) for word in command], err)
        ENDS[code] += command[0] == "st-pack"
        message = err.read_bytes()
        left = sorted(os.listdir(out.parent))
        if code not in codes or len(message.splitlines()) > 1 or (code > 1 and not message) or seconds > SECONDS or megabytes > MEGABYTES or left != (["plain"] if code == 0 else []) and command[0] == "st-pack":
            yield f"{command[0]} {command[1]}: exit {code}, {seconds:.1f} s, {megabytes:.0f} MB, left {left}, {message.decode(errors='replace')[:800]}"
    shutil.rmtree(out, ignore_errors=True)


def main():
    place, every = pathlib.Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 1
    (place / "out").mkdir(parents=True)
    failed = tried = 0
    for fixture in sorted(path.parent for path in pathlib.Path(sys.argv[1]).glob("*/config.json")):
        original = Model(fixture)
        for what, change in changes(original):
            tried += 1
            if tried % every:
                continue
            model = original.copy()
            change(model)
            model.write(place / "m")
            for fault in faults(place):
                print(f"{fixture.name}: {what}: {fault}", flush=True)
                failed += 1
                shutil.copytree(place / "m", place / "failed" / str(failed))
    print(f"{tried} changes; st-pack ended with {dict(sorted(ENDS.items()))}", file=sys.stderr)
    sys.exit(failed > 0)


main()
