# SPDX-License-Identifier: Apache-2.0
_ckpt_prune() {
  local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
  case $previous in
    --torn) mapfile -t COMPREPLY < <(compgen -W "keep remove aside" -- "$word"); return ;;
    --paths) mapfile -t COMPREPLY < <(compgen -W "keep slim remove aside" -- "$word"); return ;;
    --color) mapfile -t COMPREPLY < <(compgen -W "auto always never" -- "$word"); return ;;
    --follow) mapfile -t COMPREPLY < <(compgen -d -- "$word"); return ;;
    --pin | --config) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
  esac
  if [[ $word == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "--keep --keep-last --keep-best --metric --min --max --keep-every --keep-epochs --keep-within --keep-step
      --follow --pin --keep-optimizer-last --max-total --min-free --torn --torn-age --trash --allow-unresumable
      --recursive --pattern --deep --config --list --paths --need --dry-run --json --null --threads --progress
      --no-progress --color --quiet --verbose --help --version" -- "$word")
  else
    mapfile -t COMPREPLY < <(compgen -d -- "$word")
  fi
}
complete -o filenames -F _ckpt_prune ckpt-prune
