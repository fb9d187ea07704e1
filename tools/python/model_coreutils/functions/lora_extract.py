# SPDX-License-Identifier: Apache-2.0
# Made by tools/python/make-functions from what lora-extract prints with --dump-options; don't edit.
from __future__ import annotations

from typing import Literal, Optional, Union

from .._command import Command, StrPath, Strings
from .._report import Report

LORA_EXTRACT = Command(
    "lora-extract",
    "lora_extract",
    operands="checkpoint",
    flags="weights_only force verify compare dry_run quiet verbose",
    values=(
        "output dtype base_id for_ adapter alpha resize base tuned rank max_rank embeddings bias svd tolerance kernel "
        "part fingerprint max_wait limit_rate connections threads"
    ),
    lists="target exclude full_modules",
    files="output base tuned",
)


def lora_extract(
    *checkpoint: StrPath,
    # Output
    output: Optional[StrPath] = None,
    dtype: Optional[str] = None,
    base_id: Optional[str] = None,
    weights_only: bool = False,
    force: bool = False,
    verify: bool = False,
    for_: Optional[Literal["peft", "vllm", "sglang"]] = None,
    # From a checkpoint or adapter
    adapter: Optional[str] = None,
    alpha: Optional[float] = None,
    resize: Optional[int] = None,
    compare: bool = False,
    # Between two models
    base: Optional[StrPath] = None,
    tuned: Optional[StrPath] = None,
    rank: Union[int, str, None] = None,
    max_rank: Optional[int] = None,
    target: Strings = (),
    exclude: Strings = (),
    embeddings: Optional[Literal["skip", "lora", "full"]] = None,
    bias: Optional[Literal["none", "all"]] = None,
    full_modules: Strings = (),
    svd: Optional[Literal["fast", "exact"]] = None,
    tolerance: Optional[float] = None,
    kernel: Optional[Literal["auto", "avx512", "avx2", "neon", "baseline"]] = None,
    part: Optional[str] = None,
    fingerprint: Optional[Literal["time", "content"]] = None,
    # Common
    max_wait: Union[int, str, None] = None,
    limit_rate: Union[int, str, None] = None,
    connections: Optional[int] = None,
    dry_run: bool = False,
    threads: Optional[int] = None,
    quiet: bool = False,
    verbose: Union[bool, int] = False,
) -> Report:
    """Take the LoRA adapter out of a checkpoint, or find it between two models.

    Takes a checkpoint, or base and tuned; with compare two adapters; with for_ also base and a checkpoint.

    Output:
      output        the folder to write
      dtype         bf16, f16 or f32 (default: as they are)
      base_id       the base model that adapter_config.json names
      weights_only  leave out tokenizer and chat template
      force         replace what exists
      verify        read the output again and compare it
      for_          the form for peft, vllm or sglang; with base

    From a checkpoint or adapter:
      adapter       which adapter, where there are several
      alpha         lora_alpha, where no config has it
      resize        write ADAPTER at rank N
      compare       report how far apart two adapters are

    Between two models:
      base          the model before training, or that of for_
      tuned         the model after training
      rank          64; auto: as many as rise above the noise
      max_rank      limit of auto and energy (128)
      target        only matching modules
      exclude       skip matching modules
      embeddings    skip (default), lora or full
      bias          include biases (default: none)
      full_modules  include matching modules whole
      svd           how close to the optimum (fast: within 0.25 %)
      tolerance     ok is False where a module's error is above X
      kernel        auto, avx512, avx2, neon or baseline
      part          do part I of N; a run without it finishes
      fingerprint   how parts know the models: time (default), content

    Common:
      max_wait      wait at most TIME for a failing hub (120s)
      limit_rate    receive at most SIZE a second
      connections   requests at once (default: 4 to 16)
      dry_run       print the plan and change nothing
      threads       threads (default: all)
      quiet         errors only
      verbose       print more

    Example: lora_extract("checkpoint-500", output="adapter")
    See lora-extract(1).
    """
    return LORA_EXTRACT.report(locals())
