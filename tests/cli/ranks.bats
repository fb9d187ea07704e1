# SPDX-License-Identifier: Apache-2.0
# Checkpoints that several ranks wrote: DeepSpeed ZeRO and torch distributed checkpoints.
load helper
load ranks

@test "runs are made whole, bit for bit" {
  for run in zero2-run zero3-run fsdp-run; do
    expect 0 st-pack "$FIXTURES/$run/checkpoint-1" -o "$run" --verify
    has stderr "made whole from"
    reference=$FIXTURES/$run/reference.safetensors
    [ -f "$reference" ] || reference=$FIXTURES/zero3-run/reference.safetensors
    expect 0 st-inspect --diff "$run" "$reference"
    expect 0 st-inspect --diff "$FIXTURES/$run/checkpoint-1" "$run"
  done
  [ "$(ls fsdp-run)" = $'chat_template.jinja\nconfig.json\ngeneration_config.json\nmodel.safetensors\ntokenizer.json\ntokenizer_config.json' ]
}

@test "from the tag folder and the folder of pieces, with the config above" {
  expect 0 st-pack "$FIXTURES/zero3-run/checkpoint-1/global_step1" -o a
  expect 0 st-pack "$FIXTURES/fsdp-run/checkpoint-1/pytorch_model_fsdp_0" -o b
  [ -f a/config.json ] && [ -f b/tokenizer.json ]
  expect 0 st-inspect "$FIXTURES/zero3-run/checkpoint-1"
  has output "DeepSpeed ZeRO stage 3, 2 ranks, step 1, DeepSpeed 0.19.8"
  expect 0 st-inspect --stats "$FIXTURES/fsdp-run/checkpoint-1/pytorch_model_fsdp_0"
}

@test "whole weights beside the partitions win; --from takes the partitions" {
  cp -r "$FIXTURES/zero2-run/checkpoint-1" run
  cp "$FIXTURES/base/model.safetensors" run
  expect 0 st-pack run -o whole
  expect 0 st-inspect --diff whole "$FIXTURES/base"
  expect 0 st-pack run -o partitions --from zero
  expect 0 st-inspect --diff partitions "$FIXTURES/zero3-run/reference.safetensors"
  expect 2 st-pack run -o x --from nowhere
  expect 4 st-pack "$FIXTURES/base" -o x --from zero
  has stderr "this folder has no rank files"
}

@test "bf16 comes from the model file where it is equal" {
  expect 0 st-pack "$FIXTURES/zero2-run/checkpoint-1" -o a --dtype bf16
  has stderr "21 tensors taken from the bf16 model file, equal to the fp32 masters"
  expect 0 st-pack "$FIXTURES/zero3-run/checkpoint-1" -o b --dtype bf16
  cmp a/model.safetensors b/model.safetensors
}

@test "--base brings config and tokenizer" {
  expect 0 st-pack "$FIXTURES/zero3-run/checkpoint-1" -o out --base "$FIXTURES/base"
  cmp out/tokenizer.json "$FIXTURES/base/tokenizer.json"
  expect 0 st-inspect --diff out "$FIXTURES/zero3-run/reference.safetensors"
}

@test "placeholders of ZeRO-3 are never packed" {
  zero3
  safetensors run/model.safetensors '{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}' 0
  expect 0 st-pack run -o out
  has stderr "placeholders of ZeRO stage 3"
  expect 0 st-inspect --diff out "$FIXTURES/zero3-run/reference.safetensors"
  expect 4 st-pack run/model.safetensors -o x.safetensors
  has stderr "placeholders"
}

