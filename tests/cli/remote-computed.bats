# SPDX-License-Identifier: Apache-2.0
# st-pack hf://: what is computed from several places, some of them more than once, costs the network each byte once.
load helper
load hub
load remote

setup() { hub_home; }

# llama FOLDER ADAPTER: a bf16 model of 21 MB in two files, and an adapter for it.
llama() {
  python3 - "$@" <<'PY'
import json, os, random, struct, sys

random.seed(7)
small = bytes((b & 0x80) | 0x3C | (b & 1) for b in range(256))  # high bytes of numbers between 0.008 and 0.03


def numbers(count):
    data = bytearray(random.randbytes(2 * count))
    data[1::2] = data[1::2].translate(small)
    return bytes(data)


def write(path, tensors):
    header, at = {}, 0
    for name, shape in tensors.items():
        size = 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for entry in header.values():
            file.write(numbers((entry["data_offsets"][1] - entry["data_offsets"][0]) // 2))


model, adapter = sys.argv[1:]
hidden, inner, layers, vocabulary = 512, 1024, 4, 1000
shapes = {"self_attn.q_proj": [hidden, hidden], "self_attn.k_proj": [hidden, hidden], "self_attn.v_proj": [hidden, hidden],
          "self_attn.o_proj": [hidden, hidden], "mlp.gate_proj": [inner, hidden], "mlp.up_proj": [inner, hidden],
          "mlp.down_proj": [hidden, inner]}
tensors = {"model.embed_tokens.weight": [vocabulary, hidden]}
for i in range(layers):
    tensors |= {f"model.layers.{i}.{name}.weight": shape for name, shape in shapes.items()}
    tensors |= {f"model.layers.{i}.{name}.weight": [hidden] for name in ("input_layernorm", "post_attention_layernorm")}
tensors |= {"model.norm.weight": [hidden], "lm_head.weight": [vocabulary, hidden]}
os.makedirs(model)
places = {}
for i in range(2):
    name = f"model-{i + 1:05}-of-00002.safetensors"
    own = dict(list(tensors.items())[i * len(tensors) // 2:(i + 1) * len(tensors) // 2])
    write(f"{model}/{name}", own)
    places |= dict.fromkeys(own, name)
json.dump({"metadata": {}, "weight_map": places}, open(f"{model}/model.safetensors.index.json", "w"))
json.dump({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": hidden, "intermediate_size": inner,
           "num_hidden_layers": layers, "num_attention_heads": 8, "num_key_value_heads": 8, "vocab_size": vocabulary,
           "dtype": "bfloat16", "tie_word_embeddings": False}, open(f"{model}/config.json", "w"))
os.makedirs(adapter)
factors = {}
for name, (rows, columns) in shapes.items():
    for i in range(layers):
        key = f"base_model.model.model.layers.{i}.{name}"
        factors |= {f"{key}.lora_A.weight": [64, columns], f"{key}.lora_B.weight": [rows, 64]}
write(f"{adapter}/adapter_model.safetensors", factors)
json.dump({"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": "ada/m", "r": 64, "lora_alpha": 64,
           "target_modules": [name.split(".")[1] for name in shapes]}, open(f"{adapter}/adapter_config.json", "w"))
PY
}

# bytes FOLDER...: of the weights in them.
bytes() {
  local folder
  for folder; do cat "$folder"/*.safetensors; done | wc -c
}

# once FOLDERS OPTIONS: st-pack writes the same of repositories ada/… as of the folders … here, the first of which is the
# input, and storage sent the weights in all of them once; a header is read of 100 kB.
once() {
  rm -rf here there
  expect 0 st-pack -q ${1%% *} "${@:2}" -o here
  local far=("${@:2}")
  [ "$2" != --adapter ] || far[1]=hf://ada/$3
  hub_admin DELETE log > /dev/null
  expect 0 st-pack -q hf://ada/${1%% *} "${far[@]}" -o there
  diff -r here there && [ ! -e there.partial ]
  local most=$(($(bytes $1) + 350000))
  [ "$(sent)" -le "$most" ] || { echo "$(sent) bytes sent, of $most"; return 1; }
}

@test "quantised, dequantised, merged: each byte comes once" {
  start_hub
  llama m a
  publish m ada/m
  publish a ada/a
  local scheme
  for scheme in fp8-dynamic fp8-block mxfp4 nvfp4; do
    once m --quantize $scheme --verify
    mv here $scheme
    publish $scheme ada/$scheme
    once $scheme --dequantize
  done
  once "m a" --adapter a
  once "m a" --adapter a --quantize nvfp4 --verify
}
