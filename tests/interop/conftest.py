# SPDX-License-Identifier: Apache-2.0
"""Programs under test, and the folders to test them on."""
import os
import pathlib
import subprocess

import pytest

# huggingface_hub reads these when it is imported, so they must be set before any suite imports it.
os.environ.update(HF_HUB_DISABLE_XET="1", HF_HUB_DISABLE_TELEMETRY="1", HF_HUB_DISABLE_IMPLICIT_TOKEN="1")

FIXTURES = pathlib.Path(__file__).resolve().parents[1] / "fixtures"
BIN_DIR = pathlib.Path(os.environ["BIN_DIR"])


def pytest_configure(config):
    config.addinivalue_line("markers", "full: more of the same kind, only run by make interop-all")


@pytest.fixture
def fixtures():
    return FIXTURES


@pytest.fixture
def run():
    """Runs a program and returns its result; `code` is the exit status that is expected (None: any)."""

    def call(program, *arguments, code=0):
        result = subprocess.run([BIN_DIR / program, *map(str, arguments)], capture_output=True)
        assert code is None or result.returncode == code, result.stderr.decode()
        return result

    return call


@pytest.fixture
def hub():
    """The local Hub."""
    from hub_fixture import Hub

    with Hub("--lfs-threshold", "8000") as hub:
        yield hub


@pytest.fixture(scope="session")
def offline(tmp_path_factory):
    """Runs code without a network, as `python -c` does."""
    from offline import Offline

    offline = Offline(tmp_path_factory.mktemp("offline"))
    yield offline
    offline.stop()


@pytest.fixture(scope="session")
def trainers():
    """Starts training runs."""
    from trainer_fixture import Trainers

    trainers = Trainers()
    yield trainers
    trainers.stop()
