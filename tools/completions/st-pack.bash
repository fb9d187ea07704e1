# SPDX-License-Identifier: Apache-2.0
_st_pack() {
  local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
  case $previous in
    --dtype) mapfile -t COMPREPLY < <(compgen -W "bf16 f16 f32 f64 f8_e4m3 f8_e5m2" -- "$word"); return ;;
    --quantize) mapfile -t COMPREPLY < <(compgen -W "fp8-dynamic fp8-block fp8 mxfp4 mxfp4a16 nvfp4" -- "$word"); return ;;
    --part) mapfile -t COMPREPLY < <(compgen -W "auto" -- "$word"); return ;;
    --fingerprint) mapfile -t COMPREPLY < <(compgen -W "time content" -- "$word"); return ;;
    --from) mapfile -t COMPREPLY < <(compgen -W "zero dcp" -- "$word"); return ;;
    --names) mapfile -t COMPREPLY < <(compgen -W "auto published as-is" -- "$word"); return ;;
    --experts) mapfile -t COMPREPLY < <(compgen -W "split stack" -- "$word"); return ;;
    --color) mapfile -t COMPREPLY < <(compgen -W "auto always never" -- "$word"); return ;;
  esac
  if [[ $word == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "--output --max-shard-size --metadata --weights-only --force --verify --from --key --base --adapter --salvage --part --fingerprint --max-wait --limit-rate --connections --dtype --dequantize --quantize --keep --select
      --exclude --rename --names --experts --names-from --dry-run --json --null --threads --progress --no-progress --color --quiet --verbose
      --help --version" -- "$word")
  else
    mapfile -t COMPREPLY < <(compgen -f -- "$word")
  fi
}
complete -o filenames -F _st_pack st-pack
