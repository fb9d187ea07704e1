# SPDX-License-Identifier: Apache-2.0
"""Folders of models that consist of several: what sentence-transformers and diffusers save, and tokenizers' files."""
import pathlib

import processor_files


def test_the_table_of_tokenizer_and_processor_files_is_that_of_transformers():
    table = pathlib.Path(__file__).resolve().parents[2] / "lib/model/data/processor_files.txt"
    assert table.read_text() == processor_files.table()
