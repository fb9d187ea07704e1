# SPDX-License-Identifier: Apache-2.0
# Checkpoints of DeepSpeed ZeRO: every way they are written, and what is wrong with them.
load helper
load ranks

@test "ZeRO: stages, ranks, engines, padding, frozen, shared, universal" {
  whole 'zero(2, 3)'
  whole 'zero(1, 3)'
  whole 'zero(11, 3)'  # more ranks than text order bears, and than values
  whole 'zero(3, 3, groups=[{"a": (7, 13), "b": (5, 7), "c": (35,)}, {"d": (1,), "e": (5,), "f": (5,), "g": (7,)}])'
  whole 'zero(3, 3, frozen={"f.weight": (3, 3)}, alias={"t.weight": "a.weight"})'
  whole 'zero(4, 2)'
  whole 'zero(11, 2, groups=[{"a": (5,)}, {"b": (2, 2)}])'
  whole 'zero(2, 1, groups=[{"a": (161,)}])'
  whole 'zero(2, 2, frozen={"f.weight": (3, 3)}, alias={"t.weight": "a.weight"})'
  whole 'zero(2, 1, frozen={"f.weight": (3, 3)})'
  whole 'zero(2, 1, engine="bf16", keep_padding=True)'
  whole 'zero(3, 2, gaps=2)'
  whole 'universal(zero(2, 2))'
  whole 'universal(zero(2, 3, frozen={"f.weight": (3, 3)}, alias={"t.weight": "a.weight"}))'
  # Sub-groups that the model file does not have, shapes as plain tuples, the name torch gives to streams.
  whole 'z = zero(2, 3, groups=[{"a": (4,)}, {"b": (6,)}]); m = z.model[0]; m["param_shapes"] = [{"a": (4,), "b": [6]}]'
  # Slices of another order, as round_robin_gradients leaves them.
  whole 'z = zero(2, 2); z.model[0]["ds_config"]["zero_optimization"]["round_robin_gradients"] = True
for s in [o["optimizer_state_dict"]["param_slice_mappings"][0] for o in z.optim.values()]:
  for address in s.values(): address.start += 1'
}

@test "ZeRO: more ranks than open files" {
  save <<< 'zero(150, 3)'
  ulimit -n 160
  expect 0 st-inspect --diff run run.expected.safetensors
  expect 0 st-pack run -o out --verify
}

@test "ZeRO: what is missing" {
  wrong '2 optimizer files here; missing: rank 2 [ZR-COUNT]' 'z = zero(3, 3); del z.optim[2]'
  wrong 'missing: rank 2 [ZR-COUNT]' 'z = zero(2, 2)
for o in z.optim.values(): o["optimizer_state_dict"]["partition_count"] = [3]'
  wrong '[ZR-COUNT]' 'z = zero(2, 3); z.optim = {}'
  wrong '[ZR-COUNT]' 'z = zero(2, 3)
for o in z.optim.values(): del o["optimizer_state_dict"]["partition_count"]'
  wrong 'no *_model_states.pt [ZR-MODEL]' 'z = zero(2, 3); z.model = {}'
  wrong "rank 0's model file" 'z = zero(2, 3); del z.model[0]'
  wrong 'missing: rank 1 [ZR-MODEL]' 'z = zero(2, 3, frozen={"f.weight": (3, 3)}); del z.model[1]'
  wrong 'the file is empty' 'zero(2, 3); (OUT / "global_step1").mkdir(parents=True)
class Late:
  def write(self): (OUT / "global_step1/bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt").write_bytes(b"")
written.append(Late())'
  # Nothing is frozen: the names in rank 0's file are enough.
  save <<< 'z = zero(2, 3); del z.model[1]'
  expect 0 st-pack run -o out
  has stderr "model files are missing (rank 1)"
  expect 0 st-inspect --diff out run.expected.safetensors
}

