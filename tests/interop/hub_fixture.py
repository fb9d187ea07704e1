# SPDX-License-Identifier: Apache-2.0
"""Starts the local test Hub and makes its admin calls."""
import json
import os
import pathlib
import subprocess
import urllib.request

BINARY = pathlib.Path(os.environ.get("TEST_HUB", pathlib.Path(os.environ["BIN_DIR"]) / "../tests/hub/test_hub"))


class Hub:
    def __init__(self, *options):
        self.process = subprocess.Popen([BINARY, "--port", "0", *options], stdout=subprocess.PIPE, text=True)
        words = dict(word.split("=", 1) for word in self.process.stdout.readline().split())
        self.url, self.storage = words["HUB"], words["STORAGE"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.process.terminate()
        code = self.process.wait(10)
        assert code == 0, code

    def admin(self, method, call, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/_admin/{call}", data=data, method=method)
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def fault(self, route, kind, **members):
        self.admin("POST", "fault", {"route": route, "kind": kind, **members})

    def log(self, **wanted):
        """The requests so far that have these members."""
        return [e for e in self.admin("GET", "log") if all(e[key] == value for key, value in wanted.items())]

    def forget(self):
        self.admin("DELETE", "log")

    def repo(self, repo_id, repo_type="model"):
        return self.admin("GET", f"repo?type={repo_type}&id={repo_id}")

    def files(self, repo_id, revision="main", repo_type="model"):
        """SHA-256 by path."""
        files = self.repo(repo_id, repo_type)["revisions"][revision]["files"]
        return {path: file["sha256"] for path, file in files.items()}

    def push(self, home, *arguments):
        """Runs hub-push into this Hub, with its own home."""
        env = {**os.environ, "HF_ENDPOINT": self.url, "HF_TOKEN": "hf_testwrite", "HOME": str(home), "no_proxy": "127.0.0.1"}
        env.pop("HF_HUB_DISABLE_IMPLICIT_TOKEN", None)
        return subprocess.run([pathlib.Path(os.environ["BIN_DIR"]) / "hub-push", *arguments], env=env, capture_output=True, text=True, check=True)
