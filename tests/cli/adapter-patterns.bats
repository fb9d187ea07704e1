# SPDX-License-Identifier: Apache-2.0
# Patterns of adapter_config.json while merging. What PEFT makes of the same is compared in the interop suite.
bats_require_minimum_version 1.5.0
load helper

setup_file() { export TENSORS="$BATS_TEST_DIRNAME/tensors.py"; }
# adapter MEMBERS [RANK]: a base of two modules, and an adapter for both whose config has these members too.
adapter() {
  local rank=${2:-4} module factors=()
  rm -rf ad base && mkdir ad base && echo '{"model_type":"x"}' > base/config.json
  python3 "$TENSORS" base/model.safetensors m.0.q.weight:F32:8,8 m.1.v.weight:F32:8,8
  echo "{\"peft_type\":\"LORA\",\"r\":4,\"lora_alpha\":8${1:+,$1}}" > ad/adapter_config.json
  for module in m.0.q m.1.v; do
    factors+=("base_model.model.$module.lora_A.weight:F32:$rank,8" "base_model.model.$module.lora_B.weight:F32:8,$rank")
  done
  python3 "$TENSORS" ad/adapter_model.safetensors "${factors[@]}"
}
merge() { rm -rf out && expect "$1" st-pack base --adapter ad -o out; }

@test "factors of modules that the config does not choose are left out, and said" {
  adapter ''
  merge 0
  has stderr "2 tensors of the base merged"
  local chosen
  for chosen in '"target_modules":["q"]' '"target_modules":".*q"' '"target_modules":["q","v"],"exclude_modules":"m\\.1\\..*"' \
    '"target_modules":["q","v"],"layers_to_transform":[0],"layers_pattern":"m"'; do
    adapter "$chosen"
    merge 0
    has stderr "1 tensor of the base merged"
    has stderr "1 module of the adapter, m.1.v first, is left out"
  done
  # PEFT looks for the module itself then, and does not find it.
  adapter '"target_modules":["q","v"],"modules_to_save":["v"]'
  merge 4
  has stderr "modules_to_save names v, but the adapter lacks m.1.v.weight"
  adapter '"target_modules":["k"]'
  merge 4
  has stderr "target_modules of adapter_config.json matches none of its modules"
}

@test "a rank that is not that of the config is refused, with the module" {
  adapter '' 2
  merge 4
  has stderr "m.0.q: has rank 2, but adapter_config.json says 4"
  adapter '"rank_pattern":{"[qv]":2}' 2
  merge 0
  adapter '"rank_pattern":{"q":2}' 2
  merge 4
  has stderr "m.1.v: has rank 2, but adapter_config.json says 4"
}

@test "patterns that Python does not know, or that never end, are refused by name" {
  local members
  for members in '"rank_pattern":{"q**":4}' '"alpha_pattern":{"q":8,"(?i)v":4}' '"target_modules":"(q"' '"exclude_modules":"\\Kq"'; do
    adapter "$members"
    merge 4
    has stderr "ad/adapter_config.json: $(cut -d'"' -f2 <<< "$members"): the pattern '"
    [ ! -e out ]
  done
  adapter '"target_modules":"(?:.?.?.?.?.?){30}[xy]"'
  merge 4
  has stderr "takes too long to match"
  adapter '"target_modules":7'
  merge 4
  has stderr "ad/adapter_config.json: target_modules is not a text or a list of texts"
}
