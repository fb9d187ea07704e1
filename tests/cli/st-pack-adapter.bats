# SPDX-License-Identifier: Apache-2.0
# What adapters bring beside factors: whole modules in several spellings, resized vocabularies, heads of classifiers, heads tied to
# embeddings. Values are compared with PEFT's in the interop suite.
load helper

setup() {
  start
  m=base_model.model.
  factors=("$m"model.q_proj.lora_A.weight:1x4:1 "$m"model.q_proj.lora_B.weight:4x1:1)
}

# base TIED TENSOR...: a Llama of 6 tokens and width 4, its matrices 0.
base() {
  floats base/model.safetensors model.embed_tokens.weight:6x4:0 model.q_proj.weight:4x4:0 "${@:2}"
  echo '{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4, "vocab_size": 6, "tie_word_embeddings": '"$1"'}' > base/config.json
}

# adapter NAME CONFIG TENSOR...: of rank 1, its delta is 1 everywhere.
adapter() {
  floats "$1/adapter_model.safetensors" "${factors[@]}" "${@:3}"
  targets=$(printf '%s\n' "${factors[@]}" "${@:3}" | sed -nE 's/^base_model\.model\.(.*)\.lora_.*/"\1"/p' | sort -u | paste -sd,)
  echo '{"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": ['"$targets"'], '"$2"'}' > "$1/adapter_config.json"
}

setting() { python3 -c 'import json, sys; print(json.load(open("out/config.json")).get(sys.argv[1]))' "$1"; }

