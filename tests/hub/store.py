"""What the Hub of these tests holds: repositories with their commits, users, bytes, and the faults that it is told to have."""

import hashlib
import itertools
import re
import threading
from dataclasses import dataclass, field


LARGE_SUFFIXES = (".safetensors", ".bin", ".gguf", ".pt", ".png")
EMPTY_REPO = {".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"}


@dataclass
class Fault:
    """What happens to the next `times` requests of `method` whose path matches `path`, after `skip` that go through.

    Exactly one of: `status` is answered, with `headers`; the answer is cut after `answer_bytes` of its body; the connection is cut
    after `request_bytes` of the request's body; the request is carried out and its answer lost (`lose_answer`).
    """

    method: str
    path: str
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    answer_bytes: int | None = None
    request_bytes: int | None = None
    lose_answer: bool = False
    times: float = 1
    skip: int = 0


@dataclass(frozen=True)
class Entry:
    """A file of a commit: its bytes are `Hub.blobs[sha256]`."""

    sha256: str
    size: int
    large: bool
    git_oid: str


@dataclass
class Repo:
    private: bool
    commits: dict[str, dict[str, Entry]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    log: list[tuple[str, str]] = field(default_factory=list)


class HubError(Exception):
    def __init__(self, status: int, code: str, message: str):
        super().__init__(message)
        self.status, self.code = status, code


def git_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Store:
    """Repositories, users and bytes.

    `users` maps a token to the names that it may write under; `requests` lists what was asked, as (method, path), and
    `authorizations` the header of each, so that a test can see where a token went.
    """

    def __init__(self):
        self.users = {"hf_" + "alice".ljust(34, "x"): ["alice", "lab"], "hf_" + "bob".ljust(34, "x"): ["bob"]}
        self.repos: dict[str, Repo] = {}
        self.blobs: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str]] = []
        self.authorizations: list[tuple[str, str | None]] = []
        self.lock = threading.RLock()
        self.counter = itertools.count()

    @property
    def token(self) -> str:
        return next(iter(self.users))

    # ----------------------------------------------------------------------------------------------- what tests read

    def files(self, repo_id: str, revision: str = "main") -> dict[str, bytes]:
        """Every file of a revision with its bytes."""
        repo = self.repos[repo_id]
        return {path: self.blobs[entry.sha256] for path, entry in repo.commits[repo.branches[revision]].items()}

    def asked(self, method: str, pattern: str) -> int:
        return sum(1 for verb, path in self.requests if verb == method and re.search(pattern, path))

    # ------------------------------------------------------------------------------------------------- repositories

    def create(self, repo_id: str, private: bool = False) -> Repo:
        repo = self.repos[repo_id] = Repo(private)
        self.store(repo, "main", {path: self.entry(content) for path, content in EMPTY_REPO.items()}, "initial commit")
        return repo

    def entry(self, content: bytes, large: bool = False) -> Entry:
        sha256 = hashlib.sha256(content).hexdigest()
        self.blobs[sha256] = content
        return Entry(sha256, len(content), large, git_oid(content))

    def store(self, repo: Repo, branch: str, files: dict[str, Entry], summary: str) -> str:
        oid = hashlib.sha1(f"{next(self.counter)} {sorted(files.items())}".encode()).hexdigest()
        repo.commits[oid] = dict(files)
        repo.branches[branch] = oid
        repo.log.append((branch, summary))
        return oid

    def put(self, repo_id: str, files: dict[str, bytes]) -> None:
        """Adds files behind the protocol's back, as another person's push would."""
        repo = self.repos.get(repo_id) or self.create(repo_id)
        added = {path: self.entry(content, path.endswith(LARGE_SUFFIXES)) for path, content in files.items()}
        self.store(repo, "main", {**repo.commits[repo.branches["main"]], **added}, "put")
