# SPDX-License-Identifier: Apache-2.0
# ckpt-prune: whose checkpoints lie in a folder, and the layouts of other trainers.
load helper
load ckpt

@test "two runs in one folder: the rules are for the one saved last, the other keeps its newest and its best" {
  run_of 100 200 300 400 500
  for step in 100 200 300 400 500; do log_of $step '{"loss": 2.0, "step": 50}'; done
  # Times alone say nothing: they are lost in copying.
  touch run/checkpoint-100/trainer_state.json
  expect 0 ckpt-prune -n --keep 2 run
  [ -z "$stderr" ]
  has output "keep    checkpoint-400"
  for step in 100 200; do
    log_of $step '{"loss": NaN, "step": 50}'
    touch run/checkpoint-$step/trainer_state.json
  done
  sed -i 's/"best_model_checkpoint": null/"best_model_checkpoint": "checkpoint-300\/"/' run/checkpoint-500/trainer_state.json
  touch -d "2026-01-01 + 500 hours" run/checkpoint-500/trainer_state.json
  expect 0 ckpt-prune --max-total 1TB run
  [ -z "$stderr" ]
  expect 0 ckpt-prune --keep 1 run
  has stderr "2 runs in one folder: the log of checkpoint-500 shows that it belongs to another run than checkpoint-200, which was saved last (3 checkpoints of that run)"
  [ "$(steps)" = "200 300 500" ]
  expect 1 ckpt-prune -q --max-total 1KB run
  [ "$(steps)" = 200 ]
}

@test "trackers: what the trainer calls its last stays, and newer ones wait for it" {
  run_of 100 200 300 400
  echo checkpoint-200 > run/latest
  touch -d "2026-01-01 + 401 hours" run/latest
  expect 0 ckpt-prune --keep 1 run
  [ "$(steps)" = "200 300 400" ]
  touch -d "2026-01-01 + 300 hours" run/latest
  run_of 100
  expect 0 ckpt-prune --keep 1 run
  has stderr "latest is stale: checkpoint-400 was saved 4d 4h after it last changed"
  [ "$(steps)" = "200 400" ]
  run_of 100
  echo /elsewhere/checkpoint-200 > run/latest
  expect 0 ckpt-prune --keep 1 run
  has stderr "latest names '/elsewhere/checkpoint-200', which is not a complete checkpoint here"
  [ "$(steps)" = 400 ]
}

@test "by pattern: files of Lightning and plain torch, folders of others" {
  mkdir -p run/others
  for epoch in 1 2 3; do
    cp "$FIXTURES/full-run/checkpoint-40/scheduler.pt" "run/epoch=$epoch-step=${epoch}00-val_loss=0.$((4 - epoch)).ckpt"
    mkdir "run/step_$epoch"
    cp "$FIXTURES/full-run/checkpoint-40/model.safetensors" "run/step_$epoch"
  done
  find run -exec touch -d 2026-01-01 {} +
  ln -s "epoch=1-step=100-val_loss=0.3.ckpt" run/last.ckpt
  expect 0 ckpt-prune -q --keep 1 --pattern 'epoch=*.ckpt' run
  [ "$(ls -d run/*=*.ckpt | wc -l)" = 3 ]  # the trainer's link has not come to the newer ones yet
  touch -hd 2025-12-31 run/last.ckpt       # it never will
  expect 0 ckpt-prune -q --keep 1 --pattern 'epoch=*.ckpt' run
  [ "$(ls run)" = $'epoch=1-step=100-val_loss=0.3.ckpt\nepoch=3-step=300-val_loss=0.1.ckpt\nlast.ckpt\nothers\nstep_1\nstep_2\nstep_3' ]
  head -c 100 run/epoch=3*.ckpt > cut && cat cut > run/epoch=3*.ckpt
  expect 0 ckpt-prune --pattern 'epoch=*.ckpt' --list run
  has output "the file is cut"
  expect 0 ckpt-prune -q --keep-best 1 --metric val_loss --pattern 'epoch=*.ckpt' run
  expect 0 ckpt-prune -q --keep 2 --pattern 'step_*' run
  [ "$(ls -d run/step_*)" = $'run/step_2\nrun/step_3' ]
  expect 2 ckpt-prune --keep 1 --pattern '*' run
}

