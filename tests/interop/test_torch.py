# SPDX-License-Identifier: Apache-2.0
"""Random state dicts in every layout that torch writes, and arrays in every layout of NumPy, against what we read."""
import io
import json
import pathlib
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8,
          torch.bool, torch.complex64, torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz,
          torch.uint16, torch.uint32, torch.uint64]


def random_tensor(rng, dtype):
    shape = [int(n) for n in rng.integers(0, 7, rng.integers(0, 4))]
    base = torch.from_numpy(rng.integers(0, 100, shape)).to(torch.float32).to(dtype) if dtype != torch.bool else torch.from_numpy(rng.integers(0, 2, shape)).bool()
    if base.dim() == 0:
        return base
    how = rng.integers(0, 6)
    if how == 1:
        return base.permute(*[int(i) for i in rng.permutation(base.dim())])
    if how == 2:
        return base[tuple(slice(int(rng.integers(0, 2)), None, int(rng.integers(1, 3))) for _ in shape)]
    if how == 3:
        return base.unsqueeze(0).expand(3, *shape)
    if how == 4 and dtype == torch.complex64:
        return base.conj()
    if how == 5 and not dtype.is_complex and dtype.itemsize > 1:
        return torch.nn.Parameter(base, requires_grad=False)
    return base


def random_state(seed):
    rng = np.random.default_rng(seed)
    state = {f"layer.{i}.{str(dtype)[6:]}": random_tensor(rng, dtype) for i in range(4) for dtype in DTYPES}
    shared = torch.arange(24.0)
    state |= {"share.b": shared, "share.a": shared, "share.c": shared[:], "share.part": shared[3:9], "share.square": shared.view(4, 6)}
    return state


def plain(tensor):
    return tensor.detach().resolve_conj().resolve_neg().contiguous()


def same(a, b):
    a, b = plain(a), plain(b)
    bits = lambda t: t.as_strided((t.numel(),), (1,)).view(torch.uint8)  # size-1 dimensions keep odd strides
    return a.dtype == b.dtype and a.shape == b.shape and (a.numel() == 0 or bits(a).equal(bits(b)))


def rezip(source, target, change=lambda name, data: data, **options):
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", **options) as new:
        for name in old.namelist():
            with new.open(zipfile.ZipInfo(name), "w", force_zip64=True) if not options else new.open(name, "w") as member:
                member.write(change(name, old.read(name)))


def write_zip(state, path):
    torch.save(state, path)


def write_deflated(state, path):
    torch.save(state, path.with_suffix(".tmp"))
    rezip(path.with_suffix(".tmp"), path, compression=zipfile.ZIP_DEFLATED)


def write_zip64(state, path):
    torch.save(state, path.with_suffix(".tmp"))
    rezip(path.with_suffix(".tmp"), path)


def write_legacy(state, path):
    torch.save(state, path, _use_new_zipfile_serialization=False)


LAYOUTS = {"zip": write_zip, "legacy": write_legacy, "deflated": write_deflated, "zip64": write_zip64}
LAYOUTS |= {f"protocol{p}": (lambda p: lambda state, path: torch.save(state, path, pickle_protocol=p))(p) for p in (3, 4, 5)}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("seed", range(3))
def test_state_dicts_are_packed_bit_by_bit(tmp_path, run, layout, seed):
    state = random_state(seed)
    LAYOUTS[layout](state, tmp_path / "x.bin")
    run("st-pack", tmp_path / "x.bin", "-o", tmp_path / "out.safetensors", "--verify")
    packed = load_file(tmp_path / "out.safetensors")
    assert packed.keys() == state.keys()  # all names of one storage too: no config says that loaders put one back
    for name, tensor in packed.items():
        assert same(tensor, state[name]), name