@test "ranks that are missing, swapped, cut or mixed" {
  zero3
  rm "$tag"/bf16_zero_pp_rank_1_*
  refused "missing: rank 1 [ZR-COUNT]"
  rm -r run && zero3
  for file in "$tag"/bf16*; do mv "$file" "${file/rank_/x_}"; done
  mv "$tag"/bf16_zero_pp_x_0_mp_rank_00_optim_states.pt "$tag"/bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt
  mv "$tag"/bf16_zero_pp_x_1_mp_rank_00_optim_states.pt "$tag"/bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt
  refused "[ZR-NAME]"
  rm -r run && zero3
  truncate -s -1 "$tag"/bf16_zero_pp_rank_1_*
  refused "[ZR-TORN]"
  rm -r run && zero3
  cp "$FIXTURES"/zero2-run/checkpoint-1/global_step1/bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt "$tag"
  refused "bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt"
  rm -r run && zero3
  echo global_step9 > run/latest
  refused "[ZR-LATEST]"
  echo ../zero3-run > run/latest
  refused "[ZR-LATEST]"
  rm -r run && zero3
  touch "$tag/layer_00-model_states.pt"
  refused "[ZR-PIPE]"
  rm -r run && zero3
  cp "$tag"/bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt "$tag"/bf16_zero_pp_rank_1_mp_rank_01_optim_states.pt
  refused "[ZR-TP]"
}

@test "pieces that are missing, cut or of another save" {
  fsdp
  rm $dcp/__1_0.distcp
  refused "__1_0.distcp is missing: 21 of 21 tensors"
  rm -r run && fsdp
  truncate -s 90000 $dcp/__1_0.distcp
  refused "[DC-FILE]"
  rm -r run && fsdp
  cp $dcp/__0_0.distcp $dcp/__1_0.distcp
  printf 'x' | dd of=$dcp/__1_0.distcp bs=1 seek=54810 conv=notrunc status=none
  refused "[DC-ITEM]"
  rm -r run && fsdp
  sed -i 's/__1_0.distcp/..\/_0.distcp/g' $dcp/.metadata
  refused "is not followed"
  rm -r run && fsdp
  head -c 5000 "$FIXTURES/fsdp-run/checkpoint-1/pytorch_model_fsdp_0/.metadata" > $dcp/.metadata
  refused "[DC-TORN]"
  rm -r run && fsdp
  mv $dcp/.metadata $dcp/.metadata.tmp
  refused "[DC-TORN]"
  rm $dcp/.metadata.tmp
  refused "[DC-NOMETA]"
  echo '{"sharded_backend": "torch_dist"}' > $dcp/metadata.json
  refused "Megatron"
}

