# SPDX-License-Identifier: Apache-2.0
"""Small training checkpoints of several ranks, written by DeepSpeed and torch on the CPU.

    python rank_runs.py OUT WORLD CASE...

Each case is a folder of that name in OUT, and what its tensors are, as the libraries' own consolidation has them, is left in
OUT/CASE.safetensors. Processes are started once for all cases: importing DeepSpeed takes longer than the rest.
    zero-STAGE-VARIANT   plain, groups, frozen, tied, lora, fp32, engine (the BF16 engine), aligned, robin (round robin), universal
    dcp-VARIANT          boxes, fsdp1, fsdp2, hsdp, tp, ranks (metadata of each rank), pieces (safetensors)"""
import os
import pathlib
import subprocess
import sys

import torch
import torch.distributed as dist
from torch import nn
from safetensors.torch import save_file


class Model(nn.Module):
    def __init__(self, variant=""):
        super().__init__()
        self.embed = nn.Embedding(11, 6)
        self.up = nn.Linear(6, 7)
        self.down = nn.Linear(7, 6, bias=False)
        self.norm = nn.Parameter(torch.ones(1))
        self.register_buffer("steps", torch.arange(5))
        self.head = nn.Linear(6, 11, bias=False)
        if variant == "tied":
            self.head.weight = self.embed.weight
        if variant == "frozen":
            self.up.requires_grad_(False)
        if variant == "lora":
            for p in self.parameters():
                p.requires_grad = False
            self.up.lora_A = nn.ModuleDict({"default": nn.Linear(6, 2, bias=False)})
            self.up.lora_B = nn.ModuleDict({"default": nn.Linear(2, 7, bias=False)})

    def forward(self, ids):
        x = self.embed(ids)
        y = self.up(x)
        if hasattr(self.up, "lora_A"):
            y = y + self.up.lora_B["default"](self.up.lora_A["default"](x))
        return self.head(x + self.down(torch.relu(y)) * self.norm).float().logsumexp(-1).mean()


def save_expected(out, state):
    save_file({k: v.detach().clone().contiguous() for k, v in state.items()}, f"{out}.safetensors")


def zero(rank, world, out, stage, variant):
    import deepspeed
    torch.manual_seed(5)
    model = Model(variant)
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [{"params": trained[::2], "weight_decay": 0.1}, {"params": trained[1::2]}] if variant == "groups" else trained
    zero_config = {"stage": int(stage)}
    if variant == "aligned":
        zero_config["parameter_alignment"] = True
    if variant == "robin":
        zero_config["round_robin_gradients"] = True
    if stage == "3" and variant == "groups":
        zero_config["sub_group_size"] = 20
    config = {"train_micro_batch_size_per_gpu": 1, "zero_allow_untested_optimizer": True, "zero_force_ds_cpu_optimizer": False,
              "bf16": {"enabled": variant != "fp32"}, "zero_optimization": zero_config}
    if variant == "engine":
        config["data_types"] = {"grad_accum_dtype": "fp32"}
    engine, *_ = deepspeed.initialize(model=model, optimizer=torch.optim.AdamW(groups, lr=1e-2), config=config)
    for step in range(2):
        engine.backward(engine(torch.tensor([[step, 3, rank]])))
        engine.step()
    engine.save_checkpoint(out, exclude_frozen_parameters=variant == "lora")
    dist.barrier()
    if rank == 0:
        if variant == "engine":  # which zero_to_fp32 refuses
            names = {p: n for n, p in engine.module.named_parameters()}
            masters = {names[p]: p._hp_mapping.get_hp_fragment().reshape(p.shape) for p in names} if world == 1 else {}
            save_expected(out, masters)
        else:
            from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint
            save_expected(out, get_fp32_state_dict_from_zero_checkpoint(out))
        if variant == "universal":
            tag = pathlib.Path(out, "latest").read_text()
            subprocess.run([sys.executable, "-m", "deepspeed.checkpoint.ds_to_universal", "--input_folder", f"{out}/{tag}", "--output_folder", f"{out}/universal",
                            "--num_extract_workers", "1", "--num_merge_workers", "1", "--inject_missing_state"], check=True)
    dist.barrier()


