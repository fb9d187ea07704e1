# SPDX-License-Identifier: Apache-2.0
# Runs made of copies of a real checkpoint.

# run_of STEP...: ./run with copies of a real checkpoint under these steps, an hour apart and old enough.
run_of() {
  mkdir -p run
  for step in "$@"; do
    cp -r "$FIXTURES/full-run/checkpoint-40" "run/checkpoint-$step"
    sed -i "s/\"global_step\": 40/\"global_step\": $step/; s/^  \"best_model_checkpoint\": .*/  \"best_model_checkpoint\": null,/" \
      "run/checkpoint-$step/trainer_state.json"
    find "run/checkpoint-$step" -exec touch -d "2026-01-01 + $step hours" {} +
  done
}

log_of() { # log_of STEP ENTRIES: the log of a checkpoint
  printf '{"best_model_checkpoint": null, "epoch": 1.0, "global_step": %s, "log_history": [%s]}\n' "$@" > "run/checkpoint-$1/trainer_state.json"
  touch -d "2026-01-01 + $1 hours" "run/checkpoint-$1/trainer_state.json" "run/checkpoint-$1"
}

tear() { head -c 1000 "$FIXTURES/full-run/checkpoint-40/model.safetensors" > "run/checkpoint-$1/model.safetensors"; touch -d 2026-01-01 "run/checkpoint-$1/model.safetensors"; }

steps() { (cd run && ls -d checkpoint-* 2> /dev/null | sed 's/checkpoint-//' | sort -n | paste -sd' '); }

as_nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }
