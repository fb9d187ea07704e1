# SPDX-License-Identifier: Apache-2.0
"""We accept and refuse the files that the reference reader accepts and refuses, and find the same tensors."""
import json
import random
import struct

import numpy as np
import pytest
import safetensors
import torch
from safetensors import safe_open
from safetensors.torch import save_file

ENTRY = {"dtype": "I32", "shape": [2, 2], "data_offsets": [0, 16]}


def write(path, header, data):
    raw = header if isinstance(header, bytes) else header.encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + data)


def reference_accepts(path):
    try:
        safetensors.deserialize(path.read_bytes())
        return True
    except safetensors.SafetensorError:
        return False


def mutations(seed, count):
    """Headers near a valid one: characters dropped, doubled, exchanged, and pieces of JSON spliced in."""
    rng = random.Random(seed)
    base = json.dumps({"__metadata__": {"format": "pt"}, "a": ENTRY, "b": {"dtype": "U8", "shape": [3], "data_offsets": [16, 19]}},
                      separators=(",", ":"))
    pieces = ["null", "[]", "{}", "0", "-0", "1.0", "1e2", "1e999", '"x"', '"\\ud800"', '"\\u0061"', ",", ":", "[", "]", "{", "}", '"', "\\",
              " ", "\n", "\0", "\t", "true", "16", "19", "00", "-1", "18446744073709551616", '"I32"', '{"I32":null}', '{"U8":{}}', '["U8",[3],[16,19]]',
              '"__metadata__"', '"a"', '"dtype":"U8",', '"x":[[[1]]],', "é", "\x7f", "NaN"]
    for _ in range(count):
        text = base
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(text))
            kind = rng.randrange(4)
            if kind == 0:
                text = text[:at] + text[at + rng.randint(1, 4):]
            elif kind == 1:
                text = text[:at] + rng.choice(pieces) + text[at:]
            elif kind == 2:
                text = text[:at] + rng.choice(pieces) + text[at + 1:]
            else:
                end = min(len(text), at + rng.randint(1, 30))
                text = text[:end] + text[at:end] + text[end:]
        yield text


@pytest.mark.parametrize("seed", range(8))
def test_verdicts_agree_on_mutated_headers(tmp_path, run, seed):
    files, expected = [], []
    for i, text in enumerate(mutations(seed, 250)):
        path = tmp_path / f"{i}.safetensors"
        write(path, text, bytes(19))
        files.append(path)
        expected.append(reference_accepts(path))
    assert any(expected) and not all(expected)
    result = run("st-inspect", "--check=loads", *files, code=None)
    ours = [f"{path}: sound" in result.stdout.decode() for path in files]
    wrong = [(path.read_bytes()[8:-19], want) for path, want, got in zip(files, expected, ours) if want != got]
    assert not wrong, wrong[:5]


def test_every_cut_of_a_file_is_refused_by_both(tmp_path, run):
    whole = tmp_path / "whole.safetensors"
    save_file({"a": torch.arange(4.0), "b": torch.zeros(3, dtype=torch.uint8)}, whole)
    data = whole.read_bytes()
    files = []
    for size in range(len(data)):
        path = tmp_path / f"{size}"
        path.write_bytes(data[:size])
        assert not reference_accepts(path)
        files.append(path)
    result = run("st-inspect", "--check=loads", *files, code=4)
    assert result.stdout.decode().count("refuses it") == len(files)


def test_every_torch_dtype_is_listed_as_the_reference_sees_it(tmp_path, run):
    dtypes = [torch.bool, torch.uint8, torch.int8, torch.int16, torch.uint16, torch.float16, torch.bfloat16, torch.int32, torch.uint32,
              torch.float32, torch.complex64, torch.float64, torch.int64, torch.uint64, torch.float8_e4m3fn, torch.float8_e5m2,
              torch.float8_e8m0fnu]
    path = tmp_path / "all.safetensors"
    save_file({str(d): torch.zeros(2, 3, dtype=torch.uint8).repeat(1, d.itemsize).view(d) for d in dtypes}, path, {"k": "v\n"})
    listed = {}
    for line in run("st-inspect", "-t", path).stdout.decode().splitlines():
        name, dtype, shape, elements, size, _, _ = line.split("\t")
        listed[name] = (dtype, [int(n) for n in shape.split(",")], int(elements), int(size))
    with safe_open(path, "pt") as f:
        for name in f.keys():
            view = f.get_slice(name)
            assert listed.pop(name)[:2] == (view.get_dtype(), view.get_shape())
    assert not listed
    assert run("st-inspect", "--metadata=k", path).stdout == b"v\n\n"


