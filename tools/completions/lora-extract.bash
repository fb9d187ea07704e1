# SPDX-License-Identifier: Apache-2.0
_lora_extract() {
  local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
  case $previous in
    --dtype) mapfile -t COMPREPLY < <(compgen -W "bf16 f16 f32" -- "$word"); return ;;
    --for) mapfile -t COMPREPLY < <(compgen -W "peft vllm sglang" -- "$word"); return ;;
    --rank) mapfile -t COMPREPLY < <(compgen -W "auto" -- "$word"); return ;;
    --embeddings) mapfile -t COMPREPLY < <(compgen -W "skip lora full" -- "$word"); return ;;
    --bias) mapfile -t COMPREPLY < <(compgen -W "none all" -- "$word"); return ;;
    --svd) mapfile -t COMPREPLY < <(compgen -W "fast exact" -- "$word"); return ;;
    --kernel) mapfile -t COMPREPLY < <(compgen -W "auto avx512 avx2 neon baseline" -- "$word"); return ;;
    --part) mapfile -t COMPREPLY < <(compgen -W "auto" -- "$word"); return ;;
    --fingerprint) mapfile -t COMPREPLY < <(compgen -W "time content" -- "$word"); return ;;
    --color) mapfile -t COMPREPLY < <(compgen -W "auto always never" -- "$word"); return ;;
  esac
  if [[ $word == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "--output --dtype --base-id --weights-only --force --verify --for --adapter --alpha --base --tuned --rank --max-rank --target --exclude --embeddings --bias --full-modules --svd --tolerance --kernel --part --fingerprint --max-wait --limit-rate --connections --resize --compare --dry-run --json --threads --progress --no-progress --color --quiet --verbose --help --version" -- "$word")
  else
    mapfile -t COMPREPLY < <(compgen -f -- "$word")
  fi
}
complete -o filenames -F _lora_extract lora-extract
