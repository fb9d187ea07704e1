# SPDX-License-Identifier: Apache-2.0
"""verl_merger.py --make FOLDER: makes rank pickles of 2 GB, as verl saves a run of FSDP2.
verl_merger.py FOLDER OUT: merges them with verl's own model_merger.

Only its merger runs: the wheel is unpacked without its dependencies (Ray, a server, flash attention) into the cache, once, and what it takes
from the rest of verl to copy tokenizers is left out."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import types
import zipfile

VERL = "verl==0.9.1"
RANKS = 4


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


def unpacked():
    folder = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache", "modelutils", VERL.replace("==", "-"))
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as wheels:
            subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:", "-d", wheels, VERL], check=True)
            zipfile.ZipFile(next(pathlib.Path(wheels).glob("*.whl"))).extractall(f"{wheels}/verl")
            os.rename(f"{wheels}/verl", folder)
    return folder


def merge(source, out):
    verl = unpacked() / "verl"
    for name in ("verl", "verl.utils"):  # packages whose own code is not run
        module = sys.modules[name] = types.ModuleType(name)
        module.__path__ = [str(verl.joinpath(*name.split(".")[1:]))]
    sys.modules["verl.utils"].hf_processor = sys.modules["verl.utils"].hf_tokenizer = lambda *_, **__: None
    from verl.model_merger.base_model_merger import ModelMergerConfig
    from verl.model_merger.fsdp_model_merger import FSDPModelMerger
    FSDPModelMerger(ModelMergerConfig("merge", "fsdp", target_dir=out, local_dir=source, hf_model_config_path=f"{source}/huggingface")).merge_and_save()


if __name__ == "__main__":
    write_pickles(sys.argv[2]) if sys.argv[1] == "--make" else merge(*sys.argv[1:])