@test "by pattern: what is not a checkpoint is left alone and named, the best too" {
  mkdir -p run/step_400 run/step_50
  for step in 100 200 300; do cp "$FIXTURES/full-run/checkpoint-40/optimizer.pt" "run/step_$step.pt"; done
  cp run/step_300.pt run/step_best.pt
  echo '{"loss": 1}' > run/step_500.jsonl
  touch run/step_50/notes.txt
  find run -exec touch -d 2026-01-01 {} +
  touch -d 2026-02-01 run/step_best.pt run/step_400
  expect 0 ckpt-prune --keep 1 --pattern 'step_*' run
  [ "$(ls run | paste -sd' ')" = "step_300.pt step_400 step_50 step_500.jsonl step_best.pt" ]
  has stderr "left alone, neither weights nor training state: step_400, step_50, step_500.jsonl"
  has stderr "left alone, no number in the name, unlike the others: step_best.pt"
  expect 0 ckpt-prune -q --keep 1 --pattern 'step_*' run
  [ -z "$stderr" ]
}

@test "folders of accelerate and diffusers are complete, and torn ones are reported" {
  for step in 500 1000 1500; do
    mkdir -p run/checkpoint-$step/unet
    cp "$FIXTURES/full-run/checkpoint-40/model.safetensors" run/checkpoint-$step/unet/diffusion_pytorch_model.safetensors
    for name in optimizer.bin scheduler.bin random_states_0.pkl; do cp "$FIXTURES/full-run/checkpoint-40/scheduler.pt" run/checkpoint-$step/$name; done
    find run/checkpoint-$step -exec touch -d "2026-01-01 + $step hours" {} +
  done
  expect 0 ckpt-prune --torn remove run
  [ "$(steps)" = "500 1000 1500" ]
  head -c 1000 "$FIXTURES/full-run/checkpoint-40/model.safetensors" > run/checkpoint-1500/unet/diffusion_pytorch_model.safetensors
  find run/checkpoint-1500 -exec touch -d 2026-03-10 {} +
  expect 0 ckpt-prune --keep 1 run
  [ "$(steps)" = "1000 1500" ]
  has stderr "run/checkpoint-1500: torn: unet/diffusion_pytorch_model.safetensors: "
}

@test "checkpoints below, or under other names, are hinted at" {
  run_of 100 200
  mkdir -p hpo verl deep/a
  mv run hpo/run-0
  expect 0 ckpt-prune --keep 1 hpo
  [ "$stderr" = "ckpt-prune: hpo: no checkpoint found, but run-0 below holds some (--recursive)" ]
  expect 0 ckpt-prune -q --keep 1 hpo
  [ -z "$stderr" ]
  mkdir verl/global_step_20 deep/a/iter_0000100
  expect 0 ckpt-prune --keep 1 verl
  has stderr "global_step_20 looks like one (--pattern 'global_step_*')"
  expect 0 ckpt-prune --keep 1 --recursive verl
  has stderr "--pattern 'global_step_*'"
  expect 0 ckpt-prune --keep 1 deep
  has stderr "a/iter_0000100 looks like one (--recursive --pattern 'iter_*')"
  expect 0 ckpt-prune --keep 1 --pattern 'step_*' hpo/run-0
  has stderr "checkpoint-100 looks like one (without --pattern)"
  # A young run has nothing yet, and nothing is said.
  mkdir young
  touch young/train.log
  expect 0 ckpt-prune --keep 1 young
  [ -z "$stderr" ]
}

@test "what staging left: named with --torn, touched by remove and aside alone" {
  run_of 100 200
  cp -r run/checkpoint-200 run/tmp-checkpoint-300
  find run -exec touch -d 2026-01-01 {} +
  expect 0 ckpt-prune --keep 2 run
  [ -z "$stderr" ]
  expect 0 ckpt-prune --keep 2 --torn keep run
  has stderr "run/tmp-checkpoint-300: left behind by a save that was cut off"
  touch run/tmp-checkpoint-300
  expect 0 ckpt-prune --torn remove run
  [ -d run/tmp-checkpoint-300 ]
  touch -d 2026-01-01 run/tmp-checkpoint-300
  expect 0 ckpt-prune --keep 1 --torn remove run
  has stderr "removed 2 checkpoints"
  [ "$(ls run)" = checkpoint-200 ]
}
