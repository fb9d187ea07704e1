# SPDX-License-Identifier: Apache-2.0
"""Single members of a wheel on PyPI, read by ranges: a server's wheel has hundreds of MB, and a test wants a few of its
modules. They are kept in the user's cache by version, and their hashes are those of the wheel's RECORD, whose own is
given."""
import base64
import csv
import hashlib
import io
import json
import os
import pathlib
import shutil
import tempfile
import urllib.request
import zipfile

CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "modelutils"
TIMEOUT = 60  # seconds


class Unavailable(Exception):
    """The network does not give it."""


class RemoteFile(io.RawIOBase):
    """A file behind a server that answers to ranges."""

    def __init__(self, url):
        self.url, self.at = url, 0
        self.size = int(self.range(0, 0).headers["Content-Range"].rpartition("/")[2])

    def range(self, first, last):
        request = urllib.request.Request(self.url, headers={"Range": f"bytes={first}-{last}"})
        answer = urllib.request.urlopen(request, timeout=TIMEOUT)
        if answer.status != 206:
            answer.close()
            raise Unavailable(f"{self.url}: the server sends only the whole file")
        return answer

    def readable(self):
        return True

    def seekable(self):
        return True

    def seek(self, offset, whence=os.SEEK_SET):
        self.at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self.at, os.SEEK_END: self.size}[whence]
        return self.at

    def tell(self):
        return self.at

    def readinto(self, buffer):
        last = min(self.at + len(buffer), self.size) - 1
        if last < self.at:
            return 0
        with self.range(self.at, last) as answer:
            data = answer.read()
        buffer[: len(data)] = data
        self.at += len(data)
        return len(data)


def find_url(project, wheel):
    index = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/")
    request = urllib.request.Request(f"{index}/{project}/", headers={"Accept": "application/vnd.pypi.simple.v1+json"})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        files = json.load(answer)["files"]
    return next(file["url"] for file in files if file["filename"] == wheel)


def members(project, version, tags, record, wanted):
    """The folder that holds the members of the wheel for which `wanted` is true. `record` is the SHA-256 of its RECORD."""
    folder = CACHE / f"{project}-{version}-{record[:16]}"
    if folder.is_dir():
        return folder
    CACHE.mkdir(parents=True, exist_ok=True)
    stage = pathlib.Path(tempfile.mkdtemp(dir=CACHE))
    try:
        url = find_url(project, f"{project}-{version}-{tags}.whl")
        with zipfile.ZipFile(io.BufferedReader(RemoteFile(url), 1 << 20)) as wheel:
            listed = wheel.read(f"{project}-{version}.dist-info/RECORD")
            found = hashlib.sha256(listed).hexdigest()
            assert found == record, f"{url}: the SHA-256 of its RECORD is {found}"
            for name, digest, _ in csv.reader(io.StringIO(listed.decode())):
                if not wanted(name):
                    continue
                data = wheel.read(name)
                expected = "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
                assert digest == expected, f"{url}: {name} is not the file of its RECORD"
                path = stage / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
        try:
            stage.rename(folder)
        except OSError:  # another run was quicker
            shutil.rmtree(stage)
        return folder
    except (OSError, KeyError, StopIteration, ValueError, zipfile.BadZipFile) as error:
        shutil.rmtree(stage, ignore_errors=True)
        raise Unavailable(f"{project} {version}: {error}") from error
    except BaseException:
        shutil.rmtree(stage, ignore_errors=True)
        raise
