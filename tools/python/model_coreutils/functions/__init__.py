# SPDX-License-Identifier: Apache-2.0
"""One module a program. All but this file is made by tools/python/make-functions."""

from .card_gen import card_facts, card_gen, card_lint
from .ckpt_prune import ckpt_prune
from .hub_push import hub_push
from .lora_extract import lora_extract
from .st_inspect import st_inspect
from .st_pack import st_pack

__all__ = ["card_facts", "card_gen", "card_lint", "ckpt_prune", "hub_push", "lora_extract", "st_inspect", "st_pack"]
