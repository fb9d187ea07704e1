# SPDX-License-Identifier: Apache-2.0
# Made by tools/python/make-functions from what card-gen prints with --dump-options; don't edit.
from __future__ import annotations

from typing import Literal, Optional, Union

from .._command import Command, Pairs, Paths, StrPath, Strings
from .._report import Report, Text

CARD_GEN = Command(
    "card-gen",
    "card_gen",
    operands="folder",
    flags="in_place check lint fix preview explain provenance strict quiet verbose",
    maybe="plot",
    values=(
        "base_from relation name repo license license_name license_link library pipeline_tag run method wandb comet "
        "trackio tensorboard citation source_revision style facts"
    ),
    lists="base language tag set dataset eval library_version author",
    files="base_from run eval plot facts",
)


def card_gen(
    folder: Optional[StrPath] = None,
    *,
    # Model
    base: Strings = (),
    base_from: Optional[StrPath] = None,
    relation: Optional[Literal["adapter", "finetune", "merge", "quantized"]] = None,
    name: Optional[str] = None,
    repo: Optional[str] = None,
    license: Optional[str] = None,
    license_name: Optional[str] = None,
    license_link: Optional[str] = None,
    language: Strings = (),
    tag: Strings = (),
    library: Optional[str] = None,
    pipeline_tag: Optional[str] = None,
    set: Pairs = (),
    # Training
    dataset: Strings = (),
    run: Optional[StrPath] = None,
    method: Optional[str] = None,
    wandb: Optional[str] = None,
    comet: Optional[str] = None,
    trackio: Optional[str] = None,
    tensorboard: Optional[str] = None,
    eval: Paths = (),
    library_version: Pairs = (),
    author: Strings = (),
    citation: Optional[str] = None,
    source_revision: Optional[str] = None,
    # Output
    in_place: bool = False,
    check: bool = False,
    lint: bool = False,
    fix: bool = False,
    style: Optional[Literal["full", "trl", "minimal"]] = None,
    plot: Union[bool, StrPath] = False,
    preview: bool = False,
    explain: bool = False,
    facts: Optional[StrPath] = None,
    provenance: bool = False,
    strict: bool = False,
    # Common
    quiet: bool = False,
    verbose: Union[bool, int] = False,
) -> Text:
    """Write the model card of a fine-tuned model, from its folder and options.

    Returns the card's text, or what check, lint and explain print. card_facts() and card_lint() return documents.

    Model:
      base             the base model (repeated: a merge of several)
      base_from        hf://owner/name or folder with the base's card
      relation         adapter, finetune, merge or quantized
      name             title (default: the repository's or folder's name)
      repo             where it will be published; used in the snippets
      license          the Hub's id of a licence, such as apache-2.0
      license_name     name of the licence, with license other
      license_link     address of the licence, with license other
      language         ISO 639 code
      tag              add a tag
      library          library_name, such as peft or transformers
      pipeline_tag     the task, such as text-generation
      set              set any other front matter key

    Training:
      dataset          a dataset it was trained on
      run              the checkpoint or run that shows the training
      method           a tag of TRL's trainers: sft, dpo, grpo …
      wandb            the run at Weights & Biases
      comet            the run at Comet
      trackio          the run at Trackio
      tensorboard      the run's TensorBoard
      eval             results of lm-eval or a trainer
      library_version  a library version that was used
      author           who made it
      citation         a BibTeX entry for the model
      source_revision  commit of the training code

    Output:
      in_place         update FOLDER/README.md, keep what people wrote
      check            report where card and folder disagree (ok is False)
      lint             judge FILE (README.md) as the Hub would
      fix              fix what is safe to fix
      style            full (default), trl or minimal
      plot             write the loss curve as an SVG (loss.svg)
      preview          draw the loss curve among the messages
      explain          print each fact and its source instead of a card
      facts            add facts from st-inspect --json (FILE)
      provenance       add the SHA-256 of the weights (reads all of them)
      strict           raise PartlyDone when a fact is unknown

    Common:
      quiet            errors only
      verbose          print more

    Example: card_gen("out", in_place=True, base="owner/name", dataset="owner/data")
    See card-gen(1).
    """
    return CARD_GEN.text(locals())


