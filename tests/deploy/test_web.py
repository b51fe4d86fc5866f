"""The example for browsers, run by Node: a model folder without Lookalike gives the vectors of Embedder."""

from __future__ import annotations

import functools
import json
import os
import queue
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from lookalike import Embedder
from lookalike.deploy.graph_input import InputKind, before_graph
from lookalike.images import Preprocess
from tests.conftest import REPOSITORY

NODE = REPOSITORY / "tests" / "node"

ready = shutil.which("node") is not None and (NODE / "node_modules" / "onnxruntime-web").is_dir()
needs_node = pytest.mark.skipif(
    not ready and "LOOKALIKE_REQUIRE_NODE" not in os.environ,
    reason="needs Node and onnxruntime-web: make node",
)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def run(script: str, *words: str | Path, folder: Path = NODE) -> str:
    done = subprocess.run(["node", script, *map(str, words)], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def here_and_there(folder: Path, scratch: Path) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of pictures of three sizes by Embedder and by the example in Node."""
    generator = np.random.default_rng(0)
    images = [
        generator.integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((32, 32), (90, 61), (20, 25))
    ]
    described = []
    for number, image in enumerate(images):
        image.tofile(scratch / f"{number}.rgb")
        height, width, _ = image.shape
        described += [scratch / f"{number}.rgb", width, height]
    found = json.loads(run("embed.mjs", folder, *map(str, described)))
    return Embedder(folder).encode(images), np.array(found, np.float32)


@needs_node
def test_onnxruntime_web_gives_the_vectors_of_embedder(trained: Path, tmp_path: Path) -> None:
    """Larger, smaller and longer pictures are resized there as here; the sums of float32 are in another
    order, and as far apart as an export allows.
    """
    expected, vectors = here_and_there(trained / "inference", tmp_path)
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(expected, axis=1)
    assert 1 - ((vectors * expected).sum(axis=1) / lengths).min() <= 1e-6
    np.testing.assert_allclose(vectors, expected, atol=1e-4 * np.abs(expected).max())


@needs_node
def test_the_lines_in_the_documents(trained: Path, tmp_path: Path) -> None:
    page = (REPOSITORY / "docs" / "deployment.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```js\n(.*?)```", page, re.DOTALL)
    image = np.random.default_rng(2).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    given = f"const [data, width, height] = [new Uint8Array({image.ravel().tolist()}), 50, 30];\n"
    (tmp_path / "lines.mjs").write_text(f"{given}{block}\nconsole.log(JSON.stringify(Array.from(vector)));")
    shutil.copy(REPOSITORY / "examples" / "web" / "lookalike.mjs", tmp_path)
    (tmp_path / "node_modules").symlink_to(NODE / "node_modules")
    (tmp_path / "inference").symlink_to(trained / "inference")
    vector = np.array(json.loads(run("lines.mjs", folder=tmp_path)), np.float32)
    (expected,) = Embedder(trained / "inference").encode(image)
    np.testing.assert_allclose(vector, expected, atol=1e-4 * np.abs(expected).max())


CHAINS = {
    "smaller": [{"ResizeImage": {"size": [24, 40]}}],
    "larger": [{"ResizeImage": {"size": [71, 64]}}],
    "short side and crop": [{"ResizeImage": {"resize_short": 36}}, {"CropImage": {"size": 32}}],
    "crop of a smaller picture": [{"CropImage": {"size": [64, 48]}}],
}
NORMALISE = {
    "NormalizeImage": {"mean": [0.485, 0.456, 0.406], "std": [0.2, 0.3, 0.4], "order": "hwc"},
}


@needs_node
@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
@pytest.mark.parametrize("kind", get_args(InputKind))
def test_preprocessing_in_javascript(chain: list[object], kind: InputKind, tmp_path: Path) -> None:
    preprocess = Preprocess([*chain, NORMALISE, {"ToCHWImage": None}])
    image = np.random.default_rng(1).integers(0, 256, (44, 57, 3), dtype=np.uint8)
    image.tofile(tmp_path / "image.rgb")
    (tmp_path / "manifest.json").write_text(json.dumps({"preprocess": preprocess.to_json(), "input": kind}))
    run("preprocess.mjs", tmp_path / "manifest.json", tmp_path / "image.rgb", "57", "44", tmp_path / "out")
    expected = before_graph(preprocess, kind)(image)
    np.testing.assert_array_equal(np.fromfile(tmp_path / "out", expected.dtype), expected.ravel())


@needs_node
def test_a_step_that_is_not_written_in_javascript_is_told(tmp_path: Path) -> None:
    preprocess = Preprocess([{"ResizeImage": {"size": 8, "interpolation": "area"}}, NORMALISE])
    np.zeros((9, 9, 3), np.uint8).tofile(tmp_path / "image.rgb")
    manifest = {"preprocess": preprocess.to_json(), "input": "float32_nchw"}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(AssertionError, match="ResizeImage is not written here yet"):
        run("preprocess.mjs", tmp_path / "manifest.json", tmp_path / "image.rgb", "9", "9", tmp_path / "out")


WHEN_DONE = """<script type="module">
  const state = document.getElementById("state");
  const send = () => fetch("shown", { method: "POST", body: document.documentElement.outerHTML });
  const changed = () => state.textContent.endsWith("pictures") && send();
  new MutationObserver(changed).observe(state, { childList: true });
</script>
"""
"""Before the page's own script: sends what it shows once it is done, however long that takes."""


class _Server(SimpleHTTPRequestHandler):
    shown: queue.Queue[str]

    def log_message(self, *arguments: object) -> None:
        pass

    def do_POST(self) -> None:
        self.shown.put(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.send_response(204)
        self.end_headers()


@pytest.fixture
def page(trained: Path, pictures: Path, tmp_path: Path) -> Iterator[tuple[str, queue.Queue[str]]]:
    """The address of the example's page, with a model folder and pictures beside it, and what it shows."""
    shutil.copytree(REPOSITORY / "examples" / "web", tmp_path / "web")
    shutil.copytree(trained / "inference", tmp_path / "web" / "inference")
    (tmp_path / "web" / "node_modules").symlink_to(NODE / "node_modules")
    html = tmp_path / "web" / "index.html"
    head, script, rest = html.read_text("utf-8").partition('<script type="module">')
    html.write_text(head + WHEN_DONE + script + rest, "utf-8")
    for label in (6, 7):
        shutil.copy(pictures / "pictures" / f"class {label}" / "0.png", tmp_path / "web" / f"{label}.png")
    handler = type("Handler", (_Server,), {"shown": queue.Queue()})
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(handler, directory=str(tmp_path / "web"))
    )
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/index.html", handler.shown
    server.shutdown()
    server.server_close()
    thread.join()


@needs_node
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_the_page_in_a_browser(
    page: tuple[str, queue.Queue[str]], trained: Path, pictures: Path, tmp_path: Path
) -> None:
    assert CHROMIUM is not None
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    offline = ["--no-first-run", "--disable-background-networking", "--disable-component-update"]
    address, answers = page
    command = [CHROMIUM, *options, *offline, f"{address}?pictures=6.png,7.png"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as browser:
        try:
            shown = answers.get(timeout=120)
        finally:
            browser.terminate()
    rows = re.findall(r"<td>(\d\.png)</td><td>([\d.-]+)</td>", shown)
    first, second = Embedder(trained / "inference").encode(
        [pictures / "pictures" / f"class {label}" / "0.png" for label in (6, 7)]
    )
    cosine = float(first @ second / np.linalg.norm(first) / np.linalg.norm(second))
    assert [name for name, _ in rows] == ["6.png", "7.png"], shown
    assert [float(value) for _, value in rows] == pytest.approx([1, cosine], abs=1.5e-5)  # shown to 1e-5