@test "ZeRO: files of two saves" {
  wrong 'step 9 here, 1 in' 'z = zero(2, 3); z.model[1]["global_steps"] = 9'
  wrong 'DeepSpeed 0.9 here' 'z = zero(2, 3); z.model[1]["ds_version"] = "0.9"'
  wrong 'DeepSpeed 0.9 here' 'z = zero(2, 2); z.optim[1]["ds_version"] = "0.9"'
  wrong 'ranks 3 here, 2 in' 'z = zero(2, 2); z.optim[1]["optimizer_state_dict"]["partition_count"] = [3]'
  wrong 'optimizer step 9 here, 2 in' 'z = zero(2, 3); z.optim[1] = zero(2, 3, step=9.0).optim[1]; written.pop()'
  wrong 'optimizer step 9 here, 2 in' 'z = zero(2, 2); z.optim[1] = zero(2, 2, step=9.0).optim[1]; written.pop()'
  wrong 'are those of' 'z = zero(2, 2); z.optim[1]["optimizer_state_dict"]["param_slice_mappings"][0]["c.weight"].start = 0'
  wrong '[ZR-MIX]' 'z = zero(2, 2); z.optim[1]["optimizer_state_dict"] |= {"zero_stage": 1}'
  wrong 'disagree on the dtype' 'z = zero(2, 2); o = z.optim[1]["optimizer_state_dict"]
o["single_partition_of_fp32_groups"] = [Tensor(bytes(2 * t.shape[0]), "BF16", t.shape) for t in o["single_partition_of_fp32_groups"]]'
  save <<< 'zero(2, 3)'
  cp run/global_step1/bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt run/global_step1/zero_pp_rank_1_mp_rank_00_optim_states.pt
  refused "[ZR-MIX]"
  save <<< 'zero(2, 3)'
  cp run/global_step1/zero_pp_rank_0_mp_rank_00_model_states.pt run/global_step1/mp_rank_00_model_states.pt
  refused "[ZR-MIX]"
  rm run/global_step1/zero_pp_rank*
  refused "the weights are of stage 3, mp_rank_00_model_states.pt is of another [ZR-MIX]"
}

@test "ZeRO: sizes and shapes that don't fit" {
  wrong '[ZR-SIZE]' 'z = zero(2, 3); z.model[0]["param_shapes"][0]["a.weight"] = size((3, 6))'
  wrong '[ZR-SIZE]' 'z = zero(2, 3); z.model[0]["param_shapes"][0]["a.weight"] = size((3, 1))'
  wrong '[ZR-SIZE]' 'z = zero(2, 2); z.model[0]["param_shapes"][0]["a.weight"] = size((3, 9))'
  wrong '[ZR-SIZE]' 'z = zero(2, 2); z.model[0]["param_shapes"][0]["a.weight"] = size((1, 1))'
  wrong '[ZR-SIZE]' 'z = zero(2, 2); z.model[0]["param_shapes"].append({})'
  wrong '[ZR-SIZE]' 'z = zero(2, 3); z.model[0]["param_shapes"][0]["a.weight"] = size((2**31, 2**28))'
  wrong '[ZR-SHAPE]' 'z = zero(2, 3); z.model[0]["param_shapes"][0]["a.weight"] = size((2**62, 2**62))'
  wrong '[ZR-SHAPE]' 'z = zero(2, 3); z.model[0]["param_shapes"][0]["a.weight"] = size((-1,))'
  wrong '[ZR-SHAPE]' 'z = zero(2, 3); z.model[0]["param_shapes"][0]["a.weight"] = "x"'
  wrong '[ZR-SHAPE]' 'z = zero(2, 3); z.model[0]["param_shapes"] = None'
  wrong '[ZR-SHAPE]' 'z = zero(2, 3, frozen={"f": (3, 3)}); z.model[1]["frozen_param_fragments"]["f"] = flat(bytes(8), "BF16")'
  wrong '[ZR-SHAPE]' 'z = zero(2, 2, frozen={"f": (3, 3)}); z.model[0]["frozen_param_shapes"]["f"] = size((9, 1))'
  wrong '[ZR-SHAPE]' 'z = zero(2, 2); z.model[0]["module"]["b.weight"] = Tensor(bytes(16), "BF16", (8,))'
  wrong '[ZR-SHAPE]' 'z = zero(2, 3); z.optim[0]["optimizer_state_dict"]["fp32_flat_groups"] = [Tensor(bytes(96), "F32", (6, 4))] '
  wrong 'reaches beyond its storage' 'z = zero(2, 3); z.optim[0]["optimizer_state_dict"]["fp32_flat_groups"][0].shape = (2**40,)'
  wrong '[ZR-KIND]' 'z = zero(2, 3)
for o in z.optim.values(): o["optimizer_state_dict"]["zero_stage"] = 4'
  wrong '[ZR-KIND]' 'z = zero(2, 2)
for o in z.optim.values(): del o["optimizer_state_dict"]["single_partition_of_fp32_groups"]'
  wrong '[ZR-COUNT]' 'z = zero(2, 3); z.optim[0]["optimizer_state_dict"]["partition_count"] = 2**40'
  wrong '[ZR-SHAPE]' 'z = zero(2, 3); universal(z); z.extra["zero/a.weight/fp32.pt"] = flat(bytes(4))'
  wrong 'not followed' 'z = zero(2, 3); universal(z); z.model[0]["param_shapes"][0] = {"../x": size((1,))}'
  save <<< 'zero(2, 2)'
  printf '\x80\x02}q\x00.' > run/global_step1/mp_rank_00_model_states.pt
  refused "[ZR-KIND]"
}

