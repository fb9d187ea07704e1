# SPDX-License-Identifier: Apache-2.0
# Made by tools/python/make-functions from what hub-push prints with --dump-options; don't edit.
from __future__ import annotations

from typing import Optional, Union

from .._command import Command, StrPath, Strings
from .._report import Report

HUB_PUSH = Command(
    "hub-push",
    "hub_push",
    operands="local repo path_in_repo",
    flags="create_pr no_create link prune_revisions all follow_symlinks verify insecure_http dry_run quiet verbose",
    switches="private",
    values=(
        "revision type repo_type endpoint expect_parent tag message commit_message description commit_description "
        "every limit_rate max_wait timeout max_files_per_commit part threads"
    ),
    lists="include exclude delete allow",
)


def hub_push(
    local: StrPath,
    repo: str,
    path_in_repo: Optional[str] = None,
    *,
    # Where to
    revision: Optional[str] = None,
    type: Optional[str] = None,
    repo_type: Optional[str] = None,
    create_pr: bool = False,
    private: Optional[bool] = None,
    no_create: bool = False,
    endpoint: Optional[str] = None,
    expect_parent: Optional[str] = None,
    tag: Optional[str] = None,
    link: bool = False,
    prune_revisions: bool = False,
    # What
    include: Strings = (),
    exclude: Strings = (),
    delete: Strings = (),
    all: bool = False,
    follow_symlinks: bool = False,
    allow: Strings = (),
    message: Optional[str] = None,
    commit_message: Optional[str] = None,
    description: Optional[str] = None,
    commit_description: Optional[str] = None,
    # How
    every: Union[int, str, None] = None,
    verify: bool = False,
    limit_rate: Union[int, str, None] = None,
    max_wait: Union[int, str, None] = None,
    timeout: Union[int, str, None] = None,
    max_files_per_commit: Optional[int] = None,
    part: Optional[str] = None,
    insecure_http: bool = False,
    # Common
    dry_run: bool = False,
    threads: Optional[int] = None,
    quiet: bool = False,
    verbose: Union[bool, int] = False,
) -> Report:
    """Publish a model folder or file on the Hugging Face Hub.

    The token comes from HF_TOKEN or the file of `hf auth login`.

    Where to:
      revision              branch (main; made if missing) or refs/pr/N
      type                  model (default), dataset or space
      repo_type             the same as type
      create_pr             open a pull request, leave the branch alone
      private               make a new repository private
      no_create             never make a repository
      endpoint              another hub, or file://DIR for a cache folder
      expect_parent         fail unless the branch is at this commit
      tag                   tag the commit
      link                  with file://: hard links instead of copies
      prune_revisions       with file://: remove snapshots without a ref

    What:
      include               push only matching paths
      exclude               skip matching paths
      delete                delete matching paths there
      all                   push training state, too
      follow_symlinks       follow links to folders
      allow                 push in spite of this rule
      message               title of the commit
      commit_message        the same as message
      description           description of the commit
      commit_description    the same as description

    How:
      every                 every TIME, push the newest complete checkpoint; does not return
      verify                compare hashes after the push, print a manifest
      limit_rate            send at most SIZE a second
      max_wait              wait at most TIME for a failing hub (120s)
      timeout               give up a transfer that stalls for TIME (60s)
      max_files_per_commit  split larger pushes into several commits (20000)
      part                  store part I of N; a run without it commits
      insecure_http         allow the token over plain http

    Common:
      dry_run               print the plan and change nothing
      threads               requests at once (default: 8)
      quiet                 errors only
      verbose               print more

    Example: hub_push("out", "user/repo", private=True)["url"]
    See hub-push(1).
    """
    return HUB_PUSH.report(locals())
