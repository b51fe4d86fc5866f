"""Model folders on the Hub, which is a small server on this machine here."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants

from lookalike import Embedder
from lookalike.core.errors import LookalikeError, UserError
from lookalike.deploy.hub import copy_from_hub, pull_from_hub, push_to_hub
from lookalike.deploy.model_folder import CARD, FILES, GRAPH, MANIFEST, PROGRAM
from tests.hub_stub import WRITE_TOKEN, Hub, running_hub

NAME = "shop/products"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with running_hub() as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.endpoint)
        template = f"{running.endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield running


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained / "inference", tmp_path / "model"))


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_a_pushed_folder_is_pulled_as_it_was(hub: Hub, folder: Path, pictures: Path) -> None:
    (folder / "notes.txt").write_text("mine")
    sent = push_to_hub(folder, NAME, token=WRITE_TOKEN)
    assert sent.url == f"{hub.endpoint}/{NAME}"
    assert sent.private
    there = hub.repositories[NAME]
    assert sent.commit == there.commits[-1][0]
    assert set(there.files) == {path.name for path in folder.iterdir()} - {"notes.txt"} | {".gitattributes"}
    there.private = False
    model = Embedder.from_pretrained(NAME)
    picture = pictures / "pictures" / "class 6" / "0.png"
    np.testing.assert_array_equal(model.encode(picture), Embedder(folder).encode(picture))


def test_a_second_push_takes_away_what_is_no_longer_there(hub: Hub, folder: Path) -> None:
    (folder / PROGRAM).write_bytes(b"\x80")
    push_to_hub(folder, NAME, token=WRITE_TOKEN)
    (folder / PROGRAM).unlink()
    hub.repositories[NAME].files["photo.jpg"] = b"of somebody"
    push_to_hub(folder, NAME, token=WRITE_TOKEN)
    assert PROGRAM not in hub.repositories[NAME].files
    assert hub.repositories[NAME].files["photo.jpg"] == b"of somebody"


def test_only_the_files_of_a_model_folder_are_fetched(hub: Hub, folder: Path) -> None:
    hub.add(NAME, contents(folder) | {"modeling.py": b"raise SystemExit", "model.pt2": b"\x80"})
    fetched = pull_from_hub(NAME)
    assert {path.name for path in fetched.iterdir()} == {path.name for path in folder.iterdir()}
    assert not [asked for asked in hub.asked if asked.endswith((".py", ".pt2"))]


def test_a_revision_stays_what_it_was(hub: Hub, folder: Path) -> None:
    first = hub.add(NAME, contents(folder))
    hub.repositories[NAME].commit(contents(folder) | {CARD: b"# Newer"})
    assert (pull_from_hub(NAME) / CARD).read_text() == "# Newer"
    assert (pull_from_hub(NAME, revision=first) / CARD).read_bytes() == (folder / CARD).read_bytes()
    with pytest.raises(UserError, match="shop/products has no revision 'v9'"):
        pull_from_hub(NAME, revision="v9")


def test_the_cache_is_used_without_the_hub(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add(NAME, contents(folder))
    fetched = pull_from_hub(NAME)
    asked = len(hub.asked)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert pull_from_hub(NAME) == fetched
    with pytest.raises(
        LookalikeError, match=r"shop/other cannot be fetched .*HF_HUB_OFFLINE is set.* not in its cache"
    ):
        pull_from_hub("shop/other")
    with pytest.raises(LookalikeError, match=r"the Hub cannot be reached .*HF_HUB_OFFLINE"):
        push_to_hub(folder, NAME, token=WRITE_TOKEN)
    assert len(hub.asked) == asked
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    assert pull_from_hub(NAME) == fetched


def test_what_is_no_model_folder_is_told_before_anything_is_fetched(hub: Hub, folder: Path) -> None:
    hub.add("org/bert", {"config.json": b"{}", "model.safetensors": bytes(99)})
    with pytest.raises(UserError, match=f"org/bert is not a model folder: no {MANIFEST} there"):
        Embedder.from_pretrained("org/bert")
    with pytest.raises(UserError, match="org/bert holds something else than a model folder"):
        push_to_hub(folder, "org/bert", token=WRITE_TOKEN)
    assert not [asked for asked in hub.asked if "safetensors" in asked or "commit" in asked]
    with pytest.raises(UserError, match="the Hub has no repository org/none"):
        pull_from_hub("org/none")
    with pytest.raises(UserError, match=r"'./inference' is no name of a repository .*Embedder\(FOLDER\)"):
        pull_from_hub("./inference")


def test_files_that_do_not_fit_the_fingerprint_are_refused(hub: Hub, folder: Path) -> None:
    damaged = (folder / GRAPH).read_bytes()[:-1] + b"\0"
    hub.add(NAME, contents(folder) | {GRAPH: damaged})
    with pytest.raises(UserError, match=r"shop/products, as fetched from the Hub: .*do not fit"):
        Embedder.from_pretrained(NAME)
    (folder / GRAPH).write_bytes(damaged)
    with pytest.raises(UserError, match="do not fit the fingerprint"):
        push_to_hub(folder, NAME, token=WRITE_TOKEN)


def test_private_weights_are_not_sent_where_everybody_sees_them(hub: Hub, folder: Path) -> None:
    assert not push_to_hub(folder, NAME, private=False, token=WRITE_TOKEN).private
    before = len(hub.repositories[NAME].commits)
    with pytest.raises(UserError, match="everybody can see shop/products, so nothing was sent"):
        push_to_hub(folder, NAME, private=True, token=WRITE_TOKEN)
    assert len(hub.repositories[NAME].commits) == before


def test_a_token_that_is_refused_is_not_printed(hub: Hub, folder: Path) -> None:
    with pytest.raises(UserError, match="does not allow this token to write to shop/products") as caught:
        push_to_hub(folder, NAME, token="hf_secret")
    assert "hf_secret" not in str(caught.value)


def test_a_pulled_copy_is_a_folder_of_its_own(hub: Hub, folder: Path, tmp_path: Path) -> None:
    hub.add(NAME, contents(folder))
    copied = copy_from_hub(NAME, tmp_path / "mine")
    assert contents(copied.path) == contents(folder)
    assert not [path for path in copied.path.iterdir() if path.is_symlink()]
    copy_from_hub(NAME, tmp_path / "mine")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"")
    with pytest.raises(UserError, match=r"photos holds other things than a model folder \(a\.jpg\)"):
        copy_from_hub(NAME, tmp_path / "photos")
    (tmp_path / "mine" / "notes.txt").write_text("of somebody")
    with pytest.raises(UserError, match=r"mine holds .* \(notes\.txt\).*name another to write shop/products"):
        copy_from_hub(NAME, tmp_path / "mine")
    assert (tmp_path / "mine" / "notes.txt").read_text() == "of somebody"


def test_a_pulled_copy_goes_where_a_link_leads_and_never_where_one_stands(
    hub: Hub, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add(NAME, contents(folder))
    (tmp_path / "link").symlink_to(tmp_path / "target", target_is_directory=True)
    copy_from_hub(NAME, tmp_path / "link")
    copy_from_hub(NAME, tmp_path / "link")  # an older one there is replaced
    assert (tmp_path / "link").is_symlink()
    assert contents(tmp_path / "target") == contents(folder)
    (tmp_path / "here" / "below").mkdir(parents=True)
    for place, named in (("here", "."), ("here/below", "..")):
        monkeypatch.chdir(tmp_path / place)
        asked = len(hub.asked)
        with pytest.raises(UserError, match="here holds the folder this is run in, which cannot be replaced"):
            copy_from_hub(NAME, named)
        assert len(hub.asked) == asked


def test_the_command_line_pushes_and_pulls(hub: Hub, folder: Path, tmp_path: Path) -> None:
    variables = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": WRITE_TOKEN}

    def told(*words: str | Path) -> dict[str, object]:
        command = [sys.executable, "-m", "lookalike", "hub", *map(str, words), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ | variables)
        assert done.returncode == 0, done.stderr
        assert WRITE_TOKEN not in done.stdout + done.stderr
        return json.loads(done.stdout)  # type: ignore[no-any-return]

    assert told("push", folder, NAME, "--public")["private"] is False
    fetched = told("pull", NAME, tmp_path / "pulled")
    assert fetched["fingerprint"] == Embedder(folder).fingerprint
    assert set(contents(tmp_path / "pulled")) <= set(FILES)
