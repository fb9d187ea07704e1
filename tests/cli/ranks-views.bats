# SPDX-License-Identifier: Apache-2.0
# st-inspect on the files of FSDP's ranks, and files of ranks that are poisoned. Such folders packed: ranks-fsdp.bats.
load helper
load ranks

ranks="$FIXTURES/fsdp-ranks"

@test "the file of one rank: who wrote it, and what it has of each tensor" {
  file=$ranks/tp-4/model_world_size_4_rank_1.pt
  expect 0 st-inspect "$file"
  has output "rank 1 of 4, mesh of 2 x 2 (fsdp, tp)"
  has output "sound"
  grep -qE 'self_attn.q_proj.weight +bf16 +\[12, 12\] +\(_StridedShard\(0, 2\), Shard\(0\)\) +\[3, 12\] +72 B' <<< "$output"
  grep -qE 'step_scale +f32 +\[3\] +whole +\[3\] +12 B' <<< "$output"
  expect 0 st-inspect -t "$file"
  grep -qxF $'model.layers.0.mlp.down_proj.weight\tDTensor\t12,10\t120\t0\tmodel_world_size_4_rank_1.pt\t0\tbf16\t[6, 5]\t60\t(Shard(0), Shard(1))' <<< "$output"
  expect 0 st-inspect --json "$file"
  python3 -c '
import json, sys
d = json.load(sys.stdin)
assert d["rank"] == {"rank": 1, "ranks": 4, "mesh": [2, 2], "mesh_names": ["fsdp", "tp"], "coordinate": [0, 1]}, d["rank"]
piece = next(t for t in d["tensors"] if "down_proj" in t["name"])["piece"]
assert piece == {"dtype": "BF16", "bytes": 60, "placements": "(Shard(0), Shard(1))", "mesh": [2, 2], "regions": [{"begin": [0, 5], "shape": [6, 5]}]}, piece' <<< "$output"
  for file in "$ranks"/*/*rank*; do
    expect 0 st-inspect --check "$file"
    [[ $output != *unknown* && $output != *dangerous* ]]
  done
}

@test "each spelling of a mesh, a piece that is empty, and shards of FSDP1" {
  for folder in fsdp2-3 torch26-3; do
    expect 0 st-inspect "$ranks/$folder/model_world_size_3_rank_2.pt"
    has output "rank 2 of 3, mesh of 3 (fsdp)"
    grep -qE 'k_proj.weight +bf16 +\[4, 12\] +\(Shard\(0\)\) +\[0, 12\] +0 B' <<< "$output"
  done
  expect 0 st-inspect "$ranks/torch210-2/model_world_size_2_rank_1.pt"
  has output "rank 1 of 2, mesh of 2 (fsdp)"
  expect 0 st-inspect "$ranks/fsdp1-2/model_world_size_2_rank_0.pt"
  has output "rank 0 of 2"
  grep -qE 'q_proj.weight +bf16 +\[12, 12\] +shards +\[6, 12\] +144 B' <<< "$output"
}

@test "the optimizer and the extra state of a rank are shown and never packed" {
  folder=$ranks/fsdp2-2-optim
  expect 0 st-inspect "$folder/optim_world_size_2_rank_1.pt"
  has output "optimizer state, torch zip, rank 1 of 2"
  grep -qE 'exp_avg_sq +bf16 +12 +1,884 +1.884 KB' <<< "$output"
  expect 0 st-inspect "$folder/extra_state_world_size_2_rank_0.pt"
  has output "last_epoch"
  for file in "$folder"/optim_* "$folder"/extra_state_*; do
    expect 0 st-inspect --check "$file"
    expect 4 st-pack "$file" -o out
    [ ! -e out ]
  done
}

@test "the tree of a folder lists the model and says where the optimizer is" {
  expect 0 st-inspect --tree "$ranks/fsdp2-2-optim"
  has output "embed_tokens"
  has stderr "the optimizer is not listed: name the file of one rank to see its part (optim_world_size_2_rank_0.pt)"
  expect 0 st-inspect --tree "$ranks/fsdp2-3"
  [ -z "$stderr" ]
}

@test "the folder of the ranks: the whole model, and what is wrong with it" {
  expect 0 st-inspect "$ranks/tp-4"
  has output "FSDP, 4 ranks, mesh of 2 x 2, placed (Shard(0)), "
  has output "(_StridedShard(0, 2), Shard(0))"
  grep -qE 'q_proj.weight +bf16 +\[12, 12\] +288 B' <<< "$output"
  expect 0 st-inspect --json "$ranks/hsdp-4"
  has output '"origin": "FSDP, 4 ranks, mesh of 2 x 2, placed (Replicate(), Shard(0))"'
  expect 0 st-inspect --check "$ranks/hsdp-4"
  cp -r "$ranks/hsdp-4" mixed
  python3 - <<< '
import zipfile
name = "mixed/model_world_size_4_rank_2.pt"
with zipfile.ZipFile(name) as z: members = {i.filename: z.read(i) for i in z.infolist()}
key = max((k for k in members if "/data/" in k), key=lambda k: len(members[k]))
members[key] = bytes([members[key][0] ^ 1]) + members[key][1:]
with zipfile.ZipFile(name, "w") as z:
    for k, data in members.items(): z.writestr(k, data)'
  expect 4 st-inspect --check mixed
  has stderr "model_world_size_4_rank_2.pt"
  cp -r "$ranks/fsdp2-3" torn
  truncate -s -100 torn/model_world_size_3_rank_1.pt
  expect 4 st-inspect torn
  has stderr "torn/model_world_size_3_rank_1.pt"
  expect 4 st-inspect --check torn/model_world_size_3_rank_1.pt
  rm torn/model_world_size_3_rank_1.pt
  expect 4 st-inspect torn
  has stderr "rank 1"
}

@test "of the meshes of a folder, the one with the most dimensions is shown" {
  whole 'f = fsdp((2, 2, 2))
for r in range(8):
  spec = f.spec(r, "c.weight")
  spec.mesh, spec.placements = device_mesh((4, 2), r, "2.13"), spec.placements[1:]'
  expect 0 st-inspect run
  has output "FSDP, 8 ranks, mesh of 2 x 2 x 2, placed (Replicate(), Replicate(), Shard(0)), (Replicate(), Shard(0))"
}

@test "a pickle that is poisoned anywhere is refused, and nothing of it is run" {
  for folder in fsdp2-3 fsdp1-2; do
    rm -rf bad run
    count=$(python3 "$BATS_TEST_DIRNAME/poison.py" "$ranks/$folder"/model_*_rank_1.pt bad)
    [ "$count" -gt 20 ]
    cp -r "$ranks/$folder" run
    for place in $(seq "$count"); do
      mv bad/$place.pt run/model_*_rank_1.pt
      expect 4 st-inspect --check run/*_rank_1.pt
      expect 4 st-pack --salvage run -o out
      [ ! -e ran ] && [ ! -e out ]
    done
    expect 4 st-pack run -o out
    expect 4 lora-extract run --alpha 1 -o out
    [ ! -e ran ] && [ ! -e out ]
  done
}
