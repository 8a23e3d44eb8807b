"""The endpoints of the loopback Hub (see hub_server.py): what each request is answered."""

import base64
import json
import re
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

from support.hub_state import Failure, Repo, State, sha1, sha256

TOKEN, USER = "hf_test", "tester"
WRITABLE = (USER, "teminal", "evaluate-metric")
LFS_SUFFIXES = (".safetensors", ".parquet", ".wav", ".flac", ".ogg", ".bin", ".pt")
_KINDS = {"models": "model", "datasets": "dataset", "spaces": "space"}


class Handler(BaseHTTPRequestHandler):
    hub: State
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (ConnectionError, ValueError):  # a client that went away, or a connection that was cut
            self.close_connection = True

    def do_GET(self) -> None:
        self._serve()

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815

    # -- answers

    def _serve(self) -> None:
        path = urlsplit(self.path).path
        with self.hub.lock:
            self.hub.requests.append(f"{self.command} {path}")
            failure = next((f for f in self.hub.failures if f.strikes(self.command, path)), None)
        length = int(self.headers.get("Content-Length") or 0)
        if failure is not None and failure.status is None:
            self.rfile.read(length // 2)
            self.close_connection = True
            self.connection.close()
            return
        self.body = (
            self._read_chunks() if self.headers.get("Transfer-Encoding") == "chunked" else self.rfile.read(length)
        )
        if failure is not None:
            self._json({"error": f"told to fail with {failure.status}"}, failure.status or 500)
            return
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ").strip()
        self.user = USER if token and token != "bad" else None
        if token == "bad":
            self._json({"error": "Invalid username or password."}, 401)
            return
        for pattern, answer in _ROUTES:
            if match := re.fullmatch(pattern, f"{self.command} {path}"):
                with self.hub.lock:
                    answer(self, **{name: unquote(value or "") for name, value in match.groupdict().items()})
                return
        self._json({"error": f"no such endpoint: {self.command} {path}"}, 404)

    def _read_chunks(self) -> bytes:
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _json(self, value: Any, status: int = 200, **headers: str) -> None:
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        self._send(status, json.dumps(value).encode(), {"Content-Type": "application/json", **named})

    def _missing(self, what: str) -> None:
        self._json({"error": what}, 404, X_Error_Code=what, X_Error_Message=what)

    def _found(self, kind: str, name: str, revision: str = "main") -> tuple[Repo, str, dict[str, bytes]] | None:
        repo = self.hub.repos.get((kind, name))
        if repo is None or (repo.private and self.user is None):
            self._json({"error": "RepoNotFound"}, 404 if self.user else 401, X_Error_Code="RepoNotFound")
            return None
        state = repo.at(revision)
        if state is None:
            self._missing("RevisionNotFound")
            return None
        return (repo, *state)

    def _writable(self, name: str) -> bool:
        if self.user is None:
            self._json({"error": "Invalid username or password."}, 401)
        elif name.split("/")[0] not in WRITABLE:
            self._json({"error": f"You don't have the rights to write to {name}"}, 403)
        else:
            return True
        return False

    def told_to_fail(self) -> None:
        """For client processes: as `HubServer.fail`. `forget` makes the Hub forget uploaded content first, `calm` what
        it was told before, `empty` everything. The answer says which of the failures told before have struck."""
        asked = json.loads(self.body)
        forget, calm, empty = (asked.pop(name, False) for name in ("forget", "calm", "empty"))
        struck = [failure.seen >= failure.nth for failure in self.hub.failures]
        for held in [
            *([self.hub.blobs] if forget or empty else []),
            *([self.hub.failures] if calm or empty else []),
            *([self.hub.repos] if empty else []),
        ]:
            held.clear()
        if asked:
            self.hub.failures.append(Failure(**{"nth": 1, "times": 1, "status": None, **asked}))
        self._json({"struck": struck})

    # -- endpoints

    def whoami(self) -> None:
        if self.user is None:
            self._json({"error": "Invalid username or password."}, 401)
        else:
            self._json({"type": "user", "name": self.user, "orgs": [], "auth": {"accessToken": {"role": "write"}}})

    def create(self) -> None:
        asked = json.loads(self.body)
        name, kind = f"{asked.get('organization') or self.user}/{asked['name']}", asked.get("type") or "model"
        if not self._writable(name):
            return
        address = {"url": f"{self.hub.url}/{'' if kind == 'model' else kind + 's/'}{name}", "name": name}
        if (kind, name) in self.hub.repos:
            self._json({"error": "You already created this repo", **address}, 409)
            return
        private = asked.get("visibility") == "private" or bool(asked.get("private"))
        self.hub.repos[kind, name] = Repo(private=private)
        self._json(address)

    def validate_yaml(self) -> None:
        header = re.match(r"^---\n(.*?)\n---", json.loads(self.body)["content"], re.S)
        wrong = [] if header and isinstance(yaml.safe_load(header[1]), dict) else [{"message": "no YAML header"}]
        self._json({"errors": wrong, "warnings": []}, 400 if wrong else 200)

    def preupload(self, kind: str, name: str, revision: str) -> None:
        if not self._writable(name) or not (found := self._found(_KINDS[kind], name, revision)):
            return
        answers = []
        for file in json.loads(self.body)["files"]:
            path, there = file["path"], found[2].get(file["path"])
            large = path.endswith(LFS_SUFFIXES) or file["size"] > 10 * 2**20
            oid = None if there is None else (sha256 if sha256(there) in found[0].lfs else sha1)(there)
            mode = "lfs" if large else "regular"
            answers.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        self._json({"files": answers})

    def lfs_batch(self, kind: str, name: str) -> None:
        if not self._writable(name):
            return
        objects = []
        for asked in json.loads(self.body)["objects"]:
            known = asked["oid"] in self.hub.blobs
            upload = {"upload": {"href": f"{self.hub.url}/lfs/{asked['oid']}", "header": {}}}
            objects.append(asked | ({} if known else {"actions": upload}))
        self._json({"transfer": "basic", "objects": objects})

    def lfs_put(self, oid: str) -> None:
        if sha256(self.body) != oid:
            self._json({"error": "content does not match its name"}, 400)
            return
        self.hub.blobs[oid] = self.body
        self._json({})

    def commit(self, kind: str, name: str, revision: str) -> None:
        if not self._writable(name) or not (found := self._found(_KINDS[kind], name, revision)):
            return
        repo, files, message = found[0], dict(found[2]), ""
        for line in self.body.splitlines():
            entry = json.loads(line)
            key, value = entry["key"], entry["value"]
            if key == "header":
                message = value["summary"]
            elif key == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                files[value["path"]] = self.hub.blobs[value["oid"]]
                repo.lfs.add(value["oid"])
            elif key == "deletedFile":
                del files[value["path"]]
            elif key == "deletedFolder":
                files = {p: c for p, c in files.items() if not p.startswith(value["path"].rstrip("/") + "/")}
        sha = repo.commit(message, files, revision)
        prefix = "" if kind == "models" else f"{kind}/"
        self._json({"success": True, "commitOid": sha, "commitUrl": f"{self.hub.url}/{prefix}{name}/commit/{sha}"})

    def branch(self, kind: str, name: str, revision: str) -> None:
        if not self._writable(name) or not (found := self._found(_KINDS[kind], name)):
            return
        if revision in found[0].heads:
            self._json({"error": "Reference already exists"}, 409)
            return
        found[0].heads[revision] = found[1]
        self._json({})

    def info(self, kind: str, name: str, revision: str) -> None:
        if found := self._found(_KINDS[kind], name, revision or "main"):
            repo, sha, files = found
            about = {"id": name, "sha": sha, "private": repo.private, "tags": [], "gated": False, "disabled": False}
            self._json(about | {"downloads": 0, "likes": 0, "siblings": [{"rfilename": path} for path in files]})

    def tree(self, kind: str, name: str, revision: str, folder: str) -> None:
        if not (found := self._found(_KINDS[kind], name, revision)):
            return
        repo, _, files = found
        prefix = folder.strip("/") + "/" if folder.strip("/") else ""
        inside = {path: content for path, content in files.items() if path.startswith(prefix)}
        if prefix and not inside:
            self._missing("EntryNotFound")
            return
        recursive = "recursive=true" in urlsplit(self.path).query.lower()
        entries: dict[str, dict[str, Any]] = {}
        for path, content in inside.items():
            parts = path[len(prefix) :].split("/")
            for depth in range(1, len(parts) if recursive else min(len(parts), 2)):
                parent = prefix + "/".join(parts[:depth])
                entries[parent] = {"type": "directory", "path": parent, "oid": sha1(parent.encode()), "size": 0}
            if recursive or len(parts) == 1:
                entries[path] = self._entry(repo, path, content)
        self._json(list(entries.values()))

    def paths_info(self, kind: str, name: str, revision: str) -> None:
        if not (found := self._found(_KINDS[kind], name, revision)):
            return
        repo, _, files = found
        asked = json.loads(self.body)["paths"]
        entries = [self._entry(repo, path, files[path]) for path in asked if path in files]
        folders = [path for path in asked if path not in files and any(p.startswith(path + "/") for p in files)]
        entries += [{"type": "directory", "path": path, "oid": sha1(path.encode()), "size": 0} for path in folders]
        self._json(entries)

    def refs(self, kind: str, name: str) -> None:
        if found := self._found(_KINDS[kind], name):
            main = {"name": "main", "ref": "refs/heads/main", "targetCommit": found[1]}
            self._json({"branches": [main], "tags": [], "converts": []})

    def resolve(self, kind: str, name: str, revision: str, path: str) -> None:
        if not (found := self._found(_KINDS.get(kind, "model"), name, revision)):
            return
        repo, sha, files = found
        if path not in files:
            self._json({"error": "EntryNotFound"}, 404, X_Error_Code="EntryNotFound", X_Repo_Commit=sha)
            return
        content = files[path]
        large = sha256(content) in repo.lfs
        etag = f'"{sha256(content) if large else sha1(content)}"'
        headers = {
            "X-Repo-Commit": sha,
            "ETag": etag,
            "Accept-Ranges": "bytes",
            "Content-Type": "application/octet-stream",
        }
        if large:
            headers |= {"X-Linked-Etag": etag, "X-Linked-Size": str(len(content))}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if not asked:
            self._send(200, content, headers)
            return
        start, stop = int(asked[1]), min(int(asked[2] or len(content) - 1) + 1, len(content))
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content)}"
        self._send(206, content[start:stop], headers)

    @staticmethod
    def _entry(repo: Repo, path: str, content: bytes) -> dict[str, Any]:
        entry = {"type": "file", "path": path, "oid": sha1(content), "size": len(content)}
        if (oid := sha256(content)) in repo.lfs:
            entry["lfs"] = {"oid": oid, "size": len(content), "pointerSize": 134}
        return entry


