# SPDX-License-Identifier: Apache-2.0
# Models that consist of several: folders of sentence-transformers and diffusers.
bats_require_minimum_version 1.5.0
load helper

# dense FILE: two tensors of a Dense module.
dense() { safetensors "$1" "{\"__metadata__\":{\"format\":\"pt\"},$(tensor linear.bias F32 '[2]' 0 8),$(tensor linear.weight F32 '[2,2]' 8 24)}" 24; }

# module PATH TYPE: an entry of modules.json.
module() { printf '{"idx":0,"name":"0","path":"%s","type":"sentence_transformers.models.%s"}' "$1" "$2"; }

# sentence_model FOLDER: a Transformers model with pooling, a Dense module, and one that only normalises.
sentence_model() {
  cp -r "$FIXTURES/base" "$1"
  mkdir "$1/1_Pooling" "$1/2_Dense"
  echo "[$(module '' Transformer),$(module 1_Pooling Pooling),$(module 2_Dense Dense),$(module 3_Normalize Normalize)]" > "$1/modules.json"
  echo '{"prompts":{}}' > "$1/config_sentence_transformers.json"
  echo '{"max_seq_length":32}' > "$1/sentence_bert_config.json"
  echo '{"pooling_mode_cls_token":true}' > "$1/1_Pooling/config.json"
  echo '{"in_features":2}' > "$1/2_Dense/config.json"
  echo '{"own":1}' > "$1/2_Dense/cnn_config.json"
  echo x > "$1/2_Dense/notes.txt"
  dense "$1/2_Dense/model.safetensors"
}

# pipeline FOLDER: a unet, a text encoder, a scheduler, and a checker that was left out.
pipeline() {
  mkdir -p "$1/unet" "$1/text_encoder" "$1/scheduler"
  cat > "$1/model_index.json" <<'J'
{"_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.42.1", "requires_safety_checker": false,
 "safety_checker": [null, null], "unet": ["diffusers", "UNet2DConditionModel"], "text_encoder": ["transformers", "CLIPTextModel"],
 "scheduler": ["diffusers", "DDIMScheduler"]}
J
  echo '{"_class_name":"UNet2DConditionModel"}' > "$1/unet/config.json"
  echo '{"model_type":"clip_text_model","dtype":"float32"}' > "$1/text_encoder/config.json"
  echo '{"_class_name":"DDIMScheduler"}' > "$1/scheduler/scheduler_config.json"
  dense "$1/unet/diffusion_pytorch_model.safetensors"
  dense "$1/text_encoder/model.safetensors"
}

@test "sentence-transformers: each module's folder goes along" {
  sentence_model m
  expect 0 st-pack m -o out --verify
  for f in modules.json config_sentence_transformers.json sentence_bert_config.json 1_Pooling/config.json 2_Dense/config.json 2_Dense/cnn_config.json; do
    cmp "m/$f" "out/$f"
  done
  [ ! -e out/2_Dense/notes.txt ]
  has stderr "$(st-inspect --hash out | awk '$1 == "content" {print $2}')"
  expect 0 st-inspect --diff m/2_Dense/model.safetensors out/2_Dense/model.safetensors
  expect 0 st-inspect --check=hub out
  expect 0 st-pack out -o again
  diff -r out again
}

@test "sentence-transformers: options of tensors act on the top model alone, others on all" {
  sentence_model m
  expect 0 st-pack m -o out --select 'model.norm.*' --rename 's/^model/x/' --dtype bf16 --max-shard-size 10
  expect 0 st-inspect --names out
  [ "$output" = x.norm.weight ]
  expect 0 st-inspect --tensors out/2_Dense
  has output "linear.weight	BF16"
  # Its loader reads no index.
  [ -e out/2_Dense/model.safetensors ]
  expect 0 st-pack m -o named --dtype '2_Dense/*=f16'
  expect 0 st-inspect --tensors named/2_Dense
  has output "linear.weight	F16"
  expect 0 st-inspect --diff named m
  expect 0 st-pack m -o bare --weights-only
  [ -e bare/2_Dense/model.safetensors ] && [ ! -e bare/2_Dense/config.json ]
  expect 0 st-pack m -o one.safetensors
  has stderr "weights are left behind: 2_Dense/"
}

@test "sentence-transformers: a router's modules, at any depth; a model with no weights of its own" {
  mkdir -p r/0_Router/query_0_Dense
  echo "[$(module 0_Router Router)]" > r/modules.json
  echo '{"types":{"query_0_Dense":"sentence_transformers.models.Dense"},"structure":{"query":["query_0_Dense"]}}' > r/0_Router/router_config.json
  echo '{}' > r/0_Router/query_0_Dense/config.json
  dense r/0_Router/query_0_Dense/model.safetensors
  expect 0 st-pack r -o out
  diff -r r out
  expect 0 st-inspect --names out
  [ "${lines[0]}" = 0_Router/query_0_Dense/linear.bias ]
  expect 2 st-pack r -o no --select x
  expect 0 st-inspect --check=hub r
  echo '{"types":{"../../m":"x.Dense"}}' > r/0_Router/router_config.json
  expect 4 st-pack r -o no
}

