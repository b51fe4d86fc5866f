"""The Hugging Face Hub as a small server in a thread: what its client asks for to send and fetch a folder.

All files travel inside commits; the store for large files is not here.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

Files = dict[str, bytes]
WRITE_TOKEN = "hf_a_token_that_may_write"


@dataclass
class Repository:
    """Commits, oldest first; `main` is the last one."""

    private: bool = False
    commits: list[tuple[str, Files]] = field(default_factory=list)

    def commit(self, files: Files) -> str:
        text = json.dumps([len(self.commits), sorted(files)]) + str(sorted(map(hash, files.values())))
        self.commits.append((hashlib.sha1(text.encode()).hexdigest(), files))
        return self.commits[-1][0]

    @property
    def files(self) -> Files:
        return self.commits[-1][1] if self.commits else {}

    def at(self, revision: str) -> tuple[str, Files] | None:
        if revision == "main":
            return self.commits[-1]
        return next((each for each in self.commits if each[0] == revision), None)


class Hub:
    """The state that tests look at: repositories by name, and the paths that were asked for, in order."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.asked: list[str] = []
        self.endpoint = ""

    def add(self, name: str, files: Files, private: bool = False) -> str:
        """A repository with one commit, whose hash is returned."""
        self.repositories[name] = Repository(private)
        return self.repositories[name].commit(files)


@contextlib.contextmanager
def running_hub() -> Iterator[Hub]:
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._read()

    def do_GET(self) -> None:
        self._read()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = self._parts()
        if parts == ["api", "validate-yaml"]:
            return self._json({"warnings": [], "errors": []})
        if not self._may_write():
            return self._json({"error": "not allowed"}, 403)
        if parts == ["api", "repos", "create"]:
            return self._create(json.loads(body))
        name, (action, *_) = "/".join(parts[2:4]), parts[4:]
        if action == "preupload":
            described = [
                {"path": each["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None}
                for each in json.loads(body)["files"]
            ]
            return self._json({"files": described})
        return self._commit(name, [json.loads(line) for line in body.splitlines()])

    def _parts(self) -> list[str]:
        self.hub.asked.append(f"{self.command} {unquote(urlsplit(self.path).path)}")
        return [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]

    def _may_write(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {WRITE_TOKEN}"

    def _create(self, wanted: dict[str, Any]) -> None:
        name = f"{wanted['organization']}/{wanted['name']}"
        if name in self.hub.repositories:
            return self._json({"error": "it exists", "url": f"{self.hub.endpoint}/{name}"}, 409)
        private = wanted.get("visibility") == "private" or bool(wanted.get("private"))
        self.hub.add(name, {".gitattributes": b"*.onnx filter=lfs\n"}, private)
        self._json({"url": f"{self.hub.endpoint}/{name}", "name": name})

    def _commit(self, name: str, lines: list[dict[str, Any]]) -> None:
        repository = self.hub.repositories[name]
        files = dict(repository.files)
        for line in lines:
            if line["key"] == "file":
                files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            elif line["key"] == "deletedFile":
                del files[line["value"]["path"]]
        sha = repository.commit(files)
        self._json({"commitUrl": f"{self.hub.endpoint}/{name}/commit/{sha}", "commitOid": sha})

    def _read(self) -> None:
        parts = self._parts()
        if parts[:2] == ["api", "models"]:
            parts = parts[2:]
        if len(parts) < 2:  # the client asks for more than it needs
            return self._json({"error": "not here"}, 404)
        name, rest = "/".join(parts[:2]), parts[2:]
        revision = rest[1] if len(rest) > 1 else "main"
        repository = self.hub.repositories.get(name)
        if repository is None or (repository.private and not self._may_write()):
            return self._json({"error": "Repository not found"}, 401, {"X-Error-Code": "RepoNotFound"})
        found = repository.at(revision)
        if found is None:
            return self._json({"error": "Revision not found"}, 404, {"X-Error-Code": "RevisionNotFound"})
        sha, files = found
        if rest[:1] == ["resolve"]:
            return self._file(sha, files.get("/".join(rest[2:])))
        if rest[:1] == ["tree"]:
            return self._json(
                [
                    {"type": "file", "path": path, "size": len(content), "oid": _blob(content)}
                    for path, content in files.items()
                ]
            )
        siblings = [{"rfilename": path} for path in files]
        self._json({"id": name, "sha": sha, "private": repository.private, "siblings": siblings, "tags": []})

    def _file(self, sha: str, content: bytes | None) -> None:
        if content is None:
            return self._json({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
        self._answer(200, content, {"X-Repo-Commit": sha, "ETag": f'"{_blob(content)}"'})

    def _json(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        kind = {"Content-Type": "application/json"}
        self._answer(status, json.dumps(value).encode(), kind | (headers or {}))

    def _answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *arguments: Any) -> None:
        """Silence: a test reads `Hub.asked`."""


def _blob(content: bytes) -> str:
    """The hash that git gives a file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