@test "kinds that can't be made whole are named" {
  mkdir run
  touch run/pytorch_model_fsdp_rank0.bin
  expect 4 st-pack run -o out --from dcp
  has stderr "flat parameters"
  rm run/* && mkdir run/mp_rank_00
  expect 4 st-pack run -o out
  has stderr "Megatron"
}

@test "hostile pickles in the files of ranks" {
  for where in 'z.model[0]["client"]' 'z.model[1]["client"]' 'z.optim[1]["ds_config"]' 'z.model[0]["module"]'; do
    wrong "system', which is dangerous to load" "z = zero(2, 3); $where = Call('os.system', 'touch pwned')"
  done
  wrong "system', which is dangerous to load" 'z = zero(2, 3); universal(z); z.extra["zero/a.weight/fp32.pt"] = [Call("os.system", "touch pwned")]'
  local model='"model.a": ((4, 2), rows((4, 2), 2))'
  wrong "system', which is dangerous to load" "d = dcp({$model}); d.metadata['.metadata'].storage_meta = Call('os.system', 'touch pwned')"
  wrong "system', which is dangerous to load" "d = dcp({$model}); d.metadata['.metadata'].state_dict_metadata['model.a'] = Call('os.system', 'touch pwned')"
  wrong "system', which is dangerous to load" "d = dcp({$model}); place = list(d.metadata['.metadata'].storage_data.values())[0]
item = b''.join(torch_zip('archive', Call('os.system', 'touch pwned'))); d.files[place.relative_path] = item; place.length = len(item)"
  [ ! -e pwned ]
}

@test "distributed checkpoints: boxes of any kind" {
  whole 'dcp({"model.a": ((11, 3), rows((11, 3), 4)), "model.b": ((9,), rows((9,), 4)), "model.s": ((), [((), (), "__0_0.distcp")]), "model.e": ((0, 4), rows((0, 4), 2))})'
  whole 'dcp({"model.a": ((9, 6), [((0, 3), (9, 3), "__1_0.distcp"), ((0, 0), (9, 3), "__0_0.distcp")])})'
  whole 'dcp({"model.a": ((10, 6), [((0, 0), (3, 6), "a"), ((5, 0), (3, 6), "b"), ((3, 0), (2, 6), "c"), ((8, 0), (2, 6), "__0_0.distcp")])})'
  whole 'dcp({"model.a": ((6, 10), [((3, 5), (3, 5), "a"), ((0, 0), (3, 5), "b"), ((3, 0), (3, 5), "c"), ((0, 5), (3, 5), "__0_0.distcp")])})'
  whole 'dcp({"model.a": ((40, 30), [((i, j), (1, 1), "__0_0.distcp") for i in range(40) for j in range(30)])})'
  # Trees: torchtitan's, a deeper one, the optimizer beside, no planner data.
  whole 'd = dcp({"tok.weight": ((4, 2), rows((4, 2), 2)), "optimizer.state.x": ((4,), rows((4,), 2))}, ["train_state.step"], strip="t", paths={"tok.weight": ("tok.weight",), "optimizer.state.x": ("optimizer", "state", "x")})
d.expected = {"tok.weight": ("F32", (4, 2), values("tok.weight", (4, 2)))}'
  whole 'dcp({"app.model.a.b": ((4, 2), rows((4, 2), 2)), "app.optimizer.a": ((4,), rows((4,), 2))}, strip="app.model.", paths={"app.model.a.b": ("app", "model", "a.b"), "app.optimizer.a": ("app", "optimizer", "a")})'
  expect 0 st-inspect --tree run
  has output optimizer
  whole 'd = dcp({"model.a.b": ((4, 2), rows((4, 2), 2))}); d.metadata[".metadata"].planner_data = None; d.expected = {"model.a.b": d.expected["a.b"]}'
  # Metadata of each rank.
  local by_rank='d = dcp({"model.a": ((9, 2), rows((9, 2), 3)), "model.b": ((2,), [((0,), (2,), "__0_0.distcp")])}); m = d.metadata.pop(".metadata")
for r in range(3): d.metadata[f"__{r}.metadata"] = data(CHECKPOINT + "metadata.Metadata", state_dict_metadata={k: entry("F32", tuple(e.size.args[0]), [(c.offsets.args[0], c.sizes.args[0], "") for i, c in enumerate(e.chunks) if len(e.chunks) == 1 or i == r]) for k, e in m.state_dict_metadata.items()}, planner_data=m.planner_data, storage_data={k: v for k, v in m.storage_data.items() if v.relative_path == f"__{r}_0.distcp" or k.fqn == "model.b"})
'
  whole "$by_rank"
  wrong "hold 12 of 18 values [DC-CHUNK]" "$by_rank"'del d.metadata["__1.metadata"]'
}

@test "distributed checkpoints: files that end, or are gone, behind the model's own pieces" {
  local both='dcp({"model.a": ((4, 3), [((0, 0), (4, 3), "a")]), "optim.m": ((40, 3), [((0, 0), (20, 3), "a"), ((20, 0), (20, 3), "b")])})'
  whole "$both"
  expect 0 st-inspect --tree run
  truncate -s -64 run/a
  refused "[DC-FILE]"
  has stderr "run/a: byte"
  has stderr "tensor 'optim.m'"
  expect 4 st-inspect --tree run
  whole "$both"
  rm run/b
  refused "b is missing: 'optim.m' is stored there [DC-FILE]"
  expect 4 st-inspect --tree run
}

@test "distributed checkpoints: metadata that lie" {
  local d='d = dcp({"model.a": ((11, 3), rows((11, 3), 4))}); m = d.metadata[".metadata"]; e = m.state_dict_metadata["model.a"]; p = list(m.storage_data.values()); '
  wrong 'is stored nowhere [DC-CHUNK]' "$d m.storage_data.pop(list(m.storage_data)[1])"
  wrong 'overlap [DC-CHUNK]' "$d e.chunks[1].sizes = size((4, 3))"
  wrong 'leaves its shape' "$d e.chunks[3].sizes = size((3, 3))"
  wrong 'leaves its shape' "$d e.chunks[3].offsets = size((2**63 - 1, 0))"
  wrong 'hold 24 of 33 values [DC-CHUNK]' "$d e.chunks.pop(0)"
  wrong 'number of dimensions' "$d e.chunks[0].sizes = size((3,))"
  wrong 'its size' "$d e.size = size((2**62, 2**62))"
  wrong 'its size' "$d e.size = None"
  wrong '[DC-FILE]' "$d p[3].length = 2**62"
  wrong '[DC-FILE]' "$d p[3].offset = 2**62"
  wrong '[DC-CLASS]' "$d p[3].offset = -1"
  wrong 'not followed' "$d p[3].relative_path = '/etc/passwd'"
  wrong 'not followed' "$d p[3].relative_path = '../x'"
  wrong '[DC-FILE]' "$d p[3].relative_path = '.'; p[3].relative_path = 'gone'"
  wrong '[DC-ITEM]' "$d p[2].offset += 1; p[2].length -= 1"
  wrong 'the metadata say f32 (3, 3)' "$d q = vars(p[0]).copy(); vars(p[0]).update(vars(p[3])); vars(p[3]).update(q)"
  wrong 'stream.zstd/1' "$d p[0].transform_descriptors = ['stream.zstd/1']"
  wrong '[DC-CLASS]' "$d m.state_dict_metadata['model.a'] = data('evil.Thing')"
  wrong '[DC-CLASS]' "$d d.metadata['.metadata'] = data('evil.Metadata')"
  wrong 'Megatron' "$d d.metadata['.metadata'] = data('megatron.core.dist_checkpointing.strategies.torch.MCoreMetadata')"
  wrong '[DC-CLASS]' "$d del m.storage_data"
  wrong '[DC-FLAT]' 'dcp({"model._flat_param": ((11,), rows((11,), 2))})'
  wrong 'safetensors inside' "$d d.files = {n: b'\\x10' + bytes(7) + b'{' + c for n, c in d.files.items()}"
  # A piece that no tensor uses is noted, nothing else.
  save <<< "$d m.storage_data[data(CHECKPOINT + 'metadata.MetadataIndex', fqn='model.x', offset=size((0,)), index=0)] = p[0]"
  expect 0 st-pack run -o out
  has stderr "1 stored piece belong to no tensor"
}

@test "distributed checkpoints: where the model is" {
  save <<< 'dcp({"net.a": ((4, 2), rows((4, 2), 2)), "critic.a": ((4,), rows((4,), 2))}, strip="net.", paths={"net.a": ("net", "a"), "critic.a": ("critic", "a")})'
  expect 0 st-inspect run
  has output "critic (1 tensor"
  expect 4 st-pack run -o out
  has stderr "[DC-KEY]"
  expect 0 st-pack run -o out --key net
  expect 0 st-inspect --diff out run.expected.safetensors
  expect 4 st-pack run -o x --key nothing
  has stderr "[DC-KEY]"
  expect 2 st-pack "$FIXTURES/base/model.safetensors" -o x --key net
  save <<< 'dcp({"optimizer.a": ((4, 2), rows((4, 2), 2))}, strip="optimizer.", paths={"optimizer.a": ("optimizer", "a")})'
  expect 0 st-inspect run
  has output DC-OPT
  expect 4 st-pack run -o x
  has stderr "[DC-OPT]"
  # accelerate's checkpoint: the model and, in the tree, the optimizer beside.
  mv run optimizer_0
  save <<< 'dcp({"model.a": ((4, 2), rows((4, 2), 2))})'
  mkdir ckpt && mv run ckpt/pytorch_model_fsdp_0 && mv optimizer_0 ckpt
  expect 0 st-inspect --diff ckpt run.expected.safetensors
  expect 0 st-inspect --tree=1 ckpt
  [ "$(awk '{print $1}' <<< "$output")" = $'model\noptimizer' ]
  cp -r ckpt/pytorch_model_fsdp_0 ckpt/pytorch_model_fsdp_1
  expect 4 st-pack ckpt -o x
  has stderr "2 folders hold rank files"
  expect 4 st-pack ckpt -o x --from zero
}

@test "pieces in safetensors files" {
  piece() {  # FILE SHAPE OFFSETS BYTES
    safetensors "$1" "{\"__metadata__\":{\"DCP_SHARDING_INFO\":\"{\\\\\"a\\\\\":{\\\\\"saved_offsets\\\\\":$3}}\"},$(tensor a F32 "$2" 0 "$4")}" "$4"
  }
  mkdir -p run/sharded
  local first=run/sharded/shard-00001-model-00001-of-00001.safetensors second=run/sharded/shard-00002-model-00001-of-00001.safetensors
  piece $first '[3,2]' '[0,0]' 24
  piece $second '[2,2]' '[3,0]' 16
  expect 0 st-inspect -t run
  has output $'a\tF32\t5,2'
  expect 0 st-pack run -o out
  mv $second "${second/00002/00003}"
  refused "shard-00002-model-00001-of-00001.safetensors is missing"
  mv "${second/00002/00003}" $second
  piece $second '[2,2]' '[4,0]' 16
  refused "[DC-CHUNK]"
  piece $second '[2,2]' '[2,0]' 16
  refused "overlap"
  piece $second '[2]' '[3]' 8
  refused "[DC-ITEM]"
  safetensors $second "{$(tensor a F32 '[2]' 0 8)}" 8
  refused "DCP_SHARDING_INFO"
}

@test "what other converters are for is refused, and they are named" {
  refused_as() {  # FOLDER TEXT...
    for command in "st-pack $1 -o out" "st-inspect $1"; do
      expect 4 $command
      for text in "${@:2}"; do has stderr "$text"; done
    done
    [ ! -e out ]
  }
  mkdir -p rl/actor/dist_ckpt rl/actor/huggingface nemo/context nemo/weights iter/iter_0000010 old/mp_rank_00_001_000 older/tp_rank_00_pp_rank_000
  echo '{"sharded_backend": "torch_dist"}' | tee rl/actor/dist_ckpt/metadata.json nemo/weights/metadata.json > iter/iter_0000010/metadata.json
  touch rl/actor/transformer_config.json iter/latest_checkpointed_iteration.txt old/mp_rank_00_001_000/model_optim_rng.pt
  refused_as rl/actor/dist_ckpt "python -m verl.model_merger merge --backend megatron --local_dir rl/actor "
  refused_as rl/actor "python -m verl.model_merger merge --backend megatron --local_dir rl/actor "
  mkdir rl/actor/model
  mv rl/actor/dist_ckpt rl/actor/model
  refused_as rl/actor "python -m verl.model_merger merge --backend megatron --local_dir rl/actor "
  refused_as nemo "NeMo (context)" "nemo llm export"
  refused_as nemo/weights "nemo llm export"
  refused_as older "NeMo (tp_rank_00_pp_rank_000)"
  refused_as iter "export it with Megatron-Bridge"
  refused_as iter/iter_0000010 "export it with Megatron-Bridge"
  # Older saves, below the same marker, are not what Megatron-Bridge reads.
  mkdir -p runs/iter_0000010 && touch runs/latest_checkpointed_iteration.txt && cp -r old/mp_rank_00_001_000 runs/iter_0000010
  refused_as runs "load it with Megatron-LM, save it with --ckpt-format torch_dist"
  refused_as old "cut over tensor, pipeline and expert parallel ranks (mp_rank_00_001_000)" "--ckpt-format torch_dist"
  for name in layer_00-model_00-model_states.pt layer_0_expert_1_mp_rank_00_model_states.pt model_optim_rng.pt; do
    cp "$FIXTURES"/torch/legacy.pt $name
    expect 4 st-pack $name -o out
  done
  has stderr "a checkpoint of Megatron"
}

@test "Megatron, NeMo and single ranks' pickles are named" {
  named() {  # TEXT FILE...
    local text=$1
    rm -rf run && mkdir run && shift
    for file in "$@"; do mkdir -p "run/$(dirname "$file")" && touch "run/$file"; done
    refused "$text"
  }
  named Megatron mp_rank_00_001/model_optim_rng.pt
  named Megatron model_optim_rng.pt
  named Megatron iter_0000010/x latest_checkpointed_iteration.txt
  named "no weights in this folder" global_step_10/actor/x latest_checkpointed_iteration.txt  # verl, which has the same tracker
  named NeMo context/x weights/y
  named NeMo model.nemo
  named FS-TORN model_world_size_2_rank_0.pt model_world_size_2_rank_1.pt
  named FS-TORN pytorch_model_fsdp_0_rank0.bin pytorch_model_fsdp_0_rank1.bin
  named DC-FLAT pytorch_model_fsdp_rank0.bin
  rm -rf run && mkdir run && echo '{"sharded_backend": "zarr"}' > run/metadata.json
  refused Megatron
  touch a.nemo
  expect 4 st-pack a.nemo -o out
  has stderr NeMo
  save <<< 'zero(2, 3)'
  expect 4 st-pack run/global_step1/bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt -o out
  has stderr "one rank's file"
  # A DTensor in a file of its own.
  python3 "$BATS_TEST_DIRNAME/ranks.py" x <<< 'wrapper = lambda *a: None
call = Call("torch._tensor._rebuild_from_type_v2", named("torch._utils._rebuild_wrapper_subclass"), named("torch.distributed.tensor.DTensor"),
            (named("torch.distributed.tensor.DTensor"), named("torch.float32"), (4, 2), (2, 1), 0, None, "cpu", False), (None, {"_local_tensor": flat(bytes(16))}))
write(OUT / "rank0.pt", torch_zip("rank0", {"a.weight": call}))'
  expect 4 st-pack x/rank0.pt -o out
  has stderr "one rank's part: its tensors are pieces [DC-RANK]; give the folder"
}

@test "a sparse set of 5 GB passes through a small memory" {
  # Sanitizers need more for themselves.
  no_sanitizer
  save <<< 'zero(8, 3, sparse=True, groups=[{f"layers.{i}.weight": (8192, 8192)} for i in range(20)])'
  [ "$(du -m run | tail -n 1 | cut -f 1)" -lt 50 ]
  run --separate-stderr python3 - <<'PY'
import os, resource, subprocess
out = open("/dev/null", "wb")
process = subprocess.Popen(["st-pack", "run", "-o", "-"], stdout=out)
_, status, usage = os.wait4(process.pid, 0)
print(os.waitstatus_to_exitcode(status), usage.ru_maxrss // 1024)
PY
  read -r code mebibytes <<< "$output"
  [ "$code" = 0 ]
  [ "$mebibytes" -lt 128 ] || { echo "$mebibytes MiB"; return 1; }
}

@test "other torch files beside the partitions are not weights, and --base serves whole weights too" {
  cp -r "$FIXTURES/fsdp-run/checkpoint-1" run
  touch run/notes.pt run/ema.bin
  expect 0 st-inspect --diff run "$FIXTURES/fsdp-run/reference.safetensors"
  expect 0 st-inspect --json run
  has output '"origin": "torch distributed checkpoint, 42 pieces in 2 files"'
  mkdir bare && cp "$FIXTURES/base/model.safetensors" bare
  expect 0 st-pack bare -o out --base "$FIXTURES/base"
  [ -f out/config.json ] && [ -f out/tokenizer.json ]
  expect 2 st-pack bare/model.safetensors -o x --base "$FIXTURES/base"
  expect 7 st-pack run -o x --base nowhere
  # fp32 masters where the config names 16 bits, and no config at all.
  save <<< 'zero(2, 3)'
  expect 0 st-pack run -o plain
  has stderr "no config.json in the checkpoint or above it"
  echo '{"dtype": "bfloat16"}' > run/config.json
  expect 0 st-pack run -o wide
  has stderr "twice the size of the bfloat16 that config.json names"
  expect 0 st-pack run -o half --dtype bf16
  [[ $stderr != *"twice the size"* ]]
}