CARD_FACTS = Command(
    "card-gen",
    "card_facts",
    operands="folder",
    flags="provenance strict quiet verbose",
    values=(
        "base_from relation name repo license license_name license_link library pipeline_tag run method wandb comet "
        "trackio tensorboard citation source_revision facts"
    ),
    lists="base language tag set dataset eval library_version author",
    files="base_from run eval facts",
)


def card_facts(
    folder: Optional[StrPath] = None,
    *,
    # Model
    base: Strings = (),
    base_from: Optional[StrPath] = None,
    relation: Optional[Literal["adapter", "finetune", "merge", "quantized"]] = None,
    name: Optional[str] = None,
    repo: Optional[str] = None,
    license: Optional[str] = None,
    license_name: Optional[str] = None,
    license_link: Optional[str] = None,
    language: Strings = (),
    tag: Strings = (),
    library: Optional[str] = None,
    pipeline_tag: Optional[str] = None,
    set: Pairs = (),
    # Training
    dataset: Strings = (),
    run: Optional[StrPath] = None,
    method: Optional[str] = None,
    wandb: Optional[str] = None,
    comet: Optional[str] = None,
    trackio: Optional[str] = None,
    tensorboard: Optional[str] = None,
    eval: Paths = (),
    library_version: Pairs = (),
    author: Strings = (),
    citation: Optional[str] = None,
    source_revision: Optional[str] = None,
    # Output
    facts: Optional[StrPath] = None,
    provenance: bool = False,
    strict: bool = False,
    # Common
    quiet: bool = False,
    verbose: Union[bool, int] = False,
) -> Report:
    """The facts that card_gen() makes a card of.

    Model:
      base             the base model (repeated: a merge of several)
      base_from        hf://owner/name or folder with the base's card
      relation         adapter, finetune, merge or quantized
      name             title (default: the repository's or folder's name)
      repo             where it will be published; used in the snippets
      license          the Hub's id of a licence, such as apache-2.0
      license_name     name of the licence, with license other
      license_link     address of the licence, with license other
      language         ISO 639 code
      tag              add a tag
      library          library_name, such as peft or transformers
      pipeline_tag     the task, such as text-generation
      set              set any other front matter key

    Training:
      dataset          a dataset it was trained on
      run              the checkpoint or run that shows the training
      method           a tag of TRL's trainers: sft, dpo, grpo …
      wandb            the run at Weights & Biases
      comet            the run at Comet
      trackio          the run at Trackio
      tensorboard      the run's TensorBoard
      eval             results of lm-eval or a trainer
      library_version  a library version that was used
      author           who made it
      citation         a BibTeX entry for the model
      source_revision  commit of the training code

    Output:
      facts            add facts from st-inspect --json (FILE)
      provenance       add the SHA-256 of the weights (reads all of them)
      strict           raise PartlyDone when a fact is unknown

    Common:
      quiet            errors only
      verbose          print more

    Example: card_facts("out")["facts"]
    See card-gen(1).
    """
    return CARD_FACTS.report(locals())


CARD_LINT = Command(
    "card-gen",
    "card_lint",
    operands="file",
    flags="fix quiet verbose",
    fixed="--lint",
)


def card_lint(
    file: StrPath = "README.md",
    *,
    # Output
    fix: bool = False,
    # Common
    quiet: bool = False,
    verbose: Union[bool, int] = False,
) -> Report:
    """Judge a card as the Hub would.

    Output:
      fix      fix what is safe to fix

    Common:
      quiet    errors only
      verbose  print more

    Example: card_lint("out/README.md").ok
    See card-gen(1).
    """
    return CARD_LINT.report(locals())
