"""Downloads: whole or absent, checked, resumed, one process at a time; with a server on this machine."""

from __future__ import annotations

import hashlib
import http.server
import json
import logging
import os
import pickle
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from lookalike.core.errors import LookalikeError, UserError
from lookalike.core.machine import cache_folder
from lookalike.model import build_model, load_weights, to_reference_state
from lookalike.model.weights import urls
from lookalike.model.weights.downloads import cached_path, download
from lookalike.model.weights.sources import address_of, find_weights

ARCH = {"Backbone": {"name": "Conv4", "width": 8, "depth": 2}}


@dataclass
class Server:
    """What a server gives, which it can be told to cut off, and what it was asked."""

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    cut_at: int | None = None
    """Bytes after which the next answer ends although more were promised."""
    tags: bool = True
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    """Path and range of each request."""

    def url(self, name: str) -> str:
        return f"{self.address}/{name}"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("LOOKALIKE_CACHE", str(tmp_path / "cache"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    state = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            state.asked.append((self.path, wanted))
            content = state.files.get(self.path.lstrip("/"))
            if content is None:
                self.send_error(404)
                return
            tag, start = f'"{hashlib.md5(content).hexdigest()}"', 0
            if wanted and self.headers.get("If-Range") == tag:
                start = int(re.findall(r"\d+", wanted)[0])
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            if state.tags:
                self.send_header("ETag", tag)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            end, state.cut_at = state.cut_at, None
            self.wfile.write(content[start:end])

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        state.address = f"http://127.0.0.1:{running.server_port}"
        yield state
        running.shutdown()
        thread.join()


def kept_files() -> list[str]:
    return sorted(path.name for path in cache_folder().iterdir() if not path.name.endswith(".lock"))


def test_fetched_once_and_kept(server: Server, tmp_path: Path) -> None:
    model, other = build_model(ARCH), build_model(ARCH)
    server.files["w.pdparams"] = pickle.dumps(to_reference_state(model))
    for _ in range(2):
        assert load_weights(other, server.url("w.pdparams")).complete
    assert len(server.asked) == 1
    kept = cached_path(server.url("w.pdparams"))
    assert kept.parent == tmp_path / "cache"
    assert kept_files() == sorted([kept.name, f"{kept.name}.json"])
    record = json.loads((kept.parent / f"{kept.name}.json").read_text())
    content = server.files["w.pdparams"]
    assert record == {
        "address": server.url("w.pdparams"),
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
    }


def test_where_downloads_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("LOOKALIKE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "lookalike"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "lookalike"
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match="LOOKALIKE_CACHE names another folder"):
        download("http://127.0.0.1:9/w.bin", tmp_path / "file" / "below")


@pytest.mark.parametrize("kind", ["sha256", "md5"])
def test_the_checksum_is_checked(server: Server, kind: str) -> None:
    server.files["w.bin"] = b"weights"
    good = hashlib.new(kind, b"weights").hexdigest()
    with pytest.raises(UserError, match=f"the file has {kind} {good}, not 00"):
        download(server.url(f"w.bin#{kind}=00"))
    assert kept_files() == []
    assert download(server.url(f"w.bin#{kind}={good}")).read_bytes() == b"weights"
    assert find_weights(server.url("w.bin")).is_file()


def test_a_broken_connection_is_gone_on_from(server: Server) -> None:
    server.files["w.bin"], server.cut_at = bytes(range(256)) * 40, 1000
    with pytest.raises(
        LookalikeError, match="broke after 1000 of 10240 bytes; the next try goes on"
    ) as caught:
        download(server.url("w.bin"))
    assert not isinstance(caught.value, UserError)
    assert not cached_path(server.url("w.bin")).exists()
    assert download(server.url("w.bin")).read_bytes() == server.files["w.bin"]
    assert [wanted for _, wanted in server.asked] == [None, "bytes=1000-"]
    assert len(kept_files()) == 2


def test_a_file_that_changed_meanwhile_is_begun_anew(server: Server) -> None:
    server.files["w.bin"], server.cut_at = b"old" * 1000, 500
    with pytest.raises(LookalikeError, match="broke"):
        download(server.url("w.bin"))
    server.files["w.bin"] = b"new" * 1000
    assert download(server.url("w.bin")).read_bytes() == b"new" * 1000


def test_without_a_tag_a_broken_download_is_begun_anew(server: Server) -> None:
    server.tags, server.files["w.bin"], server.cut_at = False, b"weights" * 100, 50
    with pytest.raises(LookalikeError, match="broke after 50 of 700 bytes; try again"):
        download(server.url("w.bin"))
    assert download(server.url("w.bin")).read_bytes() == b"weights" * 100
    assert [wanted for _, wanted in server.asked] == [None, None]


def test_absent_or_unreachable(server: Server) -> None:
    with pytest.raises(UserError, match="the server answers 404"):
        download(server.url("absent.pdparams"))
    assert kept_files() == []
    with pytest.raises(LookalikeError, match=r"cannot be reached .* give its path or put it at"):
        download("http://127.0.0.1:9/w.pdparams")


class Calls:
    def __reduce__(self) -> Any:
        return os.mkdir, ("PWNED",)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("evil.pdparams", pickle.dumps({"w": Calls()}), "asks for posix.mkdir|asks for nt.mkdir"),
        ("page.pdparams", b"<html>log in</html>", "is not a file of Paddle weights"),
        ("page.safetensors", b"<html>log in</html>", "is not a safetensors file"),
    ],
)
def test_what_is_no_file_of_weights_is_not_kept(
    server: Server, name: str, content: bytes, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    server.files[name] = content
    with pytest.raises(UserError, match=told) as caught:
        download(server.url(name))
    assert str(caught.value).startswith(server.url(name))
    assert kept_files() == []
    assert not (tmp_path / "PWNED").exists()


def test_another_file_later_is_noticed(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    server.files["w.bin"] = b"weights"
    kept = download(server.url("w.bin"))
    kept.write_bytes(b"other")
    with pytest.raises(UserError, match="is another file than was fetched"):
        download(server.url("w.bin"))
    kept.unlink()
    server.files["w.bin"] = b"newer weights"
    with caplog.at_level(logging.WARNING, "lookalike"):
        download(server.url("w.bin"))
    assert "holds another file than when it was fetched before" in caplog.text


def test_processes_wait_for_the_one_that_fetches(server: Server, tmp_path: Path) -> None:
    save_file({"w": np.zeros(500_000, np.float32)}, tmp_path / "w.safetensors")
    server.files["w.safetensors"] = (tmp_path / "w.safetensors").read_bytes()
    code = "import sys; from lookalike.model.weights.downloads import download; download(sys.argv[1])"
    words = [sys.executable, "-c", code, server.url("w.safetensors")]
    started = [subprocess.Popen(words) for _ in range(3)]
    assert [process.wait(60) for process in started] == [0, 0, 0]
    assert len(server.asked) == 1


def test_published_weights_by_name(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model, other = build_model(ARCH), build_model(ARCH)
    server.files["thing_v1.0.pdparams"] = pickle.dumps(to_reference_state(model))
    monkeypatch.setattr(
        urls, "published", lambda _kind=None: {"thing_v1.0": server.url("thing_v1.0.pdparams")}
    )
    assert load_weights(other, "PaddleClas/thing").complete
    with pytest.raises(UserError, match="PaddleClas/thong: no weights of this name are published"):
        find_weights("PaddleClas/thong")
    # a file of the name is meant first
    monkeypatch.chdir(tmp_path)
    (tmp_path / "PaddleClas").mkdir()
    (tmp_path / "PaddleClas" / "thing.pdparams").write_bytes(server.files["thing_v1.0.pdparams"])
    assert address_of("PaddleClas/thing") is None
    assert find_weights("PaddleClas/thing") == Path("PaddleClas/thing.pdparams")