def test_big_endian_files(tmp_path, run):
    state = {"a": torch.randn(3, 5), "t": torch.randn(4, 6).t(), "c": torch.randn(3, dtype=torch.complex64), "i": torch.arange(5), "b": torch.tensor([True, False])}
    torch.serialization.set_default_load_endianness(torch.serialization.LoadEndianness.LITTLE)
    torch.serialization.set_default_load_endianness(None)
    torch.save(state, tmp_path / "little.pt")
    width = {"0": 4, "1": 4, "2": 4, "3": 8, "4": 1}

    def swap(name, data):
        if name.endswith("/byteorder"):
            return b"big"
        key = name.rpartition("/data/")[2]
        return np.frombuffer(data, f"u{width[key]}").byteswap().tobytes() if "/data/" in name else data

    rezip(tmp_path / "little.pt", tmp_path / "big.pt", swap, compression=zipfile.ZIP_STORED)
    assert all(same(a, b) for a, b in zip(torch.load(tmp_path / "big.pt").values(), state.values()))
    run("st-pack", tmp_path / "big.pt", "-o", tmp_path / "out.safetensors")
    packed = load_file(tmp_path / "out.safetensors")
    assert all(same(packed[name], tensor) for name, tensor in state.items())


def test_float4_is_written_as_save_file_writes_it(tmp_path, run):
    data = torch.arange(24, dtype=torch.uint8).view(4, 6)
    float4 = data.view(torch.float4_e2m1fn_x2)
    state = {"whole": float4, "turned": float4.t(), "columns": float4[:, ::2], "row": float4[1], "none": float4[:0]}
    torch.save(state, tmp_path / "x.pt")
    rezip(tmp_path / "x.pt", tmp_path / "deflated.pt", lambda name, data: data, compression=zipfile.ZIP_DEFLATED)
    torch.save(state, tmp_path / "legacy.pt", _use_new_zipfile_serialization=False)
    separate = {name: tensor.view(torch.uint8).clone().contiguous().view(torch.float4_e2m1fn_x2) for name, tensor in state.items()}
    save_file(separate, tmp_path / "reference.safetensors", {"format": "pt"})
    for name in ["x.pt", "deflated.pt", "legacy.pt"]:
        run("st-pack", tmp_path / name, "-o", tmp_path / "out.safetensors", "--force", "--verify")
        assert (tmp_path / "out.safetensors").read_bytes() == (tmp_path / "reference.safetensors").read_bytes()
    torch.save({"one": float4[0, 0], "fine": torch.ones(2)}, tmp_path / "x.pt")
    run("st-pack", tmp_path / "x.pt", "-o", tmp_path / "out.safetensors", "--force", "--exclude", "one")


def test_bytes_beside_tensors_are_left_out(tmp_path, run):
    torch.save({"a.weight": torch.ones(2), "a._extra_state": io.BytesIO(b"scales")}, tmp_path / "x.pt")
    run("st-pack", tmp_path / "x.pt", "-o", tmp_path / "out.safetensors")
    assert set(load_file(tmp_path / "out.safetensors")) == {"a.weight"}


@pytest.mark.parametrize("wrap", [lambda s: {"state_dict": s, "epoch": 3}, lambda s: {"model": s, "optimizer": {"state": {}}, "args": None},
                                  lambda s: {f"module.{k}": v for k, v in s.items()}, lambda s: {f"_orig_mod.{k}": v for k, v in s.items()},
                                  lambda s: {"module": {k.replace("layer", "_fsdp_wrapped_module.layer"): v for k, v in s.items()}},
                                  lambda s: {"ema": s, "step": torch.tensor(3)}, lambda s: {"best": {"net": s}, "rng_state": torch.get_rng_state()},
                                  lambda s: {"generator": s, "optim": torch.optim.AdamW(torch.nn.Linear(2, 2).parameters()).state_dict()}])
