# SPDX-License-Identifier: Apache-2.0
"""Names that other libraries give to tensors, where a table of ours has to follow them."""
import pathlib
import re

from peft.mapping import PEFT_TYPE_TO_PREFIX_MAPPING

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_prefixes_of_adapters_are_those_of_peft():
    source = (ROOT / "lib/model/wrappers.cc").read_text()
    table = re.search(r"kPeftPrefixes = .*?\{(.*?)\}\);", source, re.DOTALL)[1]
    assert re.findall(r'"(\w+)"', table) == sorted(set(PEFT_TYPE_TO_PREFIX_MAPPING.values()))
