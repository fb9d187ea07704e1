# SPDX-License-Identifier: Apache-2.0
# lora-extract --for. What vLLM, SGLang and PEFT make of it is tested with their own code in the interop suite.
load lora

setup_file() {
  # A Mixtral of 2 layers and 3 experts, as published, and an adapter as PEFT saves it, with numbers that show where they
  # belong: hidden 4, intermediate 3, rank 2.
  mkdir -p "$BATS_FILE_TMPDIR/moe" "$BATS_FILE_TMPDIR/pair"
  python3 - "$BATS_FILE_TMPDIR" <<'PY'
import json, pathlib, random, struct, sys
root = pathlib.Path(sys.argv[1])
H, I, E, R = 4, 3, 3, 2

def save(path, tensors):
    header, at, data = {}, 0, b""
    for name, shape in tensors.items():
        count = 1
        for size in shape:
            count *= size
        raw = struct.pack(f"<{count}f", *(random.randint(-50, 50) for _ in range(count)))
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + len(raw)]}
        at, data = at + len(raw), data + raw
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)

random.seed(1)
base = {"model.embed_tokens.weight": [8, H], "lm_head.weight": [8, H]}
for layer in range(2):
    m = f"model.layers.{layer}."
    base.update({m + f"self_attn.{p}_proj.weight": [H, H] for p in "qkvo"})
    base[m + "block_sparse_moe.gate.weight"] = [E, H]
    for e in range(E):
        base.update({m + f"block_sparse_moe.experts.{e}.w1.weight": [I, H], m + f"block_sparse_moe.experts.{e}.w2.weight": [H, I], m + f"block_sparse_moe.experts.{e}.w3.weight": [I, H]})
