# SPDX-License-Identifier: Apache-2.0
"""Small training checkpoints of several ranks, written by DeepSpeed and torch on the CPU.

    python sharded_runs.py zero OUT WORLD STAGE VARIANT      variants: plain groups frozen tied lora fp32
    python sharded_runs.py dcp OUT WORLD
The expected tensors are left in OUT/expected.safetensors."""
import os
import sys

import torch
from torch import nn
from safetensors.torch import save_file


class Model(nn.Module):
    def __init__(self, tied=False, lora=False):
        super().__init__()
        self.embed = nn.Embedding(11, 6)
        self.up = nn.Linear(6, 7)
        self.down = nn.Linear(7, 6, bias=False)
        self.norm = nn.Parameter(torch.ones(1))
        self.register_buffer("steps", torch.arange(5))
        self.head = nn.Linear(6, 11, bias=False)
        if tied:
            self.head.weight = self.embed.weight
        if lora:
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


def meet(rank, world, out):
    # Over a file: ports may be taken.
    torch.distributed.init_process_group("gloo", init_method=f"file://{out}/rendezvous", rank=rank, world_size=world)


def zero_rank(rank, world, stage, variant, out):
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world), DS_ACCELERATOR="cpu")
    meet(rank, world, out)
    import deepspeed
    deepspeed.init_distributed(dist_backend="gloo", auto_mpi_discovery=False)
    torch.manual_seed(5)
    model = Model(variant == "tied", variant == "lora")
    if variant == "frozen":
        model.up.requires_grad_(False)
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [{"params": trained[::2], "weight_decay": 0.1}, {"params": trained[1::2]}] if variant == "groups" else trained
    config = {"train_micro_batch_size_per_gpu": 1, "zero_allow_untested_optimizer": True, "zero_force_ds_cpu_optimizer": False,
              "bf16": {"enabled": variant != "fp32"}, "zero_optimization": {"stage": stage}}
    engine, *_ = deepspeed.initialize(model=model, optimizer=torch.optim.AdamW(groups, lr=1e-2), config=config)
    for step in range(2):
        engine.backward(engine(torch.tensor([[step, 3, rank]])))
        engine.step()
    engine.save_checkpoint(out, exclude_frozen_parameters=variant == "lora")


def zero(out, world, stage, variant):
    torch.multiprocessing.spawn(zero_rank, args=(int(world), int(stage), variant, out), nprocs=int(world))
    from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint
    state = get_fp32_state_dict_from_zero_checkpoint(out)
    save_file({k: v.clone().contiguous() for k, v in state.items()}, f"{out}/expected.safetensors")


def dcp_rank(rank, world, out):
    import torch.distributed as dist
    import torch.distributed.checkpoint as dcp
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor
    meet(rank, world, out)
    torch.manual_seed(3)
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
    dcp.save({"model": state, "optimizer": {"state": {"rows": {"exp_avg": torch.zeros(2)}}}, "epoch": 3}, checkpoint_id=f"{out}/pytorch_model_fsdp_0")
    if rank == 0:
        save_file({k: v.contiguous() for k, v in full.items()}, f"{out}/expected.safetensors")
    dist.destroy_process_group()


def dcp(out, world):
    torch.multiprocessing.spawn(dcp_rank, args=(int(world), out), nprocs=int(world))


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