@test "ZeRO: other kinds of training are named" {
  local rank0='z = zero(2, 3); m = z.model[0]; '
  wrong '[ZR-TP]' "$rank0"'m["mp_world_size"] = 2'
  wrong '[ZR-TP]' "$rank0"'m["checkpoint_parallel_dimensions"] = {"pp_degree": 1, "tp_degree": 2}'
  wrong '[ZR-PIPE]' "$rank0"'m["checkpoint_parallel_dimensions"] = {"pp_degree": 2, "tp_degree": 1}'
  wrong '[ZR-PIPE]' "$rank0"'m["module"] = None'
  wrong '[ZR-MOE]' "$rank0"'m["num_experts"] = [4]'
  wrong '[ZR-MOE]' "$rank0"'m["ds_autoep_layers"] = {"x": 1}'
  wrong '[ZR-MOE]' "$rank0"'m["folding"] = {"x": 1}'
  wrong '[ZR-MICS]' "$rank0"'m["ds_config"]["zero_optimization"]["mics_shard_size"] = 2'
  wrong '[ZR-MOE]' 'z = zero(2, 3); z.optim[0]["optimizer_state_dict"]["ds_zero_partition_groups"] = [1]'
  wrong '[ZR-MOE]' 'z = zero(2, 2); z.optim[0]["optimizer_state_dict"]["partition_count"] = [2, 1]'
  wrong '[ZR-NVME]' 'z = zero(2, 3)
for o in z.optim.values(): o["optimizer_state_dict"]["fp32_flat_groups"] = [flat(b"")]'
  for name in layer_0_expert_1_mp_rank_00_model_states.pt expp_rank_0_mp_rank_00_optim_states.pt; do
    save <<< 'zero(2, 2)'
    touch "run/global_step1/$name"
    refused "[ZR-MOE]"
  done
  save <<< 'zero(2, 2)'
  mkdir run/global_step1/offloaded_tensors
  refused "[ZR-NVME]"
}

@test "ZeRO: values that are in no file" {
  local lost='for m in z.model.values(): m["module"]["lost.weight"] = Tensor(b"", "BF16", (0,))'
  save <<< "z = zero(2, 3)
$lost"
  expect 4 st-pack run -o out
  has stderr "the values of 1 parameter are in no file: lost.weight [ZR-LOST]"
  has stderr "--base"
  [ ! -e out ]
  expect 1 st-inspect --check run
  has output "'lost.weight'"
  expect 0 st-pack run -o out --exclude 'lost*'
  expect 0 st-inspect --diff out run.expected.safetensors
  # From the base model.
  mkdir base && safetensors base/model.safetensors "{$(tensor lost.weight F32 '[2]' 0 8)}" 8
  echo '{}' > base/config.json
  expect 0 st-pack run -o from-base --base base
  has stderr "1 tensor taken from base"
  expect 0 st-inspect --names from-base
  has output lost.weight
  [ -f from-base/config.json ]
  # A record of shared parameters that names none, and no record but a config that ties.
  save <<< 'z = zero(2, 3, alias={"t.weight": "a.weight"}); z.model[0]["shared_params"] = {"t.weight": "gone"}'
  expect 4 st-pack run -o x
  has stderr "[ZR-LOST]"
  save <<< 'z = zero(2, 3, groups=[{"model.embed_tokens.weight": (4, 2)}], alias={"lm_head.weight": "model.embed_tokens.weight"}); z.model[0]["shared_params"] = None'
  expect 4 st-pack run -o x
  echo '{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "tie_word_embeddings": true}' > run/config.json
  expect 0 st-pack run -o tied
  has stderr "because config.json ties them; the checkpoint does not record it"
  expect 0 st-inspect --diff run.expected.safetensors tied
}