save(root / "moe/model.safetensors", base)
(root / "moe/config.json").write_text(json.dumps({"architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "num_local_experts": E}))
adapter = {}
for layer in range(2):
    m = f"base_model.model.model.layers.{layer}."
    adapter.update({m + "self_attn.q_proj.lora_A.weight": [R, H], m + "self_attn.q_proj.lora_B.weight": [H, R]})
    adapter.update({m + "mlp.experts.base_layer.lora_A.weight": [E * R, H], m + "mlp.experts.base_layer.lora_B.weight": [2 * I, R * E]})
    adapter.update({m + "mlp.experts.lora_A.weight": [E * R, I], m + "mlp.experts.lora_B.weight": [H, R * E]})
save(root / "pair/adapter_model.safetensors", adapter)
(root / "pair/adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": R, "lora_alpha": 4, "target_modules": ["q_proj"], "target_parameters": ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"], "base_model_name_or_path": "mix"}, indent=2))
PY
}

setup() {
  start
  MOE=$BATS_FILE_TMPDIR/moe
  PAIR=$BATS_FILE_TMPDIR/pair
  RUN=$FIXTURES/lora-run/checkpoint-40
  export PAIR RUN
}

# check PYTHON: t(FOLDER) gives the tensors of an adapter as [shape, values], c(FOLDER) its config.
check() {
  python3 - "$1" <<'PY'
import json, os, struct, sys
PAIR, RUN = os.environ["PAIR"], os.environ["RUN"]
def t(folder):
    data = open(folder + "/adapter_model.safetensors", "rb").read()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + size])
    header.pop("__metadata__", None)
    out = {}
    for name, one in header.items():
        first, last = one["data_offsets"]
        out[name.removeprefix("base_model.model.")] = [one["shape"], list(struct.unpack(f"<{(last - first) // 4}f", data[8 + size + first:8 + size + last]))]
    return out
def c(folder):
    return json.load(open(folder + "/adapter_config.json"))
exec(sys.argv[1])
PY
}

# config FOLDER PYTHON: changes the config c of an adapter.
config() {
  python3 -c 'import json, sys
path = sys.argv[1] + "/adapter_config.json"
c = json.load(open(path))
exec(sys.argv[2])
json.dump(c, open(path, "w"), indent=2)' "$@"
}

@test "--for needs a base, and a server that it knows" {
  expect 2 lora-extract "$PAIR" --for vllm -o out
  has stderr "--for needs --base"
  expect 2 lora-extract "$PAIR" --for ollama --base "$MOE" -o out
  expect 2 lora-extract "$PAIR" --base "$MOE" -o out
  has stderr "--base and --tuned need each other"
  expect 2 lora-extract "$PAIR" --for vllm --base "$MOE" --rank 4 -o out
  expect 2 lora-extract --resize 2 "$PAIR" --for vllm --base "$MOE" -o out
  expect 2 lora-extract --compare "$PAIR" "$PAIR" --for vllm --base "$MOE"
  expect 2 lora-extract --for vllm --base "$MOE" -o out
  expect 7 lora-extract "$PAIR" --for vllm --base missing -o out
  expect 4 lora-extract "$PAIR" --for vllm --base "$PAIR" -o out
  has stderr "is an adapter, not a base model"
  [ ! -e out ]
}

@test "vllm: factors expert by expert under published names, gate and up share A" {
  expect 0 lora-extract "$PAIR" --for vllm --base "$MOE" -o out --verify
  has stderr "rank 2: vLLM needs --max-lora-rank 8 or more (default: 16)"
  check '
old, new = t(PAIR), t("out")
assert len(new) == 2 * (2 + 3 * 3 * 2), len(new)
for layer in range(2):
    m, p = f"model.layers.{layer}.block_sparse_moe.experts.", f"model.layers.{layer}.mlp.experts."
    a, b = old[p + "base_layer.lora_A.weight"][1], old[p + "base_layer.lora_B.weight"][1]
    for e in range(3):
        for first, leaf in ((0, "w1"), (3, "w3")):
            assert new[f"{m}{e}.{leaf}.lora_A.weight"] == [[2, 4], a[e * 8:e * 8 + 8]]
            assert new[f"{m}{e}.{leaf}.lora_B.weight"] == [[3, 2], [b[row * 6 + k * 3 + e] for row in range(first, first + 3) for k in range(2)]]
        a2, b2 = old[p + "lora_A.weight"][1], old[p + "lora_B.weight"][1]
        assert new[f"{m}{e}.w2.lora_A.weight"] == [[2, 3], a2[e * 6:e * 6 + 6]]
        assert new[f"{m}{e}.w2.lora_B.weight"] == [[4, 2], [b2[row * 6 + k * 3 + e] for row in range(4) for k in range(2)]]
config = c("out")
assert config["target_modules"] == ["q_proj", "w1", "w2", "w3"] and config["target_parameters"] is None
assert (config["r"], config["lora_alpha"], config["base_model_name_or_path"]) == (2, 4, "mix")'
  # The form is kept, and leads back.
  expect 0 lora-extract -q out --for vllm --base "$MOE" -o again
  cmp out/adapter_model.safetensors again/adapter_model.safetensors
  cmp out/adapter_config.json again/adapter_config.json
  expect 0 lora-extract -q out --for peft --base "$MOE" -o back
  check 'assert t("back") == t(PAIR); assert sorted(c("back")["target_parameters"]) == ["mlp.experts.down_proj", "mlp.experts.gate_up_proj"]; assert c("back")["target_modules"] == ["q_proj"]'
  expect 0 lora-extract -q "$PAIR" --for peft --base "$MOE" -o same
  cmp same/adapter_config.json "$PAIR/adapter_config.json"
}

@test "vllm: what one half of the experts lacks is zeros, which PEFT gets rid of" {
  cp -r "$PAIR" half
  edit half/adapter_model.safetensors 't = {k.replace("experts.base_layer", "experts"): v for k, v in t.items() if "experts.lora" not in k}'
  config half 'c["target_parameters"] = ["mlp.experts.gate_up_proj"]'
  expect 0 lora-extract half --for vllm --base "$MOE" -o out
  has stderr "6 pairs of zeros added, which vLLM wants beside the others"
  check 'assert all(set(v[1]) == {0} for k, v in t("out").items() if ".w2." in k); assert len(t("out")) == 40'
  expect 0 lora-extract -q out --for peft --base "$MOE" -o back
  check 'assert t("back") == t("half"); assert c("back")["target_parameters"] == ["mlp.experts.gate_up_proj"]'
}

@test "vllm: experts of one's own, missing ones, and ranks that differ" {
  expect 0 lora-extract -q "$PAIR" --for vllm --base "$MOE" -o out
  cp -r out some
  edit some/adapter_model.safetensors 't = {k: v for k, v in t.items() if "layers.0" not in k or ".experts.1." not in k}'
  expect 0 lora-extract some --for vllm --base "$MOE" -o filled
  has stderr "3 pairs of zeros added"
  check 'new, old = t("filled"), t("some"); assert all(new[k] == old[k] for k in old); assert new["model.layers.0.block_sparse_moe.experts.1.w1.lora_A.weight"] == [[2, 4], [0] * 8]'
  cp -r out ranks
  edit ranks/adapter_model.safetensors '
for k, v in t.items():
    if "layers.1" in k and ".experts.2.w1." in k:
        rows, columns = v[1]
        v[1] = [1, columns] if "lora_A" in k else [rows, 1]
        v[2] = v[2][:len(v[2]) // 2]'
  config ranks 'c["rank_pattern"] = {"layers.1.*experts.2.w1": 1}'
  expect 4 lora-extract ranks --for vllm --base "$MOE" -o no
  has stderr "model.layers.1.mlp.experts.gate_up_proj: its experts have different ranks"
  has stderr "st-pack BASE --adapter"
  expect 0 lora-extract ranks --for sglang --base "$MOE" -o uniform
  has stderr "lora_B of 1 module multiplied, since SGLang has one scale for all of them"
  check 'assert all(v[0][0 if "lora_A" in k else 1] == 2 for k, v in t("uniform").items()); assert c("uniform")["rank_pattern"] == {}'
}

@test "peft: gate and up with A of their own get the rank of both" {
  expect 0 lora-extract -q "$PAIR" --for vllm --base "$MOE" -o out
  edit out/adapter_model.safetensors '
for k, v in t.items():
    if ".w3.lora_A" in k:
        v[2] = struct.pack("<8f", *[x + 1 for x in struct.unpack("<8f", v[2])])'
  expect 0 lora-extract -q out --for peft --base "$MOE" -o back
  check '
new, old = t("back"), t("out")
p, m = "model.layers.1.mlp.experts.base_layer.", "model.layers.1.block_sparse_moe.experts.2."
assert new[p + "lora_A.weight"][0] == [12, 4] and new[p + "lora_B.weight"][0] == [6, 12]
assert new[p + "lora_A.weight"][1][32:] == old[m + "w1.lora_A.weight"][1] + old[m + "w3.lora_A.weight"][1]
b = new[p + "lora_B.weight"][1]
for row in range(6):
    want = old[m + ("w1" if row < 3 else "w3") + ".lora_B.weight"][1][row % 3 * 2:row % 3 * 2 + 2]
    assert [b[row * 12 + k * 3 + 2] for k in range(4)] == (want + [0, 0] if row < 3 else [0, 0] + want)
assert c("back")["rank_pattern"] == {"experts.gate_up_proj": 4} and c("back")["alpha_pattern"] == {"experts.gate_up_proj": 8}'
  expect 0 st-pack -q "$MOE" --adapter back -o merged
}

@test "sglang: partners, one rank, one scale" {
  cp -r "$RUN" patterns
  edit patterns/adapter_model.safetensors '
for k, v in t.items():
    if "layers.1.self_attn.q_proj" in k:
        v[1] = [2, 32] if "lora_A" in k else [32, 2]
        v[2] = v[2][:256]'
  config patterns 'c["rank_pattern"] = {"layers.1.self_attn.q_proj": 2}'
  expect 0 lora-extract patterns --for sglang --base "$FIXTURES/base" -o out
  has stderr "2 pairs of zeros added, which SGLang wants beside the others"
  has stderr "lora_B of 1 module multiplied"
  check '
old, new = t("patterns"), t("out")
q = "model.layers.1.self_attn.q_proj."
assert new[q + "lora_A.weight"] == [[4, 32], old[q + "lora_A.weight"][1] + [0] * 64]
assert new[q + "lora_B.weight"][1][:4] == [2 * x for x in old[q + "lora_B.weight"][1][:2]] + [0, 0]
assert new["model.layers.0.self_attn.k_proj.lora_B.weight"] == [[16, 4], [0] * 64]
config = c("out")
assert (config["r"], config["lora_alpha"], config["rank_pattern"], config["target_modules"]) == (4, 8, {}, ["down_proj", "k_proj", "q_proj", "v_proj"])'
  expect 0 lora-extract -q "$RUN" --for sglang --base "$FIXTURES/base" -o plain
  expect 0 lora-extract -q plain --for peft --base "$FIXTURES/base" -o back
  check 'assert t("back") == t(RUN); assert c("back")["target_modules"] == ["down_proj", "q_proj", "v_proj"]'
}

@test "what a server does not apply is refused by name, and nothing is written" {
  local server
  for server in vllm sglang; do
    cp -r "$RUN" bad
    config bad 'c["use_dora"] = True'
    edit bad/adapter_model.safetensors 't.update({k.replace("lora_B.weight", "lora_magnitude_vector"): ["F32", [v[1][0]], b"\0" * 4 * v[1][0]] for k, v in list(t.items()) if "lora_B" in k})'
    expect 4 lora-extract bad --for $server --base "$FIXTURES/base" -o out
    has stderr "does not apply DoRA (use_dora); st-pack BASE --adapter ADAPTER merges it into the base"
    rm -r bad && cp -r "$RUN" bad
    config bad 'c["modules_to_save"] = ["lm_head"]'
    edit bad/adapter_model.safetensors 't["base_model.model.lm_head.weight"] = ["F32", [320, 32], b"\0" * 40960]'
    expect 4 lora-extract bad --for $server --base "$FIXTURES/base" -o out
    has stderr "modules that are stored whole (lm_head)"
    expect 0 lora-extract -q bad --for peft --base "$FIXTURES/base" -o out
    cmp out/adapter_config.json bad/adapter_config.json
    rm -r out bad && cp -r "$RUN" bad
    config bad 'c["init_lora_weights"] = "pissa"'
    expect 4 lora-extract bad --for $server --base "$FIXTURES/base" -o out
    has stderr "the run began with pissa, which changes the base"
    rm -r bad
  done
  cp -r "$RUN" bad
  config bad 'c["lora_alpha"] = 0'
  expect 4 lora-extract bad --for vllm --base "$FIXTURES/base" -o out
  has stderr "lora_alpha"
  [ ! -e out ]
}

@test "modules that the base lacks, or has in another shape, are named" {
  cp -r "$RUN" other
  edit other/adapter_model.safetensors 't = {k.replace("self_attn.q_proj", "attention.q_proj"): v for k, v in t.items()}'
  expect 4 lora-extract other --for vllm --base "$FIXTURES/base" -o out
  has stderr "the base lacks 2 of 6 modules of the adapter: model.layers.0.attention.q_proj.weight (the base has model.layers.0.self_attn.q_proj.weight"
  cp -r "$FIXTURES/base" narrow
  edit narrow/model.safetensors 't["model.layers.1.self_attn.v_proj.weight"] = ["F32", [8, 32], b"\0" * 1024]'
  expect 4 lora-extract "$RUN" --for vllm --base narrow -o out
  has stderr "model.layers.1.self_attn.v_proj: its delta is 16 x 32"
  [ ! -e out ]
}

@test "a dense adapter's tensors pass, -n writes nothing, --json says the form" {
  expect 0 lora-extract -q "$RUN" --for vllm --base "$FIXTURES/base" -o out
  cmp out/adapter_model.safetensors "$RUN/adapter_model.safetensors"
  check 'assert c("out")["target_modules"] == ["down_proj", "q_proj", "v_proj"]'
  expect 0 lora-extract -q --json -n "$RUN" --for vllm --base "$FIXTURES/base" -o none
  python3 -c 'import json, sys; assert json.load(sys.stdin)["for"] == {"server": "vllm", "rank": 4, "max_lora_rank": 8, "zero_pairs": 0, "scaled": 0}' <<< "$output"
  [ ! -e none ]
  expect 0 lora-extract -q --dtype bf16 "$RUN" --for sglang --base "$FIXTURES/base" -o half
  expect 0 st-inspect -t half
  has output BF16
}

@test "peft: magnitudes of DoRA and biases go with their factors, servers and experts refuse them" {
  cp -r "$RUN" dora
  edit dora/adapter_model.safetensors '
for k in [k for k in t if k.endswith("lora_B.weight")]:
    rows = t[k][1][0]
    t[k.replace("lora_B.weight", "lora_magnitude_vector")] = ["F32", [rows], struct.pack(f"<{rows}f", *range(rows))]
    t[k.replace("lora_B.weight", "lora_B.bias")] = ["F32", [rows], struct.pack(f"<{rows}f", *range(rows))]'
  config dora 'c.update(use_dora=True, lora_bias=True)'
  expect 0 lora-extract -q dora --for peft --base "$FIXTURES/base" -o out
  check 'assert t("out") == t("dora") and len(t("out")) == 2 * len(t(RUN))'
  expect 4 lora-extract dora --for vllm --base "$FIXTURES/base" -o no
  has stderr "vLLM does not apply DoRA (use_dora), biases of lora_B (lora_bias)"
  expect 0 lora-extract -q "$PAIR" --for vllm --base "$MOE" -o single
  edit single/adapter_model.safetensors 't = {k: v for k, v in t.items() if "experts" in k}
for k in [k for k in t if k.endswith("lora_B.weight")]:
    t[k.replace("lora_B.weight", "lora_magnitude_vector")] = ["F32", [t[k][1][0]], b"\0" * 4 * t[k][1][0]]'
  config single 'c.update(use_dora=True)'
  expect 4 lora-extract single --for peft --base "$MOE" -o no
  has stderr "DoRA of experts has no other form"
}

@test "with --tuned the form is that of what was found" {
  expect 0 lora-extract --base "$FIXTURES/pair/base" --tuned "$FIXTURES/pair/tuned" --rank 4 --for sglang --json -o out
  python3 -c 'import json, sys; assert json.load(sys.stdin)["for"]["server"] == "sglang"' <<< "$output"
  check 'assert c("out")["r"] == 4 and len({k.split(".lora_")[0] for k in t("out")}) == 14'
}

@test "with --tuned what the server does not apply is refused before the factorisation" {
  expect 4 lora-extract --base "$FIXTURES/pair/base" --tuned "$FIXTURES/pair/tuned" --full-modules '*norm*' --for vllm -o no
  has stderr "norm.weight: vLLM does not apply modules that are stored whole; leave it out of the adapter"
  expect 0 lora-extract -q --base "$FIXTURES/pair/base" --tuned "$FIXTURES/pair/tuned" --full-modules '*norm*' --for peft -o out
  expect 0 lora-extract -q --base "$FIXTURES/pair/base" --tuned "$FIXTURES/pair/tuned" --full-modules 'model.layers.0.*norm*' --for vllm -o none
}

@test "a base under the names of memory, and one in few bits, are as good as the published one" {
  cp -r "$MOE" memory
  edit memory/model.safetensors '
t = {k: v for k, v in t.items() if ".experts." not in k}
t = {k.replace("block_sparse_moe", "mlp"): v for k, v in t.items()}
for layer in range(2):
    m = f"model.layers.{layer}.mlp.experts."
    t[m + "gate_up_proj"] = ["F32", [3, 6, 4], b"\0" * 288]
    t[m + "down_proj"] = ["F32", [3, 4, 3], b"\0" * 144]'
  expect 0 lora-extract -q "$PAIR" --for vllm --base "$MOE" -o want
  expect 0 lora-extract -q "$PAIR" --for vllm --base memory -o out
  cmp out/adapter_model.safetensors want/adapter_model.safetensors
  expect 0 lora-extract -q out --for peft --base memory -o back
  check 'assert t("back") == t(PAIR)'
  # A stack whose rows are not those of the factors.
  cp -r "$PAIR" wide
  edit wide/adapter_model.safetensors '
for k, v in t.items():
    if "base_layer.lora_B" in k:
        v[1:] = [8, 6], b"\0" * 192'
  for server in peft vllm sglang; do
    expect 4 lora-extract wide --for $server --base memory -o no
    has stderr "its delta is 8 x 4, but 'model.layers.0.mlp.experts.gate_up_proj' in the base is [3, 6, 4]"
  done
  # GPT-OSS as it is published, with one half of the experts adapted: E 3, H 32, I 32.
  mkdir gpt-oss
  safetensors gpt-oss/model.safetensors "{$(tensor model.layers.0.mlp.experts.gate_up_proj_blocks U8 '[3,64,1,16]' 0 3072),$(tensor model.layers.0.mlp.experts.gate_up_proj_scales U8 '[3,64,1]' 3072 3264),$(tensor model.layers.0.mlp.experts.down_proj_blocks U8 '[3,32,1,16]' 3264 4800),$(tensor model.layers.0.mlp.experts.down_proj_scales U8 '[3,32,1]' 4800 4896)}" 4896
  echo '{"architectures": ["GptOssForCausalLM"], "model_type": "gpt_oss", "quantization_config": {"quant_method": "mxfp4"}}' > gpt-oss/config.json
  mkdir half
  safetensors half/adapter_model.safetensors "{$(tensor base_model.model.model.layers.0.mlp.experts.lora_A.weight F32 '[6,32]' 0 768),$(tensor base_model.model.model.layers.0.mlp.experts.lora_B.weight F32 '[64,6]' 768 2304)}" 2304
  echo '{"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": [], "target_parameters": ["mlp.experts.gate_up_proj"]}' > half/adapter_config.json
  expect 0 lora-extract half --for vllm --base gpt-oss -o served
  has stderr "1 pair of zeros added"
  check '
new = t("served")
assert new["model.layers.0.mlp.experts.base_layer.lora_B.weight"][0] == [64, 6]
assert new["model.layers.0.mlp.experts.lora_A.weight"][0] == [6, 32] and new["model.layers.0.mlp.experts.lora_B.weight"][0] == [32, 6]
assert c("served")["target_modules"] == ["experts"]'
  expect 4 lora-extract half --for sglang --base gpt-oss -o no
  has stderr "SGLang takes factors of single experts, and these can't be taken apart"
  # Factors of single experts have no place in stacks that have gate and up row by row.
  edit half/adapter_model.safetensors '
m = "base_model.model.model.layers.0.mlp.experts.0.gate_proj."
t = {m + "lora_A.weight": ["F32", [2, 32], b"\0" * 256], m + "lora_B.weight": ["F32", [32, 2], b"\0" * 256]}'
  config half 'c.update(target_modules=["gate_proj"], target_parameters=None)'
  for server in peft vllm; do
    expect 4 lora-extract half --for $server --base gpt-oss -o no
    has stderr "the base lacks 1 of 1 module of the adapter: model.layers.0.mlp.experts.0.gate_proj.weight"
  done
}

@test "which parameter of the experts a single pair is for: by target_parameters, by shape, or refused" {
  cp -r "$PAIR" down
  edit down/adapter_model.safetensors 't = {k: v for k, v in t.items() if "base_layer" not in k}'
  config down 'del c["target_parameters"]'
  expect 0 lora-extract -q down --for vllm --base "$MOE" -o out
  check 'new = t("out"); assert set(new["model.layers.0.block_sparse_moe.experts.0.w1.lora_B.weight"][1]) == {0} and any(new["model.layers.0.block_sparse_moe.experts.0.w2.lora_B.weight"][1])'
  # With a hidden size of twice the intermediate one.
  cp -r "$MOE" square
  edit square/model.safetensors '
for k, v in t.items():
    if ".experts." in k:
        v[1] = [6, 3] if ".w2." in k else [3, 6]
        v[2] = b"\0" * 72'
  edit down/adapter_model.safetensors 't = {k: ["F32", [6, 6], b"\0" * 144] for k in t if "experts" in k}'
  expect 4 lora-extract down --for vllm --base square -o no
  has stderr "neither target_parameters nor shapes tell which parameter it is for"
  config down 'c["target_parameters"] = ["experts.gate_up_proj"]'
  expect 0 lora-extract -q down --for vllm --base square -o known
}
