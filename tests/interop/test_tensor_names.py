# SPDX-License-Identifier: Apache-2.0
"""The table of tensor names that the programs hold says what the installed transformers does."""
import pathlib

import pytest
import transformers

import names_table

TABLE = pathlib.Path(__file__).resolve().parents[2] / "lib/model/data/tensor_names.txt"
# Experts in each spelling, joined projections, prefixes, scopes, groups, offsets.
SAMPLE = ["MixtralForCausalLM", "Qwen2MoeForCausalLM", "PhimoeForCausalLM", "GraniteMoeForCausalLM", "JambaForCausalLM", "NemotronHForCausalLM", "LagunaForCausalLM",
          "Qwen2_5_VLForConditionalGeneration", "LlavaForConditionalGeneration", "LlavaModel", "Gemma3ForConditionalGeneration", "InternVLForConditionalGeneration",
          "GPTNeoXForCausalLM", "NomicBertModel", "ViTForImageClassification", "Inkling2ForCausalLM"]


def words(text):
    return text.split(" ") if text else []


@pytest.fixture(scope="module")
def table():
    lines = {}
    for line in TABLE.read_text().splitlines():
        kind, key, *fields = line.split("\t")
        lines.setdefault(kind, {})[key] = fields
    return lines


@pytest.mark.parametrize("name", SAMPLE)
def test_a_class_is_as_the_library_has_it(table, name):
    entry = names_table.describe(getattr(transformers, name))
    kind, rules, side, auto = table["class"][name]
    assert (kind, auto) == (entry["model_type"], "auto" if entry["auto"] else "never")
    for numbers, way in zip(table["set"][rules], ("save", "load")):
        assert ["\t".join(table["rule"][number]) for number in words(numbers)] == [names_table.rule_line(rule) for rule in entry["rules"][way]]
    memory, published = table["side"][side] if side != "-" else ("", "")
    assert {"memory": words(memory), "published": words(published)} == entry.get("sides", {"memory": [], "published": []})


def test_version_and_what_peft_converts(table):
    assert transformers.__version__ in table["transformers"]
    assert {kind: fields[0].split() for kind, fields in table["peft"].items()} == names_table.taken_for_experts()


@pytest.mark.full
def test_every_class(table):
    assert names_table.table_text(names_table.derive()) == TABLE.read_text(), "make it anew: tests/interop/names_table.py"