@test "ZeRO: the 16-bit copy must be the masters rounded" {
  save <<< 'z = zero(2, 2); z.model[0]["module"]["b.weight"] = Tensor(bytes(14), "BF16", (7,))'
  expect 4 st-pack run -o out --dtype bf16
  has stderr "'b.weight' in the model file is not its fp32 master rounded"
  has stderr "[ZR-MASTER]"
  [ ! -e out ]
  expect 0 st-pack run -o out --dtype bf16 --from zero
  has stderr "3 tensors taken from the bf16 model file, equal to the fp32 masters; 1 differ"
  expect 0 st-pack run -o f32
  expect 0 st-inspect --diff f32 run.expected.safetensors
  # The optimizer files are not needed for it.
  save <<< 'z = zero(2, 2); z.optim = {}'
  expect 0 st-pack run -o only16
  has stderr "those of the model file"
}

@test "ZeRO: the run folder, the file 'latest', several saves" {
  save <<< 'zero(2, 3, tag="pytorch_model")'
  printf 'pytorch_model\n' > run/latest
  expect 0 st-inspect --diff run run.expected.safetensors
  rm run/latest
  expect 0 st-inspect --diff run run.expected.safetensors
  for tag in '../run/pytorch_model' "$PWD/run/pytorch_model" $'pytorch_model\nx' '..' 'pytorch_model/' ''; do
    printf '%s' "$tag" > run/latest
    refused "[ZR-LATEST]"
  done
  rm run/latest && cp -r run/pytorch_model run/global_step2
  refused "2 folders hold rank files"
  save <<< 'universal(zero(2, 3, tag="global_step1_universal"))'
  mv run/latest run/latest_universal
  expect 0 st-inspect --diff run run.expected.safetensors
  # Other files with such a name do not come from DeepSpeed.
  mkdir plain && safetensors plain/model.safetensors "{$(tensor a F32 '[1]' 0 4)}" 4
  touch plain/training_states.pt
  expect 0 st-inspect --names plain
}

@test "ZeRO: LoRA gives the adapter folder" {
  save <<< 'z = zero(2, 3, groups=[{"base_model.model.q.lora_A.default.weight": (2, 6), "base_model.model.q.lora_B.default.weight": (6, 2)}])
for m in z.model.values(): m["module"].pop("steps")'
  expect 0 st-pack run -o out
  has stderr "no adapter_config.json in the checkpoint"
  expect 0 st-inspect --names out/adapter_model.safetensors
  [ "$output" = $'base_model.model.q.lora_A.weight\nbase_model.model.q.lora_B.weight' ]
  echo '{"peft_type": "LORA", "r": 2}' > run/adapter_config.json
  safetensors run/adapter_model.safetensors "{$(tensor base_model.model.q.lora_A.weight F32 '[0]' 0 0),$(tensor x F32 '[1]' 0 4)}" 4
  expect 0 st-pack run -o again
  has stderr "placeholders of ZeRO stage 3"
  cmp out/adapter_model.safetensors again/adapter_model.safetensors
  [ -f again/adapter_config.json ]
  expect 0 lora-extract run -o extracted
  cmp extracted/adapter_model.safetensors out/adapter_model.safetensors
  rm run/adapter_config.json
  expect 4 lora-extract run -o none
  has stderr "give the alpha of the training"
  expect 0 lora-extract run -o made --alpha 4
  cmp made/adapter_model.safetensors out/adapter_model.safetensors
  grep -q '"r": 2' made/adapter_config.json
  # With the base beside, frozen.
  save <<< 'zero(2, 2, groups=[{"base_model.model.q.lora_A.default.weight": (2, 6)}], frozen={"base_model.model.q.base_layer.weight": (6, 6)})'
  expect 0 st-pack run -o both
  has stderr "1 tensor of a LoRA adapter among the weights"
  echo '{"peft_type": "LORA", "r": 2}' > run/adapter_config.json
  expect 0 st-pack run -o adapter
  expect 0 st-inspect --names adapter
  [ "$output" = base_model.model.q.lora_A.weight ]
}
