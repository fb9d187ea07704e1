# SPDX-License-Identifier: Apache-2.0
_st_inspect() {
  local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
  case $previous in
    --sort) mapfile -t COMPREPLY < <(compgen -W "name size offset dtype" -- "$word"); return ;;
    --color) mapfile -t COMPREPLY < <(compgen -W "auto always never" -- "$word"); return ;;
    --part) mapfile -t COMPREPLY < <(compgen -W "auto" -- "$word"); return ;;
    --fail-on) mapfile -t COMPREPLY < <(compgen -W "nan inf nan,inf" -- "$word"); return ;;
  esac
  if [[ $word == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "--tensors --names --tree --header --metadata --print --stats --hash --check --base --diff
      --filter --sort --dequantize --fail-on --part --combine --dry-run --map --rtol --atol --ignore-dtype --json --null --threads --progress --no-progress --color
      --quiet --verbose --help --version" -- "$word")
  else
    mapfile -t COMPREPLY < <(compgen -f -- "$word")
  fi
}
complete -o filenames -F _st_inspect st-inspect