def test_header_is_printed_byte_for_byte(tmp_path, run, fixtures):
    path = fixtures / "tied" / "model.safetensors"
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    assert run("st-inspect", "--header", path).stdout == data[8:8 + size]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.int64, torch.float8_e4m3fn])
def test_statistics_agree_with_torch(tmp_path, run, dtype):
    torch.manual_seed(1)
    values = (torch.randn(300, 701) * 3).to(dtype)
    path = tmp_path / "t.safetensors"
    save_file({"t": values}, path)
    stats = json.loads(run("st-inspect", "--stats", "--json", path).stdout)["tensors"][0]["stats"]
    wide = values.double()
    assert stats["min"] == wide.min().item() and stats["max"] == wide.max().item()
    assert stats["mean"] == pytest.approx(wide.mean().item(), abs=1e-12)
    assert stats["std"] == pytest.approx(wide.std().item(), rel=1e-12)
    assert stats["zeros"] == (wide == 0).sum().item()


def test_printed_values_read_back_the_same(tmp_path, run):
    torch.manual_seed(2)
    for dtype in (torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.float8_e5m2):
        values = torch.randn(7, 5).to(dtype)
        path = tmp_path / f"{dtype}.safetensors"
        save_file({"t": values}, path)
        text = run("st-inspect", "--print", "t[1:6,:3]", path).stdout.decode()
        read = torch.tensor([[float(x) for x in line.split()] for line in text.splitlines()], dtype=torch.float64).to(dtype)
        assert torch.equal(read.float(), values[1:6, :3].float())
        shown = json.loads(run("st-inspect", "--json", "--print", "t[-1]", path).stdout)
        assert shown["shape"] == [5] and torch.equal(torch.tensor(shown["values"], dtype=torch.float64).to(dtype).float(), values[-1].float())


def test_differences_agree_with_torch(tmp_path, run):
    torch.manual_seed(3)
    a, b = torch.randn(100, 33), torch.randn(100, 33)
    save_file({"t": a}, tmp_path / "a.safetensors")
    save_file({"t": b.bfloat16()}, tmp_path / "b.safetensors")
    found = json.loads(run("st-inspect", "--diff", "--json", tmp_path / "a.safetensors", tmp_path / "b.safetensors", code=1).stdout)["tensors"][0]
    a, b = a.double(), b.bfloat16().double()
    assert found["max_abs"] == (a - b).abs().max().item()
    assert found["mean_abs"] == pytest.approx((a - b).abs().mean().item(), rel=1e-12)
    assert found["relative_l2"] == pytest.approx(((a - b).norm() / b.norm()).item(), rel=1e-12)
    assert found["cosine"] == pytest.approx(torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), dim=0).item(), rel=1e-12)


@pytest.mark.parametrize("rtol,atol", [(0, 0), (1e-3, 0), (0, 1e-3), (1e-2, 1e-2)])
def test_tolerance_is_that_of_allclose(tmp_path, run, rtol, atol):
    torch.manual_seed(4)
    a = torch.randn(50, 50)
    b = a * (1 + 5e-3 * torch.randn(50, 50))
    save_file({"t": a}, tmp_path / "a.safetensors")
    save_file({"t": b}, tmp_path / "b.safetensors")
    same = torch.allclose(a.double(), b.double(), rtol=rtol, atol=atol)
    run("st-inspect", "--diff", f"--rtol={rtol}", f"--atol={atol}", tmp_path / "a.safetensors", tmp_path / "b.safetensors", code=0 if same else 1)


def test_content_digest_can_be_recomputed_from_its_definition(run, fixtures):
    import hashlib

    folder = fixtures / "sharded"
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    lines = {}
    for shard in set(index["weight_map"].values()):
        data = (folder / shard).read_bytes()
        (size,) = struct.unpack("<Q", data[:8])
        for name, entry in json.loads(data[8:8 + size]).items():
            if name != "__metadata__":
                begin, end = entry["data_offsets"]
                prefix = entry["dtype"].encode() + b"\0" + ",".join(map(str, entry["shape"])).encode() + b"\0"
                lines[name.encode()] = hashlib.sha256(prefix + data[8 + size + begin:8 + size + end]).hexdigest()
    whole = hashlib.sha256(b"st-content-1\n" + b"".join(n + b"\t" + lines[n].encode() + b"\n" for n in sorted(lines))).hexdigest()
    assert f"content\tst-content-1:{whole}\t" in run("st-inspect", "--hash", folder).stdout.decode()


def test_npy_files_of_numpy(tmp_path, run):
    for i, array in enumerate([np.arange(6, dtype="<f4").reshape(2, 3), np.array(3, dtype="<i8"), np.zeros((0, 4), dtype="<f2"),
                               np.array([True, False]), np.arange(3, dtype="<c8"), np.asfortranarray(np.arange(3, dtype="|u1"))]):
        np.save(tmp_path / f"{i}.npy", array)
        out = tmp_path / f"{i}.safetensors"
        run("st-pack", f"x={tmp_path}/{i}.npy", "-o", out)
        with safe_open(out, "np") as f:
            assert np.array_equal(f.get_tensor("x"), array) and f.get_tensor("x").dtype == array.dtype
        run("st-pack", out, "-o", tmp_path / "back.npy", "--force")
        assert (tmp_path / "back.npy").read_bytes() == (tmp_path / f"{i}.npy").read_bytes()