@test "of several spellings of a head the trained one is merged" {
  base false lm_head.weight:6x4:0
  for spelling in modules_to_save.weight modules_to_save.default.weight; do
    adapter ad '"modules_to_save": ["lm_head"]' "$m"lm_head.original_module.weight:6x4:5 "$m"lm_head."$spelling":6x4:7 "$m"lm_head.weight:6x4:5
    expect 0 st-pack base --adapter ad -o out --force
    [ "$(floats out | sort)" = "lm_head.weight 6x4 7
model.embed_tokens.weight 6x4 0
model.q_proj.weight 4x4 1" ]
  done
  # lora-extract writes it once, under its own name.
  expect 0 lora-extract ad -o only
  floats only > names
  grep -q "^${m}lm_head.weight 6x4 7$" names
  [ "$(wc -l < names)" = 3 ]
}

@test "an adapter with a resized vocabulary" {
  # Not tied: both matrices come, the config is told.
  base false lm_head.weight:6x4:0
  adapter ad '"modules_to_save": null' "$m"lm_head.weight:8x4:3 "$m"model.embed_tokens.weight:8x4:2
  expect 0 st-pack base --adapter ad -o out
  has stderr "resized from 6 to 8 tokens"
  [ "$(setting vocab_size) $(setting tie_word_embeddings)" = "8 False" ]
  [ "$(floats out | sort | sed -n 1,2p)" = "lm_head.weight 8x4 3
model.embed_tokens.weight 8x4 2" ]
  # One of the two alone makes no model.
  adapter ad '"modules_to_save": ["embed_tokens"]' "$m"model.embed_tokens.weight:8x4:2
  expect 4 st-pack base --adapter ad -o no
  has stderr "lm_head.weight has 6"
  # Tied, and saved since it was resized: it stays tied.
  rm -r out && base true
  adapter ad '"modules_to_save": null' "$m"lm_head.weight:8x4:2 "$m"model.embed_tokens.weight:8x4:2
  expect 0 st-pack base --adapter ad -o out
  [ "$(setting vocab_size) $(setting tie_word_embeddings)" = "8 True" ]
  [ "$(floats out | sort)" = "model.embed_tokens.weight 8x4 2
model.q_proj.weight 4x4 1" ]
  # Tied, and the head alone was trained: PEFT saves the old embedding with it.
  adapter ad '"modules_to_save": ["lm_head"]' "$m"lm_head.weight:8x4:3 "$m"model.embed_tokens.weight:8x4:2
  expect 0 st-pack base --adapter ad -o out --force
  [ "$(setting vocab_size) $(setting tie_word_embeddings)" = "8 False" ]
  [ "$(floats out | sort | sed -n 1,2p)" = "lm_head.weight 8x4 3
model.embed_tokens.weight 8x4 2" ]
  # Any other shape is a fault.
  adapter ad '"modules_to_save": ["embed_tokens"]' "$m"model.embed_tokens.weight:8x5:2
  expect 4 st-pack base --adapter ad -o no
  has stderr "the tensor is [8, 5], but in the base it is [6, 4]"
  adapter ad '"modules_to_save": ["q_proj"]' "$m"model.q_proj.weight:8x4:2
  expect 4 st-pack base --adapter ad -o no
}

@test "factors of an embedding that was resized" {
  base true
  adapter ad '"modules_to_save": null' "$m"model.embed_tokens.base_layer.weight:8x4:2 "$m"model.embed_tokens.lora_embedding_A:1x8:1 "$m"model.embed_tokens.lora_embedding_B:4x1:3
  expect 0 st-pack base --adapter ad -o out
  [ "$(floats out | sed -n 1p)" = "model.embed_tokens.weight 8x4 5" ]
  # Trained rows, too, and those of the head that is tied to it.
  adapter ad '"trainable_token_indices": [7]' "$m"model.embed_tokens.token_adapter.base_layer.weight:8x4:2 "$m"model.embed_tokens.token_adapter.trainable_tokens_delta:1x4:9 "$m"lm_head.token_adapter.base_layer.weight:8x4:2 "$m"lm_head.token_adapter.trainable_tokens_delta:1x4:9
  expect 0 st-pack base --adapter ad -o out --force
  [ "$(floats out | sed -n 1p)" = "model.embed_tokens.weight 8x4 2 9" ]
}

@test "an adapter of a classifier makes the model one" {
  base false lm_head.weight:6x4:0
  adapter ad '"task_type": "SEQ_CLS", "modules_to_save": ["classifier", "score"]' "$m"score.weight:1x4:7
  expect 0 st-pack base --adapter ad -o out
  has stderr "is a LlamaForSequenceClassification"
  has stderr "called LABEL_0"
  has stderr "lm_head.weight"
  has stderr pad_token_id
  [ "$(setting architectures) $(setting id2label)" = "['LlamaForSequenceClassification'] {'0': 'LABEL_0'}" ]
  [ "$(floats out | sort)" = "model.embed_tokens.weight 6x4 0
model.q_proj.weight 4x4 1
score.weight 1x4 7" ]
  # The folder of the adapter may know the labels.
  adapter ad '"task_type": "SEQ_CLS", "modules_to_save": ["classifier", "score"]' "$m"score.weight:3x4:7
  echo '{"id2label": {"0": "bad", "1": "\"so\"", "2": "good"}, "problem_type": "single_label_classification", "pad_token_id": 2}' > ad/config.json
  expect 0 st-pack base --adapter ad -o out --force
  [[ "$stderr" != *LABEL_0* && "$stderr" != *pad_token_id* ]]
  [ "$(setting id2label)" = "{'0': 'bad', '1': '\"so\"', '2': 'good'}" ]
  [ "$(setting label2id)" = "{'bad': 0, '\"so\"': 1, 'good': 2}" ]
  [ "$(setting pad_token_id) $(setting problem_type)" = "2 single_label_classification" ]
  # A base that is one already may get other labels.
  cp -r out classifier
  adapter ad '"task_type": "SEQ_CLS", "modules_to_save": ["classifier", "score"]' "$m"score.weight:2x4:8
  rm ad/config.json
  expect 0 st-pack classifier --adapter ad -o out --force
  [ "$(setting id2label)" = "{'0': 'LABEL_0', '1': 'LABEL_1'}" ]
  [ "$(floats out | sort | tail -1)" = "score.weight 2x4 8" ]
  # What the class is called for a type nobody knows, the user has to say.
  sed -i s/llama/lama/ base/config.json
  expect 0 st-pack base --adapter ad -o out --force
  has stderr "set architectures and labels in config.json"
  [ "$(setting architectures)" = "['LlamaForCausalLM']" ]
}

@test "a base without the prefix of the class: heads keep their names" {
  floats base/model.safetensors q_proj.weight:4x4:0
  echo '{"model_type": "x"}' > base/config.json
  adapter ad '"modules_to_save": ["lm_head"]' "$m"lm_head.weight:6x4:7
  expect 0 st-pack base --adapter ad -o out
  [ "$(floats out)" = "lm_head.weight 6x4 7
q_proj.weight 4x4 1" ]
}

@test "a head that files call otherwise than the model in memory" {
  base false
  floats base/model.safetensors gpt_neox.embed_in.weight:6x4:0 gpt_neox.q_proj.weight:4x4:0 embed_out.weight:6x4:0
  sed -i 's/LlamaForCausalLM/GPTNeoXForCausalLM/; s/"llama"/"gpt_neox"/' base/config.json
  factors=("$m"gpt_neox.q_proj.lora_A.weight:1x4:1 "$m"gpt_neox.q_proj.lora_B.weight:4x1:1)
  for head in lm_head.weight:6x4:1 "lm_head.lora_A.weight:1x4:1 ${m}lm_head.lora_B.weight:6x1:1"; do
    # shellcheck disable=SC2086
    adapter ad '"bias": "none"' "$m"${head}
    expect 0 st-pack base --adapter ad -o out --force
    [ "$(floats out | sort)" = "embed_out.weight 6x4 1
gpt_neox.embed_in.weight 6x4 0
gpt_neox.q_proj.weight 4x4 1" ]
  done
}

@test "a module that the base lacks is named, with those that end alike" {
  base false
  factors=("$m"model.other.q_proj.lora_A.weight:1x4:1 "$m"model.other.q_proj.lora_B.weight:4x1:1)
  adapter ad '"base_model_name_or_path": "acme/tiny"'
  expect 4 st-pack base --adapter ad -o no
  has stderr "the base has no tensor 'model.other.q_proj.weight'"
  has stderr "the adapter was trained on acme/tiny; the base has model.q_proj.weight"
}

@test "modules that are called like parts of an adapter" {
  for module in lora_block lora_A module.base_layer_norm modules.original; do
    rm -rf base ad out
    floats base/model.safetensors "$module.weight:4x4:0" z.weight:4x4:0
    echo '{}' > base/config.json
    factors=("$m$module.lora_A.weight:1x4:1" "$m$module.lora_B.weight:4x1:1")
    adapter ad '"modules_to_save": null'
    expect 0 st-pack base --adapter ad -o out
    [ "$(floats out)" = "$module.weight 4x4 1
z.weight 4x4 0" ]
  done
}

@test "two adapters and their whole modules" {
  base false lm_head.weight:6x4:0
  adapter a '"modules_to_save": ["lm_head"]' "$m"lm_head.weight:6x4:7
  cp -r a same
  adapter b '"modules_to_save": ["lm_head"]' "$m"lm_head.weight:6x4:8
  expect 5 st-pack base --adapter a --adapter b -o out
  has stderr "holds this tensor whole, too, with other values"
  [ ! -e out ]
  expect 0 st-pack base --adapter a --adapter same:0.5 -o out
  has stderr "the scale 0.5 does not apply to 1 tensor that same holds whole"
  [ "$(floats out)" = "lm_head.weight 6x4 7
model.embed_tokens.weight 6x4 0
model.q_proj.weight 4x4 1.5" ]
  # Nor are factors added to a module that another adapter trained.
  factors=("$m"lm_head.lora_A.weight:1x4:1 "$m"lm_head.lora_B.weight:6x1:1)
  adapter b '"modules_to_save": null'
  expect 5 st-pack base --adapter a --adapter b -o no
  expect 5 st-pack base --adapter b --adapter a -o no
}

@test "names of one matrix that are not trained stay together" {
  floats base/model.safetensors shared.weight:6x4:0 q_proj.weight:4x4:0
  echo '{"architectures": ["T5ForConditionalGeneration"], "model_type": "t5", "vocab_size": 6}' > base/config.json
  values() { floats out | grep -v q_proj | sort | awk '{printf "%s ", $3}'; }
  # In the order of names: decoder.embed_tokens, encoder.embed_tokens, lm_head, shared.
  factors=("$m"shared.lora_embedding_A:1x6:1 "$m"shared.lora_embedding_B:4x1:1)
  adapter source '"modules_to_save": ["lm_head"]' "$m"lm_head.weight:6x4:7
  expect 0 st-pack base --adapter source -o out
  [ "$(values)" = "1 1 7 1 " ]
  factors=("$m"lm_head.lora_A.weight:1x4:1 "$m"lm_head.lora_B.weight:6x1:1)
  adapter head '"modules_to_save": ["shared"]' "$m"shared.weight:6x4:7
  expect 0 st-pack base --adapter head -o out --force
  [ "$(values)" = "1 1 1 7 " ]
  # A second adapter finds what the first one left tied.
  factors=("$m"decoder.embed_tokens.lora_embedding_A:1x6:1 "$m"decoder.embed_tokens.lora_embedding_B:4x1:1)
  adapter more '"modules_to_save": null'
  expect 0 st-pack base --adapter source --adapter more -o out --force
  [ "$(values)" = "2 2 7 2 " ]
  factors=("$m"q_proj.lora_A.weight:1x4:1 "$m"q_proj.lora_B.weight:4x1:1)
  adapter whole '"modules_to_save": ["encoder.embed_tokens"]' "$m"encoder.embed_tokens.weight:6x4:9
  expect 5 st-pack base --adapter source --adapter whole -o no
  has stderr "holds whole"
  # A copy that the files have changes with the others.
  floats base/model.safetensors shared.weight:6x4:0 decoder.embed_tokens.weight:6x4:0 q_proj.weight:4x4:0
  expect 0 st-pack base --adapter source -o out --force
  [ "$(values)" = "1 1 7 1 " ]
}

@test "a vocabulary that was resized reaches all names that stay together" {
  floats base/model.safetensors shared.weight:6x4:0 q_proj.weight:4x4:0
  echo '{"architectures": ["T5ForConditionalGeneration"], "model_type": "t5", "vocab_size": 6}' > base/config.json
  factors=("$m"shared.lora_embedding_A:1x8:1 "$m"shared.lora_embedding_B:4x1:1)
  adapter ad '"modules_to_save": ["lm_head"]' "$m"shared.base_layer.weight:8x4:2 "$m"lm_head.weight:8x4:7
  expect 0 st-pack base --adapter ad -o out
  [ "$(floats out | grep -v q_proj | sort | awk '{printf "%s %s, ", $2, $3}')" = "8x4 3, 8x4 3, 8x4 7, 8x4 3, " ]
}

@test "an adapter that lacks what modules_to_save names" {
  base true
  adapter ad '"modules_to_save": ["lm_head"]'
  expect 4 st-pack base --adapter ad -o no
  has stderr "modules_to_save names lm_head, but the adapter lacks lm_head.weight, which the base has"
  [ ! -e no ]
  adapter ad '"modules_to_save": ["embed_tokens", "lm_head"]' "$m"lm_head.weight:6x4:7
  expect 4 st-pack base --adapter ad -o no
  has stderr "lacks model.embed_tokens.weight"
  # Names of no module mean nothing to it.
  adapter ad '"modules_to_save": ["v_head"]'
  expect 0 st-pack base --adapter ad -o out
  has stderr "modules_to_save names v_head, which neither base nor adapter has: PEFT passes over it"
  # A bias, one of two layers, and the norms that only end like the name.
  base true model.norm.weight:4:0 model.norm.bias:4:0 model.layers.0.norm.weight:4:0 model.layers.1.norm.weight:4:0 model.layers.1.ln_norm.weight:4:0
  adapter ad '"modules_to_save": ["model.norm"]' "$m"model.norm.weight:4:1
  expect 4 st-pack base --adapter ad -o no
  has stderr "lacks model.norm.bias"
  adapter ad '"modules_to_save": ["norm"]' "$m"model.norm.weight:4:1 "$m"model.norm.bias:4:1 "$m"model.layers.0.norm.weight:4:1
  expect 4 st-pack base --adapter ad -o no
  has stderr "lacks model.layers.1.norm.weight"
  adapter ad '"modules_to_save": ["norm"]' "$m"model.layers.1.ln_norm.weight:4:1
  expect 4 st-pack base --adapter ad -o no
  # A class that is a part of the base's has other modules of the name: said.
  adapter ad '"modules_to_save": ["norm"]' "$m"model.layers.0.norm.weight:4:1 "$m"model.layers.1.norm.weight:4:1
  expect 0 st-pack base --adapter ad -o out --force
  has stderr "the adapter lacks model.norm.weight and 2 more: the values of the base stay"
}

@test "the adapter of a model that holds it keeps no prefix" {
  factors=(pretrained_model."$m"model.q_proj.lora_A.default.weight:1x4:1 pretrained_model."$m"model.q_proj.lora_B.default.weight:4x1:1)
  floats run.safetensors "${factors[@]}" pretrained_model."$m"model.q_proj.base_layer.weight:4x4:0 v_head.summary.weight:1x4:0
  expect 0 lora-extract run.safetensors --alpha 1 -o out
  [ "$(floats out | cut -d' ' -f1)" = "${m}model.q_proj.lora_A.weight
${m}model.q_proj.lora_B.weight" ]
}

@test "adapters of MLX are merged, those of diffusion pipelines named" {
  floats base/model.safetensors model.embed_tokens.weight:6x4:0 model.layers.0.mlp.up_proj.weight:8x4:0
  echo '{"model_type": "llama", "vocab_size": 6}' > base/config.json
  # Not square, and the rank is not 1: a matrix that was not turned would show.
  floats ad/adapters.safetensors model.layers.0.mlp.up_proj.lora_a:4x2:1 model.layers.0.mlp.up_proj.lora_b:2x8:3 model.embed_tokens.lora_a:6x2:1 model.embed_tokens.lora_b:2x4:2
  floats ad/0000100_adapters.safetensors model.layers.0.mlp.up_proj.lora_a:4x2:1
  echo '{"fine_tune_type": "lora", "model": "mlx-community/x", "num_layers": 1, "lora_parameters": {"rank": 2, "dropout": 0.0, "scale": 5.0}}' > ad/adapter_config.json
  expect 0 st-pack base --adapter ad -o out
  [ "$(floats out | sort)" = "model.embed_tokens.weight 6x4 20
model.layers.0.mlp.up_proj.weight 8x4 30" ]
  expect 0 lora-extract ad -o peft
  grep -q '"lora_alpha": 10' peft/adapter_config.json
  rm -r out
  expect 0 st-pack base --adapter peft -o out
  [ "$(floats out | sort | tail -1)" = "model.layers.0.mlp.up_proj.weight 8x4 30" ]
  # Other values: A is 0 1, 2 3, 4 5, 6 7 and B 0 … 7, 8 … 15; the first row of the delta is 5 (a_i0 0 + a_i1 8).
  rm -r out
  floats ad/adapters.safetensors model.layers.0.mlp.up_proj.lora_a:4x2:n model.layers.0.mlp.up_proj.lora_b:2x8:n
  expect 0 st-pack base --adapter ad -o out --select '*up_proj*'
  [ "$(floats out | cut -d' ' -f3-6)" = "40 45 50 55" ]
  sed -i 's/"lora"/"full"/' ad/adapter_config.json
  expect 4 st-pack base --adapter ad -o no
  has stderr "trained whole"
  floats kohya.safetensors lora_unet_down_blocks_0.lora_down.weight:2x4:1 lora_unet_down_blocks_0.lora_up.weight:4x2:1 lora_unet_down_blocks_0.alpha:1:1
  expect 4 st-pack base --adapter kohya.safetensors -o no
  has stderr "kohya's scripts"
  expect 4 lora-extract kohya.safetensors -o no
  has stderr "kohya's scripts"
  floats pipe/pytorch_lora_weights.safetensors unet.down.lora_A.weight:2x4:1 unet.down.lora_B.weight:4x2:1
  expect 4 st-pack base --adapter pipe -o no
  has stderr diffusers
  expect 4 lora-extract pipe -o no
  # Whatever the file is called, its folder is recognised like itself; others are not adapters.
  mkdir style && mv kohya.safetensors style/style-000004.safetensors && echo note > style/notes.txt
  for path in style style:0.5; do
    expect 4 st-pack base --adapter "$path" -o no
    has stderr "style/style-000004.safetensors: is a LoRA for a diffusion pipeline, in the form of kohya's scripts"
    [ "${#stderr_lines[@]}" = 1 ]
  done
  floats flux/flux.safetensors transformer.single_transformer_blocks.0.proj_out.lora_A.weight:2x4:1 transformer.single_transformer_blocks.0.proj_out.lora_B.weight:4x2:1
  expect 4 st-pack base --adapter flux -o no
  has stderr diffusers
  expect 7 st-pack base --adapter base -o no
  has stderr "is not a folder with an adapter_config.json"
}
