# SPDX-License-Identifier: Apache-2.0
# Folders of FSDP's rank pickles, as verl, SkyRL and accelerate leave them.
load helper
load ranks

RUNS=$FIXTURES/fsdp-ranks

@test "rank pickles are made whole, bit for bit: every spelling and placement" {
  for run in fsdp2-3 torch26-3 torch210-2 hsdp-4 tp-4 dim1-2 fsdp1-2 fsdp1-mesh-2 fsdp2-2-optim accelerate-2; do
    expect 0 st-pack "$RUNS/$run" -o "$run" --verify
    has stderr "made whole from FSDP, ${run##*-} rank" || [ "$run" = fsdp2-2-optim ]
    [[ $stderr != *"left behind"* ]]
    cmp "$run/config.json" "$RUNS/$run/huggingface/config.json" || cmp "$run/config.json" "$RUNS/$run/config.json"
    expect 0 st-inspect --diff "$run" "$RUNS/$run.safetensors"
    expect 0 st-inspect --check "$RUNS/$run"
  done
}

@test "in the order of rank 0's file, from the folder above, in shards, parts and other dtypes" {
  mkdir step && cp -r "$RUNS/fsdp2-3" step/actor
  expect 0 st-inspect --names step
  [ "${lines[0]}" = model.step_scale ] && [ "${lines[1]}" = model.embed_tokens.weight ]
  expect 0 st-pack step -o whole
  expect 0 st-pack step/actor -o shards --max-shard-size 2KB
  expect 0 st-inspect --diff shards whole
  expect 0 st-pack step -o f32 --dtype f32 --exclude 'lm_head*' --rename 's/^model\.//'
  expect 0 st-pack whole -o same --dtype f32 --exclude 'lm_head*' --rename 's/^model\.//'
  cmp f32/model.safetensors same/model.safetensors
  for part in 2 1; do expect 0 st-pack step -o parts --max-shard-size 2KB --part $part/2; done
  expect 0 st-pack step -o parts --max-shard-size 2KB
  diff -r parts shards
  expect 0 st-pack step -o x -n --json
  [ ! -e x ]
  cp -r step/actor step/critic
  expect 4 st-pack step -o x
  has stderr "2 folders hold rank files: actor, critic"
  expect 4 st-pack step/actor -o x --from dcp
}

@test "config and tokenizer come from huggingface/, from above, or from --base" {
  cp -r "$RUNS/fsdp2-3" run
  echo '{"model_type": "llama", "here": 1}' > config.json
  echo '{}' > run/huggingface/tokenizer.json
  # Weights below huggingface/ are another save.
  cp "$FIXTURES/base/model.safetensors" run/huggingface
  expect 0 st-pack run -o out
  [ -f out/tokenizer.json ] && cmp out/config.json run/huggingface/config.json
  expect 0 st-inspect --diff out "$RUNS/fsdp2-3.safetensors"
  expect 0 st-pack run -o based --base "$FIXTURES/base"
  cmp based/tokenizer.json "$FIXTURES/base/tokenizer.json"
  rm -r run/huggingface
  expect 0 st-pack run -o above
  cmp above/config.json config.json
  # Whole weights in the folder win.
  cp "$FIXTURES/base/model.safetensors" "$FIXTURES/base/config.json" run
  expect 0 st-pack run -o wins
  expect 0 st-inspect --diff wins "$FIXTURES/base"
}

@test "LoRA runs: the adapter, if its config lies beside the pickles or --alpha says lora_alpha" {
  expect 0 lora-extract "$RUNS/lora-2" -o a
  expect 0 st-pack "$RUNS/lora-2" -o b
  cmp a/adapter_model.safetensors b/adapter_model.safetensors
  [[ $stderr != *"left behind"* ]]
  cp -r "$RUNS/lora-2" run && rm run/adapter_config.json
  mkdir run/lora_adapter
  for folder in lora_adapter huggingface; do cp "$RUNS/lora-2/adapter_config.json" run/$folder; done
  expect 4 st-pack run -o x
  has stderr "4 tensors of a LoRA adapter"
  has stderr "lora-extract --alpha N"
  expect 4 lora-extract run -o x
  has stderr "--alpha"
  expect 0 lora-extract run -o c --alpha 6
  [[ $stderr != *"--base DIR"* ]]
  cmp a/adapter_model.safetensors c/adapter_model.safetensors
  expect 0 st-pack run -o base --exclude '*lora_*'
  ! ls base | grep -i adapter
}

