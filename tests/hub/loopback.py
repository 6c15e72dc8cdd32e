"""A Hub on 127.0.0.1 with repositories in memory. The server implements only the requests of the tests."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

WRITER, READER, FINE = "hf_writer", "hf_reader", "hf_fine_grained"
"""The tokens of the user tester, who may publish as each of OWNERS."""

ROLES = {WRITER: "write", READER: "read", FINE: "fineGrained"}
OWNERS = ("tester", "ruleextrap")
BREAKS, PASSES, ANSWER_LOST = 0, 200, -1
"""The outcomes of a request that writes, other than the status of a refusal; see `Hub`."""

KINDS = {"models": "", "datasets": "datasets/", "spaces": "spaces/"}


def git_sha(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class Repository:
    private: bool = False
    branches: dict[str, str] = field(default_factory=lambda: {"main": "0" * 40})
    commits: dict[str, dict[str, bytes]] = field(default_factory=lambda: {"0" * 40: {}})

    def at(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        sha = self.branches.get(revision, revision)
        return (sha, self.commits[sha]) if sha in self.commits else None


class Hub:
    """The server.

    Attributes:
        failures: The outcomes of the next requests that write to a path in which the regular expression ``failing`` is
            found: the status of a refusal, BREAKS for a connection that breaks halfway through the request, ANSWER_LOST
            for a connection that breaks after the request, or PASSES for a request that succeeds.
        rivals: The number of the next commits before which another user commits.
        rejects: The error in every card; an empty string for valid cards.
    """

    def __init__(self) -> None:
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.collections: dict[str, dict[str, Any]] = {}
        self.blobs: dict[str, bytes] = {}
        self.failures: list[int] = []
        self.failing = ""
        self.rivals = 0
        self.rejects = ""
        self.log: list[tuple[str, str]] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"hub": self}))
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def files(self, kind: str, name: str, revision: str = "main") -> dict[str, bytes]:
        version = self.repositories[kind, name].at(revision)
        assert version is not None
        return version[1]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.answer()

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def send(self, status: int, data: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        headers.setdefault("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def json(self, value: Any, status: int = 200, **headers: str) -> None:
        self.send(status, json.dumps(value).encode(), Content_Type="application/json", **headers)

    def refuse(self, status: int, code: str = "", message: str = "") -> None:
        self.json({"error": message or code}, status, X_Error_Code=code, X_Error_Message=message or code)

    @property
    def token(self) -> str:
        return (self.headers.get("Authorization") or "").removeprefix("Bearer ")

    def answer(self) -> None:
        url = urlsplit(self.path)
        path, query = unquote(url.path), parse_qs(url.query)
        self.hub.log.append((self.command, path))
        failure = self.failure(path)
        if failure == BREAKS:
            self.rfile.read(int(self.headers.get("Content-Length") or 0) // 2)
            self.close_connection = True
            return None
        body = self.body()
        if failure == ANSWER_LOST:
            self.close_connection, self.wfile = True, io.BytesIO()
        elif failure != PASSES:
            return self.send(failure, Retry_After="0")
        if path == "/api/whoami-v2":
            return self.whoami()
        if path == "/api/validate-yaml":
            errors = [{"message": self.hub.rejects}] if self.hub.rejects else []
            return self.json({"errors": errors, "warnings": []}, 400 if errors else 200)
        if path == "/api/repos/create":
            return self.create(json.loads(body))
        if match := re.fullmatch(r"/api/collections(?:/(\w+/[\w-]+))?(/items)?", path):
            return self.collection(match[1], json.loads(body or b"{}"))
        if match := re.fullmatch(r"/upload/(\w+)", path):
            self.hub.blobs[match[1]] = body
            return self.send(200)
        if match := re.fullmatch(r"/(datasets/|spaces/|)([\w.-]+/[\w.-]+)\.git/info/lfs/objects/batch", path):
            return self.lfs(json.loads(body))
        if match := re.fullmatch(r"/api/(models|datasets|spaces)/([\w.-]+/[\w.-]+)(?:/(.*))?", path):
            return self.api(match[1], match[2], match[3] or "", query, body)
        if match := re.fullmatch(r"/(datasets/|spaces/|)([\w.-]+/[\w.-]+)/resolve/([^/]+)/(.+)", path):
            kind = next(kind for kind, prefix in KINDS.items() if prefix == match[1])
            return self.resolve(kind, match[2], match[3], match[4])
        return self.refuse(404, "EntryNotFound", path)

    def failure(self, path: str) -> int:
        writes = self.command in ("POST", "PUT") and re.search(self.hub.failing, path)
        return self.hub.failures.pop(0) if writes and self.hub.failures else PASSES

    def may_write(self, name: str) -> bool:
        return ROLES.get(self.token) in ("write", "fineGrained") and name.partition("/")[0] in OWNERS

    def whoami(self) -> None:
        if self.token not in ROLES:
            return self.refuse(401, "", "Invalid user token")
        access = {"type": "access_token", "accessToken": {"displayName": "t", "role": ROLES[self.token]}}
        orgs = [{"name": name} for name in OWNERS[1:]]
        return self.json({"type": "user", "name": OWNERS[0], "orgs": orgs, "auth": access})

    def create(self, request: dict[str, Any]) -> None:
        kind = request.get("type", "model") + "s"
        name = f"{request.get('organization') or OWNERS[0]}/{request['name']}"
        if not self.may_write(name):
            return self.refuse(403 if self.token in ROLES else 401, "", "You need a token with write access")
        url = f"{self.hub.url}/{KINDS[kind]}{name}"
        if (kind, name) in self.hub.repositories:
            return self.json({"error": "exists", "url": url}, 409)
        private = request.get("visibility") == "private" or bool(request.get("private"))
        self.hub.repositories[kind, name] = Repository(private)
        return self.json({"url": url, "name": name, "id": name})

    def collection(self, slug: str | None, request: dict[str, Any]) -> None:
        collections = self.hub.collections
        if slug is None:
            slug = f"{request['namespace']}/{re.sub('[^a-z]+', '-', request['title'].lower())}-1"
            if not self.may_write(slug):
                return self.refuse(403, "", "Forbidden: you need write access")
            if slug in collections:
                return self.json({"slug": slug, "error": "exists"}, 409)
            collections[slug] = {
                "slug": slug,
                "title": request["title"],
                "owner": {"name": request["namespace"]},
                "items": [],
                "lastUpdated": "2026-01-01T00:00:00.000Z",
                "position": 0,
                "private": request["private"],
                "theme": "blue",
                "upvotes": 0,
            }
        elif "item" in request:
            items = collections[slug]["items"]
            if request["item"]["id"] in [item["id"] for item in items]:
                return self.json({"error": "exists"}, 409)
            items.append({"_id": str(len(items)), "position": len(items), **request["item"]})
        return self.json(collections[slug])

    def lfs(self, request: dict[str, Any]) -> None:
        def entry(item: dict[str, Any]) -> dict[str, Any]:
            upload = {"actions": {"upload": {"href": f"{self.hub.url}/upload/{item['oid']}"}}}
            return {**item, **({} if item["oid"] in self.hub.blobs else upload)}

        self.json({"transfer": "basic", "objects": [entry(item) for item in request["objects"]]})

    def visible_repository(self, kind: str, name: str) -> Repository | None:
        repository = self.hub.repositories.get((kind, name))
        if repository is None or (repository.private and self.token not in ROLES):
            self.refuse(404 if self.token else 401, "RepoNotFound", f"Repository Not Found: {name}")
            return None
        return repository

    def api(self, kind: str, name: str, rest: str, query: dict[str, list[str]], body: bytes) -> None:
        repository = self.visible_repository(kind, name)
        if repository is None:
            return None
        action, _, tail = rest.partition("/")
        if self.command == "POST" and action != "paths-info" and not self.may_write(name):
            return self.refuse(403, "", "Forbidden: you need write access")
        if action == "branch":
            exists = tail in repository.branches
            repository.branches.setdefault(tail, repository.branches["main"])
            return self.json({}, 409 if exists else 200)
        if action == "refs":
            branches = [
                {"name": branch, "ref": f"refs/heads/{branch}", "targetCommit": sha}
                for branch, sha in repository.branches.items()
            ]
            return self.json({"branches": branches, "tags": [], "converts": []})
        revision, _, folder = tail.partition("/")
        version = repository.at(revision or "main")
        if version is None:
            return self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        sha, files = version
        if action == "preupload":
            return self.preupload(json.loads(body)["files"], files)
        if action == "commit":
            return self.commit(repository, f"{KINDS[kind]}{name}", revision, files, body)
        if action == "tree":
            recursive = query.get("recursive", ["false"])[0].lower() == "true"
            return self.tree(files, folder, recursive=recursive)
        if action == "paths-info":
            paths = parse_qs(body.decode()).get("paths") or json.loads(body or b"{}").get("paths", [])
            return self.json([self.entry(path, files[path]) for path in paths if path in files])
        siblings = [{"rfilename": path, "size": len(data)} for path, data in sorted(files.items())]
        dates = dict.fromkeys(("lastModified", "createdAt"), "2026-01-01T00:00:00.000Z")
        return self.json(
            {
                "_id": "0",
                "id": name,
                "sha": sha,
                "private": repository.private,
                "siblings": siblings,
                "tags": [],
                **dates,
            }
        )

    def is_lfs(self, path: str) -> bool:
        return path.endswith((".parquet", ".safetensors"))

    def entry(self, path: str, data: bytes) -> dict[str, Any]:
        description = {"type": "file", "path": path, "size": len(data), "oid": git_sha(data)}
        return (
            {**description, "lfs": {"oid": sha256(data), "size": len(data), "pointerSize": 130}}
            if self.is_lfs(path)
            else description
        )

    def tree(self, files: dict[str, bytes], folder: str, *, recursive: bool) -> None:
        start = f"{folder}/" if folder else ""
        inside = {path: data for path, data in files.items() if path.startswith(start)}
        if folder and not inside:
            return self.refuse(404, "EntryNotFound", folder)
        deeper = {start + path[len(start) :].split("/")[0] for path in inside if "/" in path[len(start) :]}
        folders = [
            {"type": "directory", "path": path, "size": 0, "oid": git_sha(path.encode())} for path in sorted(deeper)
        ]
        listed = [
            self.entry(path, data)
            for path, data in sorted(inside.items())
            if recursive or "/" not in path[len(start) :]
        ]
        return self.json([*folders, *listed])

    def preupload(self, requested_files: list[dict[str, Any]], files: dict[str, bytes]) -> None:
        answers = []
        for item in requested_files:
            path, content = item["path"], files.get(item["path"])
            oid = None if content is None else sha256(content) if self.is_lfs(path) else git_sha(content)
            mode = "lfs" if self.is_lfs(path) else "regular"
            answers.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        self.json({"files": answers})

    def commit(self, repository: Repository, place: str, revision: str, files: dict[str, bytes], body: bytes) -> None:
        changed = dict(files)
        if self.hub.rivals:
            self.hub.rivals -= 1
            repository.branches[revision] = "f" * 40
            repository.commits["f" * 40] = {**files, "rival.txt": b"first"}
        for line in body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if value.get("parentCommit", repository.branches[revision]) != repository.branches[revision]:
                return self.refuse(412, "", "A commit has happened since. Please refresh and try again.")
            if item["key"] == "file":
                changed[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                changed[value["path"]] = self.hub.blobs[value["oid"]]
            elif item["key"] == "deletedFile":
                changed.pop(value["path"], None)
        sha = hashlib.sha1(repr((revision, len(repository.commits), sorted(changed))).encode()).hexdigest()
        repository.commits[sha] = changed
        repository.branches[revision] = sha
        self.json({"success": True, "commitOid": sha, "commitUrl": f"{self.hub.url}/{place}/commit/{sha}"})
        return None

    def resolve(self, kind: str, name: str, revision: str, path: str) -> None:
        repository = self.visible_repository(kind, name)
        if repository is None:
            return None
        version = repository.at(revision)
        if version is None:
            return self.refuse(404, "RevisionNotFound", revision)
        sha, files = version
        if path not in files:
            return self.send(404, X_Error_Code="EntryNotFound", X_Repo_Commit=sha)
        data = files[path]
        headers = {"X_Repo_Commit": sha, "ETag": f'"{git_sha(data)}"', "Accept_Ranges": "bytes"}
        if self.is_lfs(path):
            headers |= {"X_Linked_ETag": f'"{sha256(data)}"', "X_Linked_Size": str(len(data))}
        if match := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or ""):
            first, last = int(match[1]), min(int(match[2] or len(data) - 1), len(data) - 1)
            span = f"bytes {first}-{last}/{len(data)}"
            return self.send(206, data[first : last + 1], Content_Range=span, **headers)
        return self.send(200, data, **headers)
