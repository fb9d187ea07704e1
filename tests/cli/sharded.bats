# SPDX-License-Identifier: Apache-2.0
# Shares of the ranks of DeepSpeed and torch distributed checkpoints.
load helper

zero3() { cp -r "$FIXTURES/zero3-run/checkpoint-1" run && tag=run/global_step1; }
fsdp() { cp -r "$FIXTURES/fsdp-run/checkpoint-1" run && dcp=run/pytorch_model_fsdp_0; }

# refused TEXT: st-pack ends with 4, one line that has the text, and nothing is written; st-inspect says the same.
refused() {
  mkdir -p empty
  expect 4 st-pack run -o empty/out
  has stderr "$1"
  [ "$(wc -l <<< "$stderr")" = 1 ] || { echo "$stderr"; return 1; }
  is_empty empty
  expect 4 st-inspect --check run
  has stderr "$1"
}

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

@test "whole weights beside win, --from takes the shares" {
  cp -r "$FIXTURES/zero2-run/checkpoint-1" run
  cp "$FIXTURES/base/model.safetensors" run
  expect 0 st-pack run -o whole
  expect 0 st-inspect --diff whole "$FIXTURES/base"
  expect 0 st-pack run -o shares --from zero
  expect 0 st-inspect --diff shares "$FIXTURES/zero3-run/reference.safetensors"
  expect 2 st-pack run -o x --from nowhere
  expect 4 st-pack "$FIXTURES/base" -o x --from zero
  has stderr "no shares"
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