def boxes(world):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor
    mesh = init_device_mesh("cpu", (world,))
    full = {"rows": torch.randn(11, 3), "few": torch.randn(2, 5), "columns": torch.randn(4, 9), "flat": torch.randn(13).bfloat16(),
            "deep": torch.randn(5, 4, 7), "same": torch.randn(3, 3), "scalar": torch.tensor(2.5), "empty": torch.zeros(0, 4),
            "whole": torch.arange(24).reshape(4, 6).t(), "eight": torch.randn(6, 6).to(torch.float8_e4m3fn), "bool": torch.tensor([True, False])}
    how = {"rows": [Shard(0)], "few": [Shard(0)], "columns": [Shard(1)], "flat": [Shard(0)], "deep": [Shard(1)], "same": [Replicate()]}
    state = {name: distribute_tensor(tensor, mesh, how[name]) if name in how else tensor for name, tensor in full.items()}
    if world == 4:
        square = init_device_mesh("cpu", (2, 2))
        full["both"] = torch.randn(7, 6)
        state["both"] = distribute_tensor(full["both"], square, [Shard(0), Shard(1)])
    return state, full


def sharded_model(world, variant):
    """The state dict of a model under one of torch's ways to distribute it, and the whole one."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
    model = Model()
    if variant == "fsdp1":
        model = FullyShardedDataParallel(model, use_orig_params=True, device_id=torch.device("cpu"))
    elif variant == "hsdp":
        fully_shard(model, mesh=init_device_mesh("cpu", (2, world // 2), mesh_dim_names=("replicate", "shard")))
    elif variant == "tp":
        mesh = init_device_mesh("cpu", (2, world // 2), mesh_dim_names=("dp", "tp"))
        parallelize_module(model, mesh["tp"], {"up": ColwiseParallel(), "down": RowwiseParallel()})
        fully_shard(model, mesh=mesh["dp"])
    else:
        fully_shard(model, mesh=init_device_mesh("cpu", (world,)))
    whole = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True)) if variant == "pieces" else {}
    return get_model_state_dict(model), whole


def dcp(rank, world, out, variant):
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.format_utils import dcp_to_torch_save
    torch.manual_seed(3)
    state, full = boxes(world) if variant in ("boxes", "ranks") else sharded_model(world, variant)
    folder = f"{out}/pytorch_model_fsdp_0"
    if variant == "pieces":
        state = {k: v for k, v in state.items() if v.is_floating_point()}
        full = {k: v for k, v in full.items() if v.is_floating_point()}
        dcp.save(state, storage_writer=dcp.HuggingFaceStorageWriter(path=out, save_distributed=True))
    elif variant == "ranks":
        dcp.save({"model": state}, checkpoint_id=folder, use_collectives=False)
    else:
        dcp.save({"model": state, "optimizer": {"state": {"rows": {"exp_avg": torch.zeros(2)}}}, "epoch": 3}, checkpoint_id=folder)
    dist.barrier()
    if rank == 0:
        if variant not in ("pieces", "ranks"):  # which it can't read
            dcp_to_torch_save(folder, f"{out}/whole.pt")
            full = torch.load(f"{out}/whole.pt")["model"]
            os.remove(f"{out}/whole.pt")
        save_expected(out, full)
    dist.barrier()


def run_rank(rank, world, out, cases):
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world), DS_ACCELERATOR="cpu")
    torch.set_num_threads(1)
    # Meet in a file: ports may be taken.
    dist.init_process_group("gloo", init_method=f"file://{out}/rendezvous", rank=rank, world_size=world)
    if any(case.startswith("zero") for case in cases):
        import deepspeed
        deepspeed.init_distributed(dist_backend="gloo", auto_mpi_discovery=False)
    for case in cases:
        kind, *arguments = case.split("-")
        pathlib.Path(out, case).mkdir(exist_ok=True)
        {"zero": zero, "dcp": dcp}[kind](rank, world, f"{out}/{case}", *arguments)
    # Everything is written: skip the libraries' own teardown, which sometimes aborts ("terminate called without an active exception").
    dist.barrier()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    out, world, *cases = sys.argv[1:]
    torch.multiprocessing.spawn(run_rank, args=(int(world), out, cases), nprocs=int(world))
