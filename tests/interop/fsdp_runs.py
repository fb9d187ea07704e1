# SPDX-License-Identifier: Apache-2.0
"""What FSDP training leaves if each rank pickles its own state dict, as verl and accelerate (use_dcp=False) do.

    python fsdp_runs.py OUT WORLD:CASE,CASE... [WORLD:CASE...]

Each case is a folder WORLD-CASE in OUT. Beside it, WORLD-CASE.safetensors holds full_tensor() of every entry and WORLD-CASE.json their names
in the order of the state dict. Libraries are imported once; ranks are forks of this process and meet in one gloo group a WORLD.
    fsdp2, hsdp, tp, hsdptp, dim1       fully_shard on meshes of one to three dimensions, with tensor parallelism, and along columns
    boxes                               distribute_tensor: all kinds of placements, types and sizes
    torch26, torch28, torch210          fsdp2 with the mesh as these versions spell it (tp26 and tp210: of tp)
    fsdp1, fsdp1mesh                    FullyShardedDataParallel, whose entries are ShardedTensors, or DTensors with a mesh
    accelerate                          fsdp2 under the names of accelerate's files
    lora                                fsdp2 of an adapter of peft; WORLD-lora.peft is what peft saves of it
    partial, stages, experts            what can't be made whole: a DTensor that was never reduced, a pipeline, expert parallelism"""
import contextlib
import copy
import json
import os
import pathlib
import sys
import tempfile
import traceback

import torch
import torch.distributed as dist
from torch.distributed import _mesh_layout, device_mesh
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, StateDictType, fully_shard
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, _dtensor_spec, distribute_tensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

import rank_runs


def model():
    torch.manual_seed(5)
    return rank_runs.Model().bfloat16()


def old_attributes(mesh, version):
    """What torch 2.6, 2.8 and 2.10 pickle for a mesh."""
    state = {k: v for k, v in mesh.__dict__.items() if k not in ("_pg_registry", "_rank")} | {"_coordinate_on_dim": list(mesh._coordinate_on_dim)}
    if version == "210":
        return state
    names, ranks = list(state["_dim_group_names"]), mesh.mesh.flatten().tolist()
    groups = {"_dim_group_infos": [("ptd:" + name, ranks, name) for name in names]} if version == "26" else {"_dim_group_names": names}
    return {"device_type": state["_device_type"], "mesh": mesh.mesh.to(torch.int32), "mesh_dim_names": state["_mesh_dim_names"], "_flatten_mesh_list": tuple(ranks),
            "_thread_id": None, **groups, "_coordinate_on_dim": state["_coordinate_on_dim"], "_hash": 1}


def flat_layout(layout):
    return {"shape": tuple(a.shape[0] if a.shape else 1 for a in layout.axes), "stride": tuple(a.stride[0] if a.stride else 0 for a in layout.axes)}


@contextlib.contextmanager
def spelling(version):
    """Pickles as an older torch does: its attributes of meshes and specs."""
    if not version:
        yield
        return
    changed = [(device_mesh.DeviceMesh, lambda self: old_attributes(self, version)),
               (_dtensor_spec.DTensorSpec, lambda self: {"mesh": self.mesh, "placements": self.placements, "tensor_meta": self.tensor_meta, "_hash": 1})]
    if version == "210":
        changed.append((_mesh_layout._MeshLayout, flat_layout))
    before = [(owner, owner.__dict__.get("__getstate__")) for owner, _ in changed]
    for owner, state in changed:
        owner.__getstate__ = state
    try:
        yield
    finally:
        for owner, state in before:
            if state is None:
                del owner.__getstate__
            else:
                owner.__getstate__ = state


def whole(state):
    return {name: value.full_tensor() if isinstance(value, DTensor) else value for name, value in state.items()}


def save(rank, world, out, state, full, name="model_world_size_{world}_rank_{rank}.pt", version=None):
    with spelling(version):
        torch.save(state, pathlib.Path(out, name.format(world=world, rank=rank)))
    if rank == 0:
        rank_runs.save_expected(out, full)
        pathlib.Path(f"{out}.json").write_text(json.dumps(list(state)))
        if name.startswith("model_world_size"):
            pathlib.Path(out, "fsdp_config.json").write_text(json.dumps({"FSDP_version": 2, "world_size": world}, indent=4))


def fsdp2(rank, world, out, version=None, **how):
    sharded = fully_shard(model(), mesh=init_device_mesh("cpu", (world,), mesh_dim_names=("fsdp",)))
    state = sharded.state_dict()
    save(rank, world, out, state, whole(state), version=version, **how)


