# SPDX-License-Identifier: Apache-2.0
"""How a typed program uses the package. tests/lint/types checks it with mypy --strict; it is never run. What must be
refused is marked, and mypy reports a mark that is not needed."""

from pathlib import Path
from typing import List, Tuple

import model_coreutils as mc


def publish(checkpoint: Path, repo: str) -> str:
    packed: mc.Report = mc.st_pack(checkpoint, output=Path("out"), dtype="bf16", select=["*.weight"], metadata={"step": 40})
    card: str = mc.card_gen("out", in_place=True, base=("a/b", "c/d"), style="minimal", plot=True)
    ok: bool = packed.ok and mc.st_inspect("out", check="hub", threads=2).ok and bool(card)
    said: Tuple[str, ...] = packed.messages
    try:
        url: str = mc.hub_push("out", repo, private=True, exclude="*.log", every=None, max_wait="2m")["url"]
    except mc.PartlyDone as partly:
        return str(partly.report["url"])
    except (mc.TemporaryFailure, mc.RemoteRefused) as error:
        return f"{error.program} {error.code}: {error.message}"
    return url if ok else said[-1]


def prune(runs: List[Path]) -> mc.Report:
    return mc.ckpt_prune(*runs, keep=3, keep_best=1, keep_step=[100, 200], pin=[5, "pins"], max_total="2TB", torn="aside", dry_run=True)


def callbacks() -> List[object]:
    return [mc.PruneCallback(keep=3, keep_best=1), mc.PushCallback("ada/tiny", every="30m")]


def wrong() -> None:
    mc.PushCallback()  # type: ignore[call-arg]
    mc.st_pack("in")  # type: ignore[call-arg]
    mc.st_pack("in", output="out", forse=True)  # type: ignore[call-arg]
    mc.st_inspect("in", check="everything")  # type: ignore[arg-type]
    mc.ckpt_prune("run", keep="three")  # type: ignore[arg-type]
    mc.lora_extract(base="a", tuned="b", output="c", svd="slow")  # type: ignore[arg-type]
