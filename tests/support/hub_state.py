"""What the loopback Hub holds: repositories, uploads, and failures to come."""

import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from typing import Protocol


def sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass
class Repo:
    """All commits of a repository, newest last: (sha, message, {path: content})."""

    private: bool = False
    commits: list[tuple[str, str, dict[str, bytes]]] = field(default_factory=lambda: [("0" * 40, "initial commit", {})])
    heads: dict[str, str] = field(default_factory=lambda: {"main": "0" * 40})
    lfs: set[str] = field(default_factory=set)  # sha256 of what was uploaded as such

    @property
    def files(self) -> dict[str, bytes]:
        return self.files_at("main")

    def files_at(self, revision: str) -> dict[str, bytes]:
        state = self.at(revision)
        assert state is not None, f"no revision {revision}"
        return state[1]

    def at(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        sha = self.heads.get(revision, revision)
        return next(((known, files) for known, _, files in self.commits if known == sha), None)

    def commit(self, message: str, files: dict[str, bytes], branch: str = "main") -> str:
        state = json.dumps([len(self.commits), message, {path: sha1(files[path]) for path in sorted(files)}])
        self.commits.append((hashlib.sha1(state.encode()).hexdigest(), message, files))
        self.heads[branch] = self.commits[-1][0]
        return self.commits[-1][0]


@dataclass
class Failure:
    method: str
    path: str  # regular expression, searched for
    nth: int
    times: int
    status: int | None  # None: the connection is cut
    seen: int = 0

    def strikes(self, method: str, path: str) -> bool:
        if method != self.method or not re.search(self.path, path):
            return False
        self.seen += 1
        return self.nth <= self.seen < self.nth + self.times


class State(Protocol):
    """What the endpoints read and change."""

    url: str
    repos: dict[tuple[str, str], Repo]
    blobs: dict[str, bytes]
    requests: list[str]
    failures: list[Failure]
    lock: threading.RLock
