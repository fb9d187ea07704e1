# SPDX-License-Identifier: Apache-2.0
_hub_push() {
  local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
  case $previous in
    --type | --repo-type) mapfile -t COMPREPLY < <(compgen -W "model dataset space" -- "$word"); return ;;
    --allow) mapfile -t COMPREPLY < <(compgen -W "secret private-key link ignored pickle name lfs-pointer torn large-file large-regular folder-size" -- "$word"); return ;;
    --part) mapfile -t COMPREPLY < <(compgen -W "auto" -- "$word"); return ;;
    --color) mapfile -t COMPREPLY < <(compgen -W "auto always never" -- "$word"); return ;;
  esac
  if [[ $word == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "--revision --type --repo-type --create-pr --private --no-private --no-create --endpoint --expect-parent --tag --link --prune-revisions
      --include --exclude --delete --all --follow-symlinks --allow --message --commit-message --description
      --commit-description --every --verify --limit-rate --timeout --max-wait --max-files-per-commit --part --insecure-http
      --dry-run --json --threads --progress --no-progress --color --quiet --verbose --help --version" -- "$word")
  else
    mapfile -t COMPREPLY < <(compgen -f -- "$word")
  fi
}
complete -o filenames -F _hub_push hub-push