def hsdp(rank, world, out):
    state = fully_shard(model(), mesh=init_device_mesh("cpu", (2, world // 2), mesh_dim_names=("ddp", "fsdp"))).state_dict()
    save(rank, world, out, state, whole(state))


def tp(rank, world, out, version=None, replicas=1):
    names, sizes = ("ddp", "fsdp", "tp"), (replicas, world // 2 // replicas, 2)
    mesh = init_device_mesh("cpu", sizes if replicas > 1 else sizes[1:], mesh_dim_names=names if replicas > 1 else names[1:])
    parallel = parallelize_module(model(), mesh["tp"], {"up": ColwiseParallel(), "down": RowwiseParallel()})
    state = fully_shard(parallel, mesh=mesh["ddp", "fsdp"] if replicas > 1 else mesh["fsdp"]).state_dict()
    save(rank, world, out, state, whole(state), version=version)


def dim1(rank, world, out):
    columns = lambda parameter: Shard(1) if parameter.ndim == 2 and parameter.shape[1] % world == 0 else None
    state = fully_shard(model(), mesh=init_device_mesh("cpu", (world,)), shard_placement_fn=columns).state_dict()
    save(rank, world, out, state, whole(state))


def boxes(rank, world, out):
    torch.manual_seed(3)
    state, full = rank_runs.boxes(world)
    if world == 8:
        cube = init_device_mesh("cpu", (2, 2, 2))
        for name, placements in {"cube": [Shard(0), Shard(1), Shard(0)], "planes": [Shard(2), Replicate(), Shard(2)], "thrice": [Shard(1)] * 3}.items():
            full[name] = torch.randn(7, 11, 3)
            state[name] = distribute_tensor(full[name], cube, placements)
    save(rank, world, out, state, full)


def fsdp1(rank, world, out, mesh=False):
    how = {"device_mesh": init_device_mesh("cpu", (world,))} if mesh else {}
    sharded = FullyShardedDataParallel(model(), use_orig_params=True, device_id=torch.device("cpu"), **how)
    with FullyShardedDataParallel.state_dict_type(sharded, StateDictType.FULL_STATE_DICT):
        full = {k: v.clone() for k, v in sharded.state_dict().items()}  # views of what is freed below
    with FullyShardedDataParallel.state_dict_type(sharded, StateDictType.SHARDED_STATE_DICT):
        save(rank, world, out, sharded.state_dict(), full)


def lora(rank, world, out):
    import peft
    adapted = peft.get_peft_model(model(), peft.LoraConfig(r=3, lora_alpha=6, target_modules=["up", "down"], init_lora_weights=False))
    if rank == 0:
        copy.deepcopy(adapted).save_pretrained(f"{out}.peft")
    state = fully_shard(adapted, mesh=init_device_mesh("cpu", (world,))).state_dict()
    save(rank, world, out, state, whole(state))


def partial(rank, world, out):
    summed = DTensor.from_local(torch.ones(2, 3), init_device_mesh("cpu", (world,)), [Partial()])
    save(rank, world, out, {"summed": summed}, {"summed": summed.full_tensor()})


def stages(rank, world, out):
    save(rank, world, out, {f"layers.{rank}.weight": torch.ones(2)}, {"unknown": torch.ones(1)})


def experts(rank, world, out):
    save(rank, world, out, {"layers.0.experts.weight": torch.full((2,), rank)}, {"unknown": torch.ones(1)})


CASES = {
    "stages": stages, "experts": experts,
    "fsdp2": fsdp2, "hsdp": hsdp, "tp": tp, "dim1": dim1, "boxes": boxes, "fsdp1": fsdp1, "lora": lora, "partial": partial,
    "hsdptp": lambda *a: tp(*a, replicas=2),
    "fsdp1mesh": lambda *a: fsdp1(*a, mesh=True),
    "accelerate": lambda *a: fsdp2(*a, name="pytorch_model_fsdp_0_rank{rank}.bin"),
    **{f"torch{v}": lambda *a, v=v: fsdp2(*a, version=v) for v in ("26", "28", "210")},
    **{f"tp{v}": lambda *a, v=v: tp(*a, version=v) for v in ("26", "210")},
}


def run_rank(rank, world, out, cases, store):
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
    for case in cases:
        folder = f"{out}/{world}-{case}"
        pathlib.Path(folder).mkdir(exist_ok=True)
        CASES[case](rank, world, folder)
    dist.barrier()


def run_world(world, out, cases):
    with tempfile.TemporaryDirectory() as folder:
        children = []
        for rank in range(world):
            children.append(os.fork())
            if children[-1] == 0:
                try:
                    run_rank(rank, world, out, cases, f"{folder}/store")
                    os._exit(0)
                except BaseException:
                    traceback.print_exc()
                    os._exit(1)
        if any([os.waitpid(child, 0)[1] for child in children]):
            sys.exit(f"a rank of {world} failed")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for job in sys.argv[2:]:
        world, cases = job.split(":")
        if "lora" in cases:
            import peft  # noqa: F401: once, before ranks are forked
        run_world(int(world), sys.argv[1], cases.split(","))