_REPO = r"/api/(?P<kind>models|datasets|spaces)/(?P<name>[^/]+/[^/]+)"
_PAGE = r"/(?:(?P<kind>datasets|spaces)/)?(?P<name>[^/]+/[^/]+)"
_ROUTES: list[tuple[str, Callable[..., None]]] = [
    (r"POST /told-to-fail", Handler.told_to_fail),
    (r"GET /api/whoami-v2", Handler.whoami),
    (r"POST /api/repos/create", Handler.create),
    (r"POST /api/validate-yaml", Handler.validate_yaml),
    (rf"POST {_REPO}/preupload/(?P<revision>[^/]+)", Handler.preupload),
    (rf"POST {_REPO}/commit/(?P<revision>[^/]+)", Handler.commit),
    (rf"POST {_REPO}/branch/(?P<revision>[^/]+)", Handler.branch),
    (rf"POST {_REPO}/paths-info/(?P<revision>[^/]+)", Handler.paths_info),
    (rf"GET {_REPO}/tree/(?P<revision>[^/]+)(?P<folder>/.*)?", Handler.tree),
    (rf"GET {_REPO}/refs", Handler.refs),
    (rf"GET {_REPO}(?:/revision/(?P<revision>[^/]+))?", Handler.info),
    (r"PUT /lfs/(?P<oid>[0-9a-f]{64})", Handler.lfs_put),
    (rf"POST {_PAGE}\.git/info/lfs/objects/batch", Handler.lfs_batch),
    (rf"(?:GET|HEAD) {_PAGE}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", Handler.resolve),
]
