"""A Hub on loopback: the part of the protocol that push and load use, over real HTTP, with real bytes and checked hashes.

It can be told to fail: `Hub.faults` holds what happens to the next requests that match.
"""

import base64
import hashlib
import json
import re
import socket
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import yaml
from tests.hub.store import LARGE_SUFFIXES, Fault, HubError, Repo, Store


class Hub(Store):
    """`with Hub() as hub:` serves a store at `hub.endpoint`."""

    def __enter__(self) -> "Hub":
        self.httpd = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"hub": self}))
        self.httpd.daemon_threads = True
        port = self.httpd.server_address[1]
        self.endpoint = f"http://127.0.0.1:{port}"
        # Bytes live under another origin, as on the real Hub: a token must not be sent there.
        self.storage = f"http://localhost:{port}"
        threading.Thread(target=self.httpd.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *exc):
        self.httpd.shutdown()
        self.httpd.server_close()


class ConnectionCutError(Exception):
    """The connection ends here, without an answer or in the middle of one."""


class Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"
    # Head and body of an answer are two packets, and the second would wait for the first to be acknowledged.
    disable_nagle_algorithm = True
    # (method, pattern) -> name of the function that answers; `repo` may hold one slash.
    ROUTES = [
        ("GET", r"/api/whoami-v2", "whoami"),
        ("POST", r"/api/repos/create", "create_repo"),
        ("POST", r"/api/validate-yaml", "validate_yaml"),
        ("POST", r"/api/(?:models|(?P<space>spaces))/(?P<repo>[^/]+/[^/]+)/preupload/(?P<revision>[^/]+)", "preupload"),
        ("POST", r"/api/(?:models|(?P<space>spaces))/(?P<repo>[^/]+/[^/]+)/commit/(?P<revision>[^/]+)", "commit"),
        ("POST", r"/api/(?:models|(?P<space>spaces))/(?P<repo>[^/]+/[^/]+)/branch/(?P<revision>[^/]+)", "create_branch"),
        ("POST", r"/(?:(?P<space>spaces)/)?(?P<repo>[^/]+/[^/]+)\.git/info/lfs/objects/batch", "lfs_batch"),
        ("PUT", r"/storage/(?P<oid>[0-9a-f]{64})", "lfs_put"),
        ("GET", r"/storage/(?P<oid>[0-9a-f]{64})", "lfs_get"),
        ("GET", r"/api/(?:models|(?P<space>spaces))/(?P<repo>[^/]+/[^/]+)", "model_info"),
        ("GET", r"/api/(?:models|(?P<space>spaces))/(?P<repo>[^/]+/[^/]+)/revision/(?P<revision>[^/]+)", "model_info"),
        ("GET", r"/api/(?:models|(?P<space>spaces))/(?P<repo>[^/]+/[^/]+)/tree/(?P<revision>[^/]+)(?:/(?P<path>.*))?", "tree"),
        ("GET", r"/(?:(?P<space>spaces)/)?(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)", "resolve"),
        ("HEAD", r"/(?:(?P<space>spaces)/)?(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)", "resolve"),
    ]

    def do_GET(self):
        self.answer()

    def do_HEAD(self):
        self.answer()

    def do_POST(self):
        self.answer()

    def do_PUT(self):
        self.answer()

    def log_message(self, *arguments):
        pass

    def answer(self) -> None:
        try:
            self.carry_out()
        except (ConnectionCutError, ConnectionError):
            self.close_connection = True
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

    def carry_out(self) -> None:
        self.fault = None
        self.body_read = False
        path = urlsplit(self.path).path
        try:
            with self.hub.lock:
                self.hub.requests.append((self.command, path))
                self.hub.authorizations.append((path, self.headers.get("Authorization")))
                self.fault = self.take_fault(path)
            if self.fault is not None and self.fault.status is not None:
                self.body()
                message = {"X-Error-Message": "told to fail"} | self.fault.headers
                # As a gateway does: a page where JSON is expected.
                self.send(self.fault.status, b"<html>told to fail</html>", message)
                return
            for method, pattern, name in self.ROUTES:
                match = re.fullmatch(pattern, path)
                if match and method == self.command:
                    values = {key: unquote(value or "") for key, value in match.groupdict().items()}
                    # A Space may have the name of a model.
                    if values.pop("space", ""):
                        values["repo"] = f"spaces/{values['repo']}"
                    getattr(self, name)(**values)
                    return
            raise HubError(404, "EntryNotFound", f"no such address: {self.command} {path}")
        except HubError as error:
            self.body()
            headers = {"X-Error-Code": error.code, "X-Error-Message": str(error)}
            self.send(error.status, json.dumps({"error": str(error)}).encode(), headers)

    def take_fault(self, path: str) -> Fault | None:
        for fault in self.hub.faults:
            if fault.method == self.command and re.search(fault.path, path) and fault.times > 0:
                if fault.skip:
                    fault.skip -= 1
                    continue
                fault.times -= 1
                return fault
        return None

    # ------------------------------------------------------------------------------------------------------ the wire

    def body(self) -> bytes:
        if self.body_read:
            return b""
        self.body_read = True
        limit = self.fault.request_bytes if self.fault is not None else None
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
                if limit is not None and sum(map(len, parts)) >= limit:
                    raise ConnectionCutError
            self.rfile.readline()
            content = b"".join(parts)
        else:
            size = int(self.headers.get("Content-Length", 0))
            content = self.rfile.read(size if limit is None else min(size, limit))
        if limit is not None:
            raise ConnectionCutError
        return content

    def send(self, status: int, content: bytes = b"", headers: dict[str, str] | None = None) -> None:
        if self.fault is not None and self.fault.lose_answer:
            raise ConnectionCutError
        self.send_response(status)
        headers = {"Content-Length": str(len(content)), **(headers or {})}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.fault is not None and self.fault.answer_bytes is not None:
            self.wfile.write(content[: self.fault.answer_bytes])
            self.wfile.flush()
            raise ConnectionCutError
        self.wfile.write(content)

    def send_json(self, content, status: int = 200) -> None:
        self.send(status, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def send_bytes(self, content: bytes, headers: dict[str, str]) -> None:
        """The content, or the part that a `Range: bytes=N-` asks for."""
        start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if start is None:
            self.send(200, content, headers)
            return
        first = int(start[1])
        place = {"Content-Range": f"bytes {first}-{len(content) - 1}/{len(content)}"}
        self.send(206, content[first:], headers | place)

    # --------------------------------------------------------------------------------------------------- who may what

    def names(self) -> list[str]:
        """The names that the request's token may write under; none without a token."""
        header = self.headers.get("Authorization")
        if header is None:
            return []
        names = self.hub.users.get(header.removeprefix("Bearer "))
        if names is None:
            raise HubError(401, "InvalidToken", "Invalid credentials in Authorization header")
        return names

    def readable(self, repo_id: str) -> Repo:
        names = self.names()
        repo = self.hub.repos.get(repo_id)
        if repo is None or (repo.private and repo_id.split("/")[-2] not in names):
            # The Hub does not tell a stranger whether a private repository exists.
            raise HubError(404 if names else 401, "RepoNotFound", "Repository not found")
        return repo

    def writable(self, repo_id: str) -> Repo:
        names = self.names()
        if not names:
            raise HubError(401, "Unauthorized", "Invalid username or password.")
        repo = self.readable(repo_id)
        if repo_id.split("/")[-2] not in names:
            raise HubError(403, "Forbidden", f"You don't have the rights to write to {repo_id}")
        return repo

    def commit_of(self, repo: Repo, revision: str) -> str:
        oid = repo.branches.get(revision, revision)
        if oid not in repo.commits:
            raise HubError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return oid

    # -------------------------------------------------------------------------------------------------------- writing

    def whoami(self) -> None:
        names = self.names()
        if not names:
            raise HubError(401, "Unauthorized", "Invalid username or password.")
        orgs = [{"name": name, "type": "org"} for name in names[1:]]
        self.send_json({"type": "user", "name": names[0], "orgs": orgs, "auth": {"type": "access_token"}})

    def create_repo(self) -> None:
        names = self.names()
        asked = json.loads(self.body())
        if not names:
            raise HubError(401, "Unauthorized", "Invalid username or password.")
        owner = asked.get("organization") or names[0]
        repo_id = f"{'spaces/' if asked.get('type') == 'space' else ''}{owner}/{asked['name']}"
        if owner not in names:
            raise HubError(403, "Forbidden", f'You don\'t have the rights to create a model under the namespace "{owner}"')
        with self.hub.lock:
            if repo_id in self.hub.repos:
                url = f"{self.hub.endpoint}/{repo_id}"
                self.send_json({"error": "You already created this model repo", "url": url}, 409)
                return
            self.hub.create(repo_id, asked.get("visibility") == "private" or bool(asked.get("private")))
        self.send_json({"url": f"{self.hub.endpoint}/{repo_id}", "name": repo_id})

    def validate_yaml(self) -> None:
        content = json.loads(self.body())["content"]
        errors = [{"message": message} for message in metadata_errors(content)]
        self.send_json({"errors": errors, "warnings": []}, 400 if errors else 200)

    def preupload(self, repo: str, revision: str) -> None:
        target = self.writable(repo)
        asked = json.loads(self.body())["files"]
        files = target.commits[self.commit_of(target, revision)]
        answers = []
        for file in asked:
            large = file["path"].endswith(LARGE_SUFFIXES) or b"\0" in base64.b64decode(file["sample"])
            known = files.get(file["path"])
            oid = None if known is None else known.sha256 if known.large else known.git_oid
            mode = "lfs" if large else "regular"
            answers.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        self.send_json({"files": answers})

    def lfs_batch(self, repo: str) -> None:
        self.writable(repo)
        objects = []
        for asked in json.loads(self.body())["objects"]:
            answer = {"oid": asked["oid"], "size": asked["size"]}
            if asked["oid"] not in self.hub.blobs:
                answer["actions"] = {"upload": {"href": f"{self.hub.storage}/storage/{asked['oid']}"}}
            objects.append(answer)
        self.send_json({"transfer": "basic", "objects": objects})

    def lfs_put(self, oid: str) -> None:
        content = self.body()
        if hashlib.sha256(content).hexdigest() != oid:
            raise HubError(400, "BadHash", f"{len(content)} bytes are not those of {oid}")
        self.hub.blobs[oid] = content
        self.send(200)

    def create_branch(self, repo: str, revision: str) -> None:
        target = self.writable(repo)
        start = json.loads(self.body() or b"{}").get("startingPoint", "main")
        with self.hub.lock:
            if revision in target.branches:
                raise HubError(409, "Conflict", f"Reference already exists: refs/heads/{revision}")
            target.branches[revision] = self.commit_of(target, start)
        self.send_json({})

    def commit(self, repo: str, revision: str) -> None:
        target = self.writable(repo)
        lines = [json.loads(line) for line in self.body().splitlines()]
        header = lines[0]["value"]
        with self.hub.lock:
            if revision not in target.branches:
                raise HubError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            head = target.branches[revision]
            if header.get("parentCommit") not in (None, head):
                raise HubError(412, "Conflict", "A commit has happened since. Please refresh and try again.")
            files = dict(target.commits[head])
            for line in lines[1:]:
                key, value = line["key"], line["value"]
                if key == "file":
                    files[value["path"]] = self.hub.entry(base64.b64decode(value["content"]))
                elif key == "lfsFile":
                    content = self.hub.blobs.get(value["oid"])
                    if content is None or len(content) != value["size"]:
                        raise HubError(400, "MissingObject", f"{value['path']}: {value['oid']} was never uploaded")
                    files[value["path"]] = self.hub.entry(content, large=True)
                elif key == "deletedFile" and files.pop(value["path"], None) is None:
                    raise HubError(404, "EntryNotFound", f"A file with this name doesn't exist: {value['path']}")
            oid = self.hub.store(target, revision, files, header["summary"])
        self.send_json({"success": True, "commitOid": oid, "commitUrl": f"{self.hub.endpoint}/{repo}/commit/{oid}"})

    # -------------------------------------------------------------------------------------------------------- reading

    def model_info(self, repo: str, revision: str = "main") -> None:
        source = self.readable(repo)
        oid = self.commit_of(source, revision)
        files = source.commits[oid]

        def content(path: str) -> bytes:
            return self.hub.blobs[files[path].sha256] if path in files else b""

        card = front_matter(content("README.md").decode()) or {}
        config = json.loads(content("config.json") or b"{}")
        tags = [*card.get("tags", []), *([config["model_type"]] if "model_type" in config else [])]
        answer = {"id": repo, "modelId": repo, "sha": oid, "private": source.private, "tags": tags, "cardData": card}
        answer["config"] = {key: config[key] for key in ("architectures", "model_type", "auto_map") if key in config}
        answer["siblings"] = [{"rfilename": path} for path in sorted(files)]
        self.send_json(answer)

    def tree(self, repo: str, revision: str, path: str = "") -> None:
        source = self.readable(repo)
        files = source.commits[self.commit_of(source, revision)]
        if path and not any(name.startswith(f"{path}/") for name in files):
            raise HubError(404, "EntryNotFound", f"{path} does not exist on {revision}")
        recursive = parse_qs(urlsplit(self.path).query).get("recursive", ["False"])[0].lower() == "true"
        answers = []
        for name, entry in sorted(files.items()):
            inside = name.removeprefix(f"{path}/") if path else name
            if (path and inside == name) or (not recursive and "/" in inside):
                continue
            answer = {"type": "file", "path": name, "size": entry.size, "oid": entry.git_oid}
            if entry.large:
                answer["lfs"] = {"oid": entry.sha256, "size": entry.size, "pointerSize": 134}
            answers.append(answer)
        self.send_json(answers)

    def resolve(self, repo: str, revision: str, path: str) -> None:
        source = self.readable(repo)
        oid = self.commit_of(source, revision)
        entry = source.commits[oid].get(path)
        if entry is None:
            raise HubError(404, "EntryNotFound", f"{path} does not exist on {revision}")
        headers = {"X-Repo-Commit": oid, "ETag": f'"{entry.sha256 if entry.large else entry.git_oid}"'}
        if entry.large:
            headers |= {"X-Linked-Etag": f'"{entry.sha256}"', "X-Linked-Size": str(entry.size)}
            self.send(302, b"", headers | {"Location": f"{self.hub.storage}/storage/{entry.sha256}"})
        else:
            self.send_bytes(self.hub.blobs[entry.sha256], headers)

    def lfs_get(self, oid: str) -> None:
        if oid not in self.hub.blobs:
            raise HubError(404, "EntryNotFound", oid)
        self.send_bytes(self.hub.blobs[oid], {"ETag": f'"{oid}"'})


def front_matter(text: str) -> dict | None:
    """The metadata at the head of a card; `None` without one."""
    match = re.match(r"---\n(.*?)\n---\n", text, flags=re.DOTALL)
    return yaml.safe_load(match[1]) if match else None


def metadata_errors(text: str) -> list[str]:
    """What the Hub would refuse in a card's metadata: the types of the known fields, and an incomplete `model-index`."""
    try:
        metadata = front_matter(text)
    except yaml.YAMLError as error:
        return [f"not YAML: {error}"]
    if metadata is None:
        return []
    if not isinstance(metadata, dict):
        return ["metadata must be a mapping"]
    errors = []
    for key in ("library_name", "pipeline_tag", "license"):
        if not isinstance(metadata.get(key, ""), str):
            errors.append(f'"{key}" must be a string')
    for key in ("tags", "datasets", "language", "base_model"):
        values = metadata.get(key, [])
        if not all(isinstance(value, str) for value in ([values] if isinstance(values, str) else values)):
            errors.append(f'"{key}" must be a string or a list of strings')
    for model in metadata.get("model-index", []):
        if not model.get("name"):
            errors.append('"model-index" needs a name')
        for result in model.get("results", []):
            if not (result["task"].get("type") and result["dataset"].get("type") and result["dataset"].get("name")):
                errors.append('a result of "model-index" needs task.type, dataset.type and dataset.name')
            errors += ["a metric needs a type and a value" for metric in result["metrics"] if {"type", "value"} - set(metric)]
    return errors
