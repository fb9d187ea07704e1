#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Cards of models that another library than Transformers and PEFT loads.
load helper

# folder NAME FILE TEXT...: a folder with these files.
folder() {
  local name=$1
  shift
  mkdir -p "$name"
  while [ $# -gt 0 ]; do
    mkdir -p "$(dirname "$name/$1")"
    printf '%s' "$2" > "$name/$1"
    shift 2
  done
}

# says LIBRARY TASK: the front matter does, and no snippet is that of a language model.
says() {
  has output "library_name: $1"
  has output "pipeline_tag: $2"
  for text in "pipeline(" "vllm" "llama" "AutoModel"; do
    [[ $output != *"$text"* ]] || { echo "$text is in output: $output"; return 1; }
  done
}

BERT='{"architectures": ["BertModel"], "model_type": "bert"}'
MODULES='[{"path": "", "type": "sentence_transformers.models.Transformer"}, {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}, {"path": "../../etc", "type": "sentence_transformers.models.Dense"}]'

@test "sentence-transformers: class, pooling, dimension, prompts, versions" {
  folder st config.json "$BERT" modules.json "$MODULES" 1_Pooling/config.json '{"word_embedding_dimension": 16, "pooling_mode_mean_tokens": true, "pooling_mode_cls_token": true}' \
    sentence_bert_config.json '{"max_seq_length": 48}' \
    config_sentence_transformers.json '{"__version__": {"sentence_transformers": "5.1.0"}, "similarity_fn_name": "cosine", "prompts": {"query": "find: ", "document": ""}}'
  expect 0 card-gen st --repo ada/st
  says sentence-transformers sentence-similarity
  for text in "- Pooling: mean and cls" "- Vectors: 32 dimensions" "- Longest input: 48 tokens" '- Prompts: `query: find: `' "- Sentence Transformers 5.1.0" \
    'model = SentenceTransformer("ada/st")' 'prompt_name="query"' "- feature-extraction"; do
    has output "$text"
  done
  [[ $output != *'prompt_name="document"'* ]]
  # An older layout keeps the model in a folder of its own.
  folder old 0_Transformer/config.json "$BERT" modules.json "${MODULES/\"path\": \"\"/\"path\": \"0_Transformer\"}"
  cp "$FIXTURES/full-run/checkpoint-40/model.safetensors" old/0_Transformer
  expect 0 card-gen old
  says sentence-transformers sentence-similarity
  has output "- Parameters: 39,072"
  expect 0 card-gen -i old
  expect 0 card-gen --check old
}

@test "sentence-transformers: cross-encoders, sparse encoders, code of one's own, broken modules" {
  folder cross config.json '{"architectures": ["BertForSequenceClassification"], "id2label": {"0": "LABEL_0"}, "sentence_transformers": {"version": "4.1.0"}}'
  expect 0 card-gen cross
  says sentence-transformers text-ranking
  has output 'CrossEncoder("cross")'
  folder cross config.json '{"architectures": ["BertForSequenceClassification"], "sbert_ce_default_activation_function": "torch.nn.Identity"}'
  expect 0 card-gen cross
  says sentence-transformers text-classification
  folder sparse config.json '{"architectures": ["BertForMaskedLM"]}' modules.json \
    '[{"path": "", "type": "sentence_transformers.sparse_encoder.models.MLMTransformer"}, {"path": "1_SpladePooling", "type": "own.code.SpladePooling"}]'
  expect 0 card-gen sparse
  says sentence-transformers feature-extraction
  has output 'SparseEncoder("sparse", trust_remote_code=True)'
  folder odd config_sentence_transformers.json '{"model_type": "x = 1 #\n", "prompts": [1]}' modules.json '[1, {"path": 3}, {"type": {}}]'
  expect 0 card-gen odd
  has output 'SentenceTransformer("odd")'
  printf '[{' > odd/modules.json
  expect 0 card-gen odd
  has stderr "library: "
}

@test "setfit: labels are read, the pickled head is not" {
  folder fit config.json "$BERT" modules.json "$MODULES" config_setfit.json '{"labels": ["bad", "good"]}' model_head.pkl 'cos
system
(S"touch ran"
tR.'
  expect 0 card-gen fit
  says setfit text-classification
  has output "SetFitModel.from_pretrained"
  has output '- Labels: `bad`, `good`'
  [ ! -e ran ]
}

@test "diffusers: pipelines by their class, LoRAs by their names" {
  folder sd model_index.json '{"_class_name": "StableDiffusionXLPipeline", "_diffusers_version": "0.42.1"}' unet/config.json '{}'
  expect 0 card-gen sd --repo ada/sd
  says diffusers text-to-image
  has output 'DiffusionPipeline.from_pretrained("ada/sd"'
  has output "- Diffusers 0.42.1"
  [[ $stderr != *"no weights"* ]]
  folder wan model_index.json '{"_class_name": "WanImageToVideoPipeline"}'
  expect 0 card-gen wan
  says diffusers image-to-video
  has output export_to_video
  # Nobody knows what a pipeline of one's own takes.
  folder own model_index.json '{"_class_name": "MyPipeline"}'
  expect 0 card-gen own
  has output "library_name: diffusers"
  [[ $output != *"## Usage"* && $output != *pipeline_tag* ]]

  mkdir lora
  safetensors lora/pytorch_lora_weights.safetensors "{$(tensor unet.a.lora_A.weight F32 '[2,4]' 0 32)}" 32
  expect 0 card-gen lora --base stabilityai/sdxl --repo ada/dog
  says diffusers text-to-image
  has output "base_model_relation: adapter"
  has output 'pipe.load_lora_weights("ada/dog")'
  [[ $output != *"- transformers"* ]]
  # kohya's names, in a file of any name; the card says that it makes videos.
  mkdir kohya
  safetensors kohya/my-dog.safetensors "{$(tensor lora_unet_a.lora_down.weight F32 '[2,4]' 0 32)}" 32
  printf -- '---\ntags:\n- text-to-video\n---\n' > kohya/README.md
  expect 0 card-gen kohya --base a/wan
  says diffusers text-to-video
  has output 'weight_name="my-dog.safetensors"'
}

@test "timm, and libraries that card-gen does not know" {
  folder timm config.json '{"architecture": "resnet10t", "num_classes": 2, "pretrained_cfg": {"label_names": ["cat", "dog"]}}'
  expect 0 card-gen timm --repo ada/cats
  says timm image-classification
  has output 'timm.create_model("hf-hub:ada/cats", pretrained=True)'
  has output '- Labels: `cat`, `dog`'
  expect 0 card-gen timm
  has output 'local-dir:timm'
  folder features config.json '{"architecture": "resnet10t", "pretrained_cfg": {"num_classes": 0}}'
  expect 0 card-gen features
  says timm image-feature-extraction

  cp -r "$FIXTURES/full-run/checkpoint-40" mine
  printf -- '---\nlibrary_name: mlx\n---\n' > mine/README.md
  expect 0 card-gen -i mine
  [[ $(< mine/README.md) != *"## Usage"* ]]
  cp mine/README.md before.md
  expect 0 card-gen -i mine
  cmp before.md mine/README.md
  expect 0 card-gen mine --library nemo
  [[ $output != *"## Usage"* ]]
  # Weights without a config: nothing says what loads them.
  mkdir bare
  cp mine/model.safetensors bare
  expect 0 card-gen bare
  [[ $output != *library_name* && $output != *"## Usage"* ]]
}

@test "a pattern in a quantisation config that Python refuses leaves a card without the count of parameters" {
  cp -r "$FIXTURES/full-run/checkpoint-40" model && rm -f model/README.md
  expect 0 card-gen model --base a/b
  has output "- Parameters: 39,072"
  sed -i '0,/{/s//{"quantization_config":{"quant_method":"compressed-tensors","format":"pack-quantized","ignore":["re:(head"]},/' model/config.json
  expect 0 card-gen model --base a/b
  [[ $output != *"- Parameters:"* ]]
  has stderr "unknown: parameters: model/config.json: the pattern '(head' can't be used"
}
