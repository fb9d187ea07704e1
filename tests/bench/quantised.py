# SPDX-License-Identifier: Apache-2.0
"""quantised.py BIN_DIR JSON: quantised models made plain, and plain ones quantised, by us and by the libraries that users have for it, in turn,
as whole processes, by processor time. The rows are added to the file JSON of bench.py.
quantised.py --make KIND FOLDER: a model of 0.7 billion parameters, random."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

LAYERS, HIDDEN, INNER = 14, 2048, 5632
GOALS = {"fp8": 5, "nf4": 3, "quantise": 4}
PRESETS = {"fp8-dynamic": "FP8_DYNAMIC", "mxfp4": "MXFP4", "nvfp4": "NVFP4A16"}
LIBRARIES = f"{sys.prefix}/quantisation"

PEERS = {
    "fp8": """
from compressed_tensors.entrypoints.convert import convert_checkpoint
from compressed_tensors.entrypoints.convert.converters.fp8block_dequantizer import FP8BlockDequantizer
convert_checkpoint({model!r}, {out!r}, FP8BlockDequantizer.from_pretrained({model!r}))""",
    "nf4": """
import bitsandbytes.functional as F
from safetensors.torch import load_file, save_file
tensors, plain = load_file({model!r} + "/model.safetensors"), {{}}
for name, tensor in tensors.items():
    if name + ".absmax" in tensors:
        parts = {{part[len(name) + 1:]: value for part, value in tensors.items() if part.startswith(name + ".")}}
        plain[name] = F.dequantize_4bit(tensor, F.QuantState.from_dict(parts, "cpu"))
    elif ".weight." not in name:
        plain[name] = tensor
save_file(plain, {out!r}, {{"format": "pt"}})""",
    "quantise": """
from llmcompressor.entrypoints.model_free import model_free_ptq
model_free_ptq({model!r}, {out!r}, scheme={preset!r}, ignore=["lm_head", "model.embed_tokens"], device="cpu")""",
}


def make(kind, folder):
    import torch
    from safetensors.torch import save_file
    sys.path.append(LIBRARIES)
    settings = {"fp8": {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]},
                "nf4": {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, "quantise": None}[kind]
    tensors = {"model.embed_tokens.weight": torch.randn(1000, HIDDEN).bfloat16()}
    for layer in range(LAYERS):
        for name, rows, columns in [(f"self_attn.{p}_proj", HIDDEN, HIDDEN) for p in "qkvo"] + [("mlp.gate_proj", INNER, HIDDEN), ("mlp.up_proj", INNER, HIDDEN), ("mlp.down_proj", HIDDEN, INNER)]:
            weight, name = torch.randn(rows, columns) * 0.02, f"model.layers.{layer}.{name}.weight"
            if kind == "fp8":
                tensors[name], tensors[f"{name}_scale_inv"] = (weight * 4000).to(torch.float8_e4m3fn), torch.full((rows // 128, columns // 128), 1 / 4000)
            elif kind == "nf4":
                import bitsandbytes.functional as bnb
                tensors[name], state = bnb.quantize_4bit(weight.bfloat16(), quant_type="nf4", blocksize=64, compress_statistics=True)
                tensors |= {f"{name}.{part}": value.clone() for part, value in state.as_dict(packed=True).items()}
            else:
                tensors[name] = weight.bfloat16()
        for norm in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"model.layers.{layer}.{norm}.weight"] = torch.ones(HIDDEN, dtype=torch.bfloat16)
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "dtype": "bfloat16", "hidden_size": HIDDEN, "intermediate_size": INNER, "num_hidden_layers": LAYERS}
    (folder / "config.json").write_text(json.dumps(config | ({"quantization_config": settings} if settings else {})))


def main(report):
    import bench  # takes the folder of our programs from the command line
    folder = pathlib.Path(tempfile.mkdtemp(prefix="mu-bench-"))
    model, out = folder / "model", folder / "out"
    os.environ.update(PYTHONPATH=LIBRARIES, CUDA_VISIBLE_DEVICES="")
    fresh = lambda: subprocess.run(["rm", "-rf", out], check=True) and os.sync()
    try:
        rows = [("fp8", "", "", "st-pack --dequantize, fp8 block, CPU / compressed-tensors"), ("nf4", "", "", "st-pack --dequantize, NF4, CPU / bitsandbytes"),
                *(("quantise", scheme, preset, f"st-pack --quantize {scheme}, CPU / llm-compressor") for scheme, preset in PRESETS.items())]
        for kind, scheme, preset, what in rows:
            subprocess.run([sys.executable, __file__, "--make", kind, model], check=True)
            bench.GOALS[what] = GOALS[kind]
            ours = [bench.BIN / "st-pack", "-q", model, "-o", out, *(["--quantize", scheme] if scheme else ["--dequantize"])]
            bench.compare(what, ours, [sys.executable, "-c", PEERS[kind].format(model=str(model), out=str(out), preset=preset)], fresh, pairs=3, cpu=True)
            print(f"{'':48} peak of the peer: {bench.ROWS[-1]['peer_peak_mib']:.0f} MiB", flush=True)
            shutil.rmtree(model)
    finally:
        shutil.rmtree(folder)
    found = json.loads(report.read_text()) if report.exists() else {"machine": bench.machine(), "rows": []}
    found["rows"] += bench.ROWS
    report.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1] == "--make":
        make(sys.argv[2], pathlib.Path(sys.argv[3]))
    else:
        main(pathlib.Path(sys.argv[2]))