def test_wrappers_are_taken_off(tmp_path, run, wrap):
    state = {"layer.0.weight": torch.randn(3, 2), "layer.0.bias": torch.randn(3)}
    torch.save(wrap(state), tmp_path / "x.pt")
    run("st-pack", tmp_path / "x.pt", "-o", tmp_path / "out.safetensors")
    packed = load_file(tmp_path / "out.safetensors")
    assert set(packed) == set(state) and all(same(packed[k], state[k]) for k in state)


@pytest.mark.parametrize("name, tensor", {"complex128": torch.ones(2, dtype=torch.complex128),
                                          "quint8": torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.quint8),
                                          "sparse": torch.eye(3).to_sparse(), "meta": torch.empty(3, device="meta")}.items())
def test_what_has_no_place_is_described_and_refused(tmp_path, run, name, tensor):
    torch.save({"fine": torch.ones(2), "odd": tensor}, tmp_path / "x.pt")
    listing = run("st-inspect", "-t", tmp_path / "x.pt").stdout.decode()
    assert f"odd\t{name}\t" in listing
    assert b"'odd'" in run("st-pack", tmp_path / "x.pt", "-o", tmp_path / "out.safetensors", code=4).stderr
    run("st-pack", tmp_path / "x.pt", "-o", tmp_path / "out.safetensors", "--exclude", "odd")
    assert set(load_file(tmp_path / "out.safetensors")) == {"fine"}


@pytest.mark.parametrize("make", [lambda: {"a": torch.ones(2)}, lambda: torch.nn.Linear(2, 3).state_dict(), lambda: torch.nn.Linear(2, 3),
                                  lambda: {"n": np.ones(2)}, lambda: {"s": {1, 2}, "t": torch.Size([2]), "d": torch.device("cpu"), "c": 1j},
                                  lambda: {"p": pathlib.PurePosixPath("x")}, lambda: {"q": torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.quint8)}])
def test_weights_only_agrees_with_torch(tmp_path, run, make):
    torch.save(make(), tmp_path / "x.pt")
    report = json.loads(run("st-inspect", "--json", tmp_path / "x.pt").stdout)
    try:
        torch.load(tmp_path / "x.pt", weights_only=True)
        accepted = True
    except Exception:
        accepted = False
    assert report["pickles"][0]["weights_only"] == accepted


def test_weights_only_names_are_those_of_torch(tmp_path, run):
    from torch._weights_only_unpickler import _get_allowed_globals

    def accepts(name):
        module, _, attribute = name.rpartition(".")
        (tmp_path / "x.pkl").write_bytes(b"\x80\x02c" + f"{module}\n{attribute}\n".encode() + b".")
        return json.loads(run("st-inspect", "--json", tmp_path / "x.pkl").stdout)["pickles"][0]["weights_only"]

    allowed = set(_get_allowed_globals())
    near = {"torch.complex", "torch.half", "torch.sparse.BoolTensor", "torch.cuda.QInt8Storage", "torch.ComplexFloatTensor", "torch.storage._LegacyStorage",
            "torch._utils._rebuild_sparse_csr_tensor", "builtins.list", "builtins.dict", "collections.deque", "torch.int9"}
    assert [name for name in sorted(allowed) if not accepts(name)] == []
    assert [name for name in sorted(near - allowed) if accepts(name)] == []


def test_names_that_torch_adds_to_the_safe_ones_are_harmless(tmp_path, run):
    import torch._dynamo
    import torch.distributed.tensor  # noqa: F401
    import torch.nested  # noqa: F401

    added = torch.serialization.get_safe_globals()
    names = [one[1].rpartition(".")[::2] if isinstance(one, tuple) else (one.__module__, one.__qualname__) for one in added]
    for module, word in names:
        if module.startswith("torchao."):  # which other tests import
            continue
        (tmp_path / "x.pkl").write_bytes(b"\x80\x02c" + f"{module}\n{word}\n".encode() + b".")
        report = json.loads(run("st-inspect", "--json", tmp_path / "x.pkl").stdout)
        assert report["pickles"][0]["verdict"] == "harmless", (module, word)