@test "one rank's file is not a model; that of a run of one process is" {
  expect 4 st-pack "$RUNS/fsdp2-3/model_world_size_3_rank_1.pt" -o x
  has stderr "rank 1's part of 3"
  has stderr "give the folder"
  expect 4 st-pack "$RUNS/fsdp1-2/model_world_size_2_rank_1.pt" -o x
  has stderr "rank 1's part of 2"
  expect 4 st-pack "$RUNS/torch26-3/model_world_size_3_rank_2.pt" -o x
  has stderr "rank 2's part of 3"
  # A whole DTensor.
  save <<< 'fsdp((1,))'
  expect 0 st-pack run/model_world_size_1_rank_0.pt -o one.safetensors
  expect 0 st-inspect --diff one.safetensors run.expected.safetensors
  expect 0 st-pack run -o out
  expect 0 st-inspect --diff out run.expected.safetensors
  # In the folder of a role, beside the state of a data loader.
  mkdir -p step/actor/huggingface && mv run/* step/actor && cp "$FIXTURES/torch/legacy.pt" step/data.pt
  echo '{"model_type": "llama"}' > step/actor/huggingface/config.json
  expect 0 st-pack step -o above
  expect 0 st-inspect --diff above run.expected.safetensors
  cmp above/config.json step/actor/huggingface/config.json
  cp -r step/actor step/critic
  expect 4 st-pack step -o no
  has stderr "2 folders hold rank files: actor, critic"
  # An adapter run.
  save <<< 'fsdp((1,), {f"base_model.model.q_proj.{n}.weight": (2, 2) for n in ("base_layer", "lora_A.default", "lora_B.default")})'
  expect 4 st-pack run -o no
  has stderr "lora-extract --alpha N"
  expect 0 lora-extract run -o adapter --alpha 4
  [ "$(st-inspect --names adapter | wc -l)" = 2 ]
}

@test "every spelling, made by hand" {
  whole 'fsdp((3,))'
  whole 'fsdp((2, 2), spelling="2.6")'
  whole 'fsdp((2, 3), spelling="2.10")'
  whole 'fsdp((2,), name="pytorch_model_fsdp_0_rank{r}.bin")'
  # Only some ranks are in the mesh.
  whole 'f = fsdp((2,)); f.ranks = 3; f.model[2] = f.model[1].copy()
for n in ("a.weight", "b.weight", "c.weight"):
  m = device_mesh((2,), 1, "2.13"); m._coordinate_on_dim, m._rank = None, 2
  f.model[2][n] = Call(f.model[1][n].callee, *f.model[1][n].args[:3], (None, {"_local_tensor": flat(b""), "_spec": data(DISTRIBUTED + "tensor._dtensor_spec.DTensorSpec", mesh=m, placements=f.spec(1, n).placements)}))'
  # What is nested in the mesh is not followed.
  whole 'f = fsdp((2,)); [setattr(f.mesh(r), "_root_mesh", f.mesh(r)) for r in range(2)]'
}

@test "ranks that are missing or too many" {
  save <<< 'fsdp((3,))'
  rm run/model_world_size_3_rank_1.pt
  refused "files of 2 of 3 ranks are here: rank 1's is missing [FS-COUNT]"
  save <<< 'fsdp((3,), name="pytorch_model_fsdp_0_rank{r}.bin")'
  rm run/pytorch_model_fsdp_0_rank2.bin
  refused "it is of a run of 3 ranks, and files of 2 are here [FS-COUNT]"
  rm run/pytorch_model_fsdp_0_rank0.bin
  refused "rank 0's is missing [FS-COUNT]"
  save <<< 'fsdp((3,))'
  touch run/model_world_size_2_rank_0.pt
  refused "files of two saves are here: model_world_size_2_rank_0.pt and model_world_size_3_rank_0.pt [FS-COUNT]"
  wrong "fsdp_config.json says 3 ranks, the names of the files 2 [FS-COUNT]" 'fsdp().beside["fsdp_config.json"] = "{\"world_size\": 3}"'
  wrong "files of 4 of 3 ranks" 'fsdp((2, 2)).ranks = 3' || wrong "but the run had 3 ranks [FS-COUNT]" 'fsdp((2, 2)).ranks = 3'
  cp -r "$RUNS/fsdp1-local-2" flat && rm -rf run && mv flat run
  refused "[DC-FLAT]"
  rename() { for r in 0 1; do mv run/"$1"$r* run/"${2/R/$r}"; done; }
  rename pytorch_model_fsdp_rank pytorch_model_fsdp_1_rankR.bin
  refused "[DC-FLAT]"
}

@test "files that were swapped, are of two runs, or of two steps" {
  swap() { mv run/"$1"0$2 x && mv run/"$1"1$2 run/"$1"0$2 && mv x run/"$1"1$2; }
  for spelling in 2.13 2.10 2.6; do
    save <<< "fsdp(spelling='$spelling').is_named = False"
    swap model_world_size_2_rank_ .pt
    refused "it was written by rank 1, its name says rank 0 [FS-NAME]"
  done
  cp -r "$RUNS/fsdp1-2" fsdp1 && rm -rf run && mv fsdp1 run
  swap model_world_size_2_rank_ .pt
  refused "[FS-NAME]"
  wrong "rank 0's file has no such tensor" 'f = fsdp(); f.model[1]["d"] = f.model[1]["steps"]'
  wrong "it is in rank 0's file and not here" 'f = fsdp(); del f.model[1]["b.weight"]'
  wrong "its shape is (6, 3), in rank 0's file (5, 3)" 'f = fsdp(); f.model[1]["a.weight"].args[2][2] = (6, 3); f.local(1).shape = (3, 3); f.local(1).raw = bytes(36); f.local(1).elements = 9'
  wrong "it is i32, in rank 0's file f32" 'f = fsdp(); f.model[1]["steps"].dtype = "I32"'
  wrong "it is a plain tensor, in rank 0's file a DTensor" 'f = fsdp(); f.model[1]["b.weight"] = Tensor(values("b.weight", (4,)), "F32", (4,))'
  wrong "it is placed (Shard(1)) on a mesh of (2), in rank 0's file (Shard(0)) on (2)" 'f = fsdp(); f.spec(1).placements[0].dim = 1; f.local(1).shape = (5, 1); f.local(1).stride = (1, 1)'
  # Copies must have the same bits.
  copies() { save <<< "$1" && expect 4 st-pack run -o x && has stderr "$2" && has stderr "are mixed [FS-MIX]" && [ ! -e x ]; }
  copies 'f = fsdp(); f.model[1]["steps"].raw = bytes(12)' "its copy of 'steps' is not that of model_world_size_2_rank_0.pt"
  copies 'f = fsdp((2, 2)); f.local(3).raw = bytes(24)' "rank_3.pt: its copy of 'a.weight' is not that of model_world_size_4_rank_1.pt"
  epoch='f = fsdp(); f.beside.update({f"extra_state_world_size_2_rank_{r}.pt": {"lr_scheduler": {"last_epoch": 7 + r}, "rng": {}} for r in range(2)})'
  wrong "it is of step 8, extra_state_world_size_2_rank_0.pt of step 7" "$epoch"
  whole "${epoch/7 + r/7}"
  step='f = fsdp(); f.beside.update({f"optim_world_size_2_rank_{r}.pt": {"state": {0: {"step": flat(struct.pack("<f", 3 + r))}}, "param_groups": []} for r in range(2)})'
  wrong "it is of step 4, optim_world_size_2_rank_0.pt of step 3" "$step"
  # The optimizer's own files do not decide about the model.
  whole "${step/3 + r/3}"
  truncate -s 100 run/optim_world_size_2_rank_1.pt
  expect 0 st-pack run -o out
  has stderr "its step is not compared"
}

@test "pieces that make no tensor, and numbers that make no sense" {
  local f='f = fsdp((2,)); '
  save <<< 'fsdp()'
  truncate -s -100 run/model_world_size_2_rank_1.pt
  refused "[FS-TORN]"
  : > run/model_world_size_2_rank_1.pt
  refused "[FS-TORN]"
  wrong "it reaches beyond its storage" "$f f.local(1).raw = bytes(16); f.local(1).elements = 4"
  wrong "the rank's piece has the shape (2, 2), its place in the mesh (2, 3) [FS-PIECE]" "$f f.local(1).shape = (2, 2)"
  wrong "the rank's piece is i32, the tensor f32 [FS-PIECE]" "$f f.local(1).dtype = 'I32'"
  wrong "hold 6 of 9" "$f f.mesh(1)._coordinate_on_dim = (0,); f.local(1).shape = (3, 3); f.local(1).raw = bytes(36)" ||
    wrong "[DC-CHUNK]" "$f f.mesh(1)._coordinate_on_dim = (0,); [(setattr(f.local(1, n), 'shape', f.local(0, n).shape), setattr(f.local(1, n), 'raw', f.local(0, n).raw)) for n in ('a.weight', 'b.weight', 'c.weight')]"
  wrong "tensor 'a.weight': its values have yet to be summed up over the ranks (Partial) [FS-PARTIAL]" "$f f.spec(0).placements = (placement('Partial', reduce_op='sum'),)"
  wrong "[FS-PARTIAL]" "$f f.spec(0).placements = (placement('_MaskPartial', reduce_op='sum'),)"
  wrong "is unknown [FS-MESH]" "$f f.spec(0).placements = (placement('Diagonal', dim=0),)"
  wrong "[FS-MESH]" "$f f.spec(0).placements = ()"
  wrong "[FS-MESH]" "$f f.spec(0).placements[0].dim = -1"
  wrong "it is cut in dimension 2 but has 2 [FS-MESH]" "$f f.spec(0).placements[0].dim = 2"
  wrong "its split factor is 0 [FS-MESH]" "$f f.spec(0).placements = (placement('_StridedShard', dim=0, split_factor=0),)"
  wrong "no dimensions of its mesh make a split factor of 3 [FS-MESH]" "$f f.spec(0).placements = (placement('_StridedShard', dim=0, split_factor=3),)"
  # The order in which dimensions of the mesh cut.
  local order="f = fsdp((2, 2))
def order(*dims):
  for r in range(4): f.spec(r).shard_order = (Call(DISTRIBUTED + 'tensor._dtensor_spec.ShardOrderEntry', 0, dims),)
"
  whole "${order}order(1)"
  wrong "cut it in an order that is not read [FS-MESH]" "${order}order(1, 0)"
  wrong "its coordinate 2 lies outside" "$f f.mesh(0)._coordinate_on_dim = (2,)"
  wrong "[FS-MESH]" "$f f.mesh(0)._coordinate_on_dim = (0, 0)"
  wrong "does not say where this rank stands [FS-MESH]" "$f del f.mesh(0)._coordinate_on_dim"
  wrong "[FS-MESH]" "$f f.mesh(0)._layout.axes[0].shape = (2**62, 2**62)"
  wrong "is impossible [FS-MESH]" "$f f.mesh(0)._layout.axes[0].shape = (2**40,)"
  wrong "is impossible [FS-MESH]" "$f f.mesh(0)._layout.axes[0].shape = (0,)"
  wrong "[FS-MESH]" "$f f.mesh(0)._layout.axes = f.mesh(0)._layout.axes * 100"
  wrong "its shape overflows 64 bits [FS-MESH]" "$f f.model[0]['a.weight'].args[2][2] = (2**62, 3)"
  wrong "[FS-MESH]" "$f f.model[0]['a.weight'].args[2][2] = None"
  wrong "[FS-MESH]" "$f del f.spec(0).mesh"
  wrong "dangerous to load" "$f f.model[1]['x'] = Call('os.system', 'id')"
  expect 4 st-pack run -o x --salvage
}

@test "ShardedTensors: shards say where they lie" {
  local sharded='f = fsdp()
def shard(r, offsets, sizes, count=1, whole=(5, 3)):
  S = DISTRIBUTED + "_shard."
  cls = named(S + "sharded_tensor.api.ShardedTensor")
  local = data(S + "sharded_tensor.shard.Shard", tensor=Tensor(box(values("a.weight", (5, 3)), "F32", (5, 3), offsets, sizes), "F32", sizes), metadata=data(S + "metadata.ShardMetadata", shard_offsets=list(offsets), shard_sizes=list(sizes)))
  call = f.model[r]["a.weight"]
  f.model[r]["a.weight"] = Call(call.callee, call.args[0], cls, [cls] + call.args[2][1:], ([local] * count, data(S + "sharded_tensor.metadata.ShardedTensorMetadata", size=size(whole)), None, None, False))
shard(0, (0, 0), (5, 1))
'
  whole "${sharded}shard(1, (0, 1), (5, 2))"
  wrong "hold 10 of 15 values [DC-CHUNK]" "${sharded}shard(1, (0, 2), (5, 1))"
  wrong "overlap [DC-CHUNK]" "${sharded}shard(1, (0, 0), (5, 3))"
  wrong "a shard leaves its shape [FS-MESH]" "${sharded}shard(1, (0, 1), (5, 2)); f.model[1]['a.weight'].args[3][0][0].metadata.shard_offsets = [2**62, 1]"
  wrong "no offsets and sizes" "${sharded}shard(1, (0, 1), (5, 2)); f.model[1]['a.weight'].args[3][0][0].metadata.shard_sizes = [5]"
  wrong "its metadata are of another shape [FS-MESH]" "${sharded}shard(1, (0, 1), (5, 2), whole=(5, 4))"
  wrong "more than 64 shards in one file [FS-MESH]" "${sharded}shard(1, (0, 1), (5, 2), count=65)"
  wrong "[FS-PIECE]" "${sharded}shard(1, (0, 1), (5, 2)); f.model[1]['a.weight'].args[3][0][0].tensor.shape = (2, 5)"
}
