# SPDX-License-Identifier: Apache-2.0
"""rank_files.py zero|dcp|pickles FOLDER: makes a checkpoint of 2 GB that the ranks of a run wrote: DeepSpeed's, torch's, or a pickle of each
rank as verl saves it."""
import json
import pathlib
import sys

RANKS, MATRICES, HEIGHT, COLUMNS = 4, 125, 2000, 2000  # 2 GB of F32


def write_zero(folder):
    """A checkpoint of ZeRO stage 3 as DeepSpeed lays it out, without the moments, which nothing here reads."""
    import collections
    import torch
    tag = pathlib.Path(folder) / "global_step1"
    tag.mkdir(parents=True)
    (tag.parent / "latest").write_text(tag.name)
    names = [f"model.layers.{i}.mlp.weight" for i in range(MATRICES)]
    shapes = [collections.OrderedDict((name, torch.Size((HEIGHT, COLUMNS))) for name in names)]
    for rank in range(RANKS):
        stem = f"zero_pp_rank_{rank}_mp_rank_00"
        module = collections.OrderedDict((name, torch.empty(0, dtype=torch.bfloat16)) for name in names)
        torch.save({"module": module, "buffer_names": [], "param_shapes": shapes, "frozen_param_shapes": {}, "frozen_param_fragments": {},
                    "shared_params": {}, "ds_version": "0.19.8", "global_steps": 1, "dp_world_size": RANKS, "mp_world_size": 1},
                   tag / f"{stem}_model_states.pt")
        torch.save({"optimizer_state_dict": {"zero_stage": 3, "partition_count": RANKS, "fp32_flat_groups": [torch.randn(MATRICES * HEIGHT * COLUMNS // RANKS)]},
                    "ds_config": {}, "ds_version": "0.19.8"}, tag / f"bf16_{stem}_optim_states.pt")


def dcp_rank(rank, folder):
    import torch
    import torch.distributed.checkpoint as dcp
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import DTensor, Shard
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}.rendezvous", rank=rank, world_size=RANKS)
    mesh = init_device_mesh("cpu", (RANKS,))
    piece = lambda: DTensor.from_local(torch.randn(HEIGHT // RANKS, COLUMNS), mesh, [Shard(0)])
    dcp.save({"model": {f"model.layers.{i}.mlp.weight": piece() for i in range(MATRICES)}}, checkpoint_id=folder)
    torch.distributed.destroy_process_group()


def write_dcp(folder):
    """A torch distributed checkpoint of FSDP2's kind."""
    import torch
    torch.multiprocessing.spawn(dcp_rank, args=(folder,), nprocs=RANKS)


def pickle_rank(rank, folder):
    import torch
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import DTensor, Shard
    from transformers import LlamaConfig
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}.rendezvous", rank=rank, world_size=RANKS)
    mesh, width, wide, vocabulary, layers = init_device_mesh("cpu", (RANKS,), mesh_dim_names=("fsdp",)), 2048, 8192, 32000, 14
    attention = {f"self_attn.{name}_proj.weight": (width, width) for name in "qkvo"}
    mlp = {"mlp.gate_proj.weight": (wide, width), "mlp.up_proj.weight": (wide, width), "mlp.down_proj.weight": (width, wide)}
    norms = {"input_layernorm.weight": (width,), "post_attention_layernorm.weight": (width,)}
    shapes = {"model.embed_tokens.weight": (vocabulary, width)}
    shapes |= {f"model.layers.{i}.{name}": shape for i in range(layers) for name, shape in (attention | mlp | norms).items()}
    shapes |= {"model.norm.weight": (width,), "lm_head.weight": (vocabulary, width)}
    piece = lambda rows, *columns: DTensor.from_local(torch.randn(rows // RANKS, *columns, dtype=torch.bfloat16), mesh, [Shard(0)])
    torch.save({name: piece(*shape) for name, shape in shapes.items()}, f"{folder}/model_world_size_{RANKS}_rank_{rank}.pt")
    if rank == 0:
        pathlib.Path(folder, "fsdp_config.json").write_text(json.dumps({"FSDP_version": 2, "world_size": RANKS}))
        LlamaConfig(vocab_size=vocabulary, hidden_size=width, intermediate_size=wide, num_hidden_layers=layers, num_attention_heads=16, num_key_value_heads=16,
                    architectures=["LlamaForCausalLM"]).save_pretrained(f"{folder}/huggingface")
    torch.distributed.destroy_process_group()


def write_pickles(folder):
    import torch
    pathlib.Path(folder).mkdir()
    torch.multiprocessing.spawn(pickle_rank, args=(folder,), nprocs=RANKS)


if __name__ == "__main__":
    {"zero": write_zero, "dcp": write_dcp, "pickles": write_pickles}[sys.argv[1]](sys.argv[2])