def test_many_compressed_members_and_storages(tmp_path, run):
    arrays = {f"a{i}": np.asfortranarray(np.random.default_rng(i).random((4, 5), "f4")) for i in range(2500)}
    np.savez_compressed(tmp_path / "x.npz", **arrays)
    run("st-pack", tmp_path / "x.npz", "-o", tmp_path / "npz.safetensors")
    packed = load_file(tmp_path / "npz.safetensors")
    assert all(same(packed[k], torch.from_numpy(np.ascontiguousarray(v))) for k, v in arrays.items())
    state = {k: torch.from_numpy(v) for k, v in arrays.items()}
    write_deflated(state, tmp_path / "x.bin")
    run("st-pack", tmp_path / "x.bin", "-o", tmp_path / "bin.safetensors")
    packed = load_file(tmp_path / "bin.safetensors")
    assert all(same(packed[k], v) for k, v in state.items())


def test_legacy_streams_of_other_protocols(tmp_path, run):
    state = random_state(9)
    for protocol in (3, 4, 5):
        torch.save(state, tmp_path / "x.pt", pickle_protocol=protocol, _use_new_zipfile_serialization=False)
        run("st-pack", tmp_path / "x.pt", "-o", tmp_path / "out.safetensors", "--force")
        packed = load_file(tmp_path / "out.safetensors")
        assert all(same(tensor, state[name]) for name, tensor in packed.items()) and packed.keys() == state.keys()


def test_training_arguments(fixtures, run):
    from transformers.trainer_utils import IntervalStrategy  # the class that torch.load needs

    path = fixtures / "full-run" / "checkpoint-40" / "training_args.bin"
    value = lambda key: run("st-inspect", f"--metadata={key}", path).stdout.decode().strip()
    assert float(value("learning_rate")) == 0.02 and value("save_strategy") in {member.value for member in IntervalStrategy}


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<i2", ">u4", "|b1", "<c8", ">c8", "<f2"])
def test_arrays(tmp_path, run, version, dtype):
    rng = np.random.default_rng(7)
    arrays = {"a": rng.integers(0, 2, (3, 4, 5)).astype(dtype), "f": np.asfortranarray(rng.integers(0, 2, (6, 7)).astype(dtype)),
              "s": np.array(1).astype(dtype), "e": np.zeros((0, 3), dtype)}
    with open(tmp_path / "one.npy", "wb") as f:
        np.lib.format.write_array(f, arrays["f"], version)
    np.savez(tmp_path / "stored.npz", **arrays)
    np.savez_compressed(tmp_path / "small.npz", **arrays)
    native = {k: torch.from_numpy(np.ascontiguousarray(v.astype(v.dtype.newbyteorder("="))).reshape(v.shape)) for k, v in arrays.items()}
    for name in ("stored.npz", "small.npz"):
        run("st-pack", tmp_path / name, "-o", tmp_path / f"{name}.safetensors")
        packed = load_file(tmp_path / f"{name}.safetensors")
        assert set(packed) == set(native) and all(same(packed[k], native[k]) for k in native)
    run("st-pack", tmp_path / "one.npy", "-o", tmp_path / "one.safetensors")
    assert same(load_file(tmp_path / "one.safetensors")["one"], native["f"])


def test_arrays_of_objects_and_texts_are_refused(tmp_path, run):
    np.save(tmp_path / "o.npy", np.array([{}, 1], dtype=object), allow_pickle=True)
    np.savez_compressed(tmp_path / "o.npz", a=np.ones(2), o=np.array([{}], dtype=object))
    np.save(tmp_path / "t.npy", np.array(["a", "bc"]))
    for name in ("o.npy", "o.npz", "t.npy"):
        run("st-pack", tmp_path / name, "-o", tmp_path / "out.safetensors", code=4)
    assert not (tmp_path / "out.safetensors").exists()