@test "diffusers: each folder under its own names; there is no top model" {
  pipeline p
  cp p/unet/diffusion_pytorch_model.safetensors p/unet/diffusion_pytorch_model.fp16.safetensors
  cp p/unet/diffusion_pytorch_model.safetensors p/v1-5.safetensors
  expect 0 st-pack p -o out --max-shard-size 10
  has stderr "unet: weights are left behind: diffusion_pytorch_model.fp16.safetensors"
  has stderr "weights are left behind: v1-5.safetensors"
  [ -e out/unet/diffusion_pytorch_model.safetensors.index.json ]
  [ -e out/text_encoder/model-00001-of-00002.safetensors ]
  cmp p/scheduler/scheduler_config.json out/scheduler/scheduler_config.json
  expect 0 st-inspect --check=hub out
  expect 0 st-inspect --diff p out
  rm p/unet/diffusion_pytorch_model.safetensors
  expect 0 st-pack p -o variant --max-shard-size 10
  [ -e variant/unet/diffusion_pytorch_model.safetensors.index.fp16.json ]
  [ -e variant/unet/diffusion_pytorch_model.fp16-00002-of-00002.safetensors ]
  expect 0 st-inspect --diff p variant
  expect 0 st-pack p -o cast --dtype bf16
  has stderr cast
  grep -q bfloat16 cast/text_encoder/config.json
  local option
  for option in "--select x" "--exclude x" "--rename s/a/b/" "--names-from p/model_index.json" "--adapter p" "--base p" "--from zero"; do
    # shellcheck disable=SC2086  # an option and its value
    expect 2 st-pack p -o no $option
  done
  expect 2 st-pack p -o no.safetensors
  [ ! -e no ]
}

@test "paths that leave the folder are refused" {
  local path
  mkdir elsewhere
  for path in ../elsewhere /etc a/../../elsewhere 'C:\\x' link; do
    rm -rf m p
    sentence_model m
    ln -s ../elsewhere m/link
    echo "[$(module '' Transformer),$(module "$path" Dense)]" > m/modules.json
    expect 4 st-pack m -o out
    expect 4 st-inspect m
    pipeline p
    ln -s ../elsewhere p/link
    echo "{\"_class_name\":\"X\",\"$path\":[\"diffusers\",\"Y\"],\"unet\":[\"diffusers\",\"Y\"]}" > p/model_index.json
    expect 4 st-pack p -o out
    [ ! -e out ]
  done
  echo '{"a":1}' > m/modules.json
  expect 4 st-pack m -o out
}

@test "a part that loaders refuse, or that is dangerous to load, makes the whole malformed" {
  sentence_model m
  truncate -s -5 m/2_Dense/model.safetensors
  expect 4 st-inspect --check m
  has output ST-SIZE
  local view
  for view in "" --names --json --stats "--part 1/2 --stats" --metadata; do
    # shellcheck disable=SC2086  # an option and its value
    expect 4 st-inspect $view m
    has stderr m/2_Dense/model.safetensors
  done
  expect 4 st-inspect --diff m m
  rm m/2_Dense/model.safetensors
  cp "$FIXTURES/torch/unsafe.pt" m/2_Dense/pytorch_model.bin
  expect 4 st-inspect --check m
  has output "m/2_Dense: holds a pickle that is dangerous to load"
  expect 4 st-inspect m
  has output "--check says why"
  expect 4 st-inspect --names m
  has output model.norm.weight
  has stderr "m/2_Dense/pytorch_model.bin"
}

@test "folders that are named but not there are reported" {
  sentence_model m
  rm -r m/2_Dense
  expect 1 st-inspect --check=hub m
  has output "modules.json names the folder 2_Dense, which is not there [MD-COMPONENT hub error]"
  [[ $output != *3_Normalize* ]]
  expect 0 st-pack m -o out
  has stderr 2_Dense
  pipeline p
  rm -r p/scheduler
  expect 1 st-inspect --check=hub p
  has output "model_index.json names the folder scheduler"
  truncate -s -1 p/unet/diffusion_pytorch_model.safetensors
  expect 4 st-inspect --check=hub p
  rm -r p/unet p/text_encoder
  expect 4 st-pack p -o no
}

@test "parts, dry runs and --force know the folders" {
  pipeline p
  expect 0 st-pack p -o whole --dtype f16
  for i in 1 2; do expect 0 st-pack p -o parts --dtype f16 --part $i/2; done
  expect 0 st-pack p -o parts --dtype f16
  has stderr "2 shards of 2 taken from parts"
  diff -r whole parts
  expect 0 st-pack p -o x -n --json
  has output '"file": "unet/diffusion_pytorch_model.safetensors"'
  [ ! -e x ]
  echo mine > whole/unet/notes.txt
  echo mine > whole/notes.txt
  echo old > whole/unet/pytorch_model.bin
  expect 5 st-pack p -o whole
  expect 0 st-pack p -o whole --force
  [ "$(cat whole/unet/notes.txt whole/notes.txt)" = $'mine\nmine' ]
  [ ! -e whole/unet/pytorch_model.bin ]
  cmp p/unet/diffusion_pytorch_model.safetensors whole/unet/diffusion_pytorch_model.safetensors
  mkdir whole/unet/photos
  expect 5 st-pack p -o whole --force
  has stderr "the folder 'unet/photos', which st-pack did not write"
  expect 5 st-pack p -o p --force
  expect 5 st-pack p -o p/unet --force
}

@test "weights that are left behind are a warning" {
  cp -r "$FIXTURES/base" m
  mkdir m/onnx
  echo x > m/onnx/model.onnx
  echo x > m/tf_model.h5
  mkdir m/speaker_embeddings m/qformer_tokenizer
  echo x > m/speaker_embeddings/en_0.npy
  echo x > m/qformer_tokenizer/vocab.txt
  expect 0 st-pack m -o out
  has stderr "weights are left behind: onnx/"
  has stderr "weights are left behind: tf_model.h5"
  [ -e out/speaker_embeddings/en_0.npy ] && [ -e out/qformer_tokenizer/vocab.txt ]
}
