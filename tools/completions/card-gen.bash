# SPDX-License-Identifier: Apache-2.0
_card_gen() {
  local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
  case $previous in
    --run) mapfile -t COMPREPLY < <(compgen -d -- "$word"); return ;;
    --relation) mapfile -t COMPREPLY < <(compgen -W "adapter finetune merge quantized" -- "$word"); return ;;
    --library) mapfile -t COMPREPLY < <(compgen -W "peft transformers" -- "$word"); return ;;
    --method) mapfile -t COMPREPLY < <(compgen -W "sft dpo grpo kto reward-trainer rloo orpo cpo" -- "$word"); return ;;
    --style) mapfile -t COMPREPLY < <(compgen -W "full trl minimal" -- "$word"); return ;;
    --color) mapfile -t COMPREPLY < <(compgen -W "auto always never" -- "$word"); return ;;
  esac
  if [[ $word == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "--base --base-from --relation --name --repo --license --license-name --license-link --language --tag --library --pipeline-tag --set --dataset --run --method --wandb --comet --trackio --tensorboard --eval --library-version --author --citation --source-revision --in-place --check --lint --fix --style --plot --preview --explain --facts --provenance --strict --json --color --quiet --verbose --help --version" -- "$word")
  else
    mapfile -t COMPREPLY < <(compgen -f -- "$word")
  fi
}
complete -o filenames -F _card_gen card-gen
