"""Model folders on the Hugging Face Hub: sending one there, fetching one from there.

What is fetched is data: the files of a model folder by their names, and no others, checked against the
fingerprint. Nothing of a repository is executed.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lookalike.core.errors import LookalikeError, UserError, line_of
from lookalike.core.files import atomic_folder
from lookalike.core.hub import why_out_of_reach
from lookalike.deploy.model_folder import CARD, FILES, MANIFEST, PROGRAM, ModelFolder, refuse_foreign_folder

FETCHED = tuple(name for name in FILES if name != PROGRAM)
"""What is fetched. Nothing of Lookalike reads the program of torch.export, and what reads it may run code."""

_BESIDE = {".gitattributes", CARD}
"""What a new repository may hold before anybody put something into it."""

_LOG_IN = "log in with 'hf auth login', or set HF_TOKEN"


@dataclass
class Pushed:
    """Where a model folder is now: address of the repository, its commit, and who can see it."""

    url: str
    commit: str
    private: bool


def push_to_hub(
    folder: str | Path,
    repository: str,
    *,
    private: bool | None = None,
    token: str | None = None,
    message: str | None = None,
) -> Pushed:
    """Send a model folder to the repository `org/name` of the Hub, in one commit; a new one is made.

        push_to_hub("inference", "org/name", private=False)

    private: True refuses a repository that everybody can see, False makes a new one public. By default a new
        one is private, and an older one stays as it is.
    token: by default the one of `hf auth login` or HF_TOKEN. It is never printed.

    Files of an earlier model folder that this one does not have are removed, so that no program of another
    model stays behind. Raises UserError for a folder that is none or is damaged, for a repository that holds
    something else, and where the token does not allow it; LookalikeError where the Hub is out of reach.
    """
    from huggingface_hub import HfApi

    opened = ModelFolder.open(folder)
    opened.verify()
    _check_name(repository)
    if (reason := why_out_of_reach()) is not None:
        raise LookalikeError(f"the Hub cannot be reached ({reason}): {repository} is as it was")
    api = HfApi(token=token, library_name="lookalike")
    with _told(repository, "write to"):
        api.create_repo(repository, private=private is not False, exist_ok=True)
        found = api.model_info(repository)
    if private and not found.private:
        raise UserError(
            f"everybody can see {repository}, so nothing was sent: make it private there, or name another"
        )
    present = {each.rfilename for each in found.siblings or []}
    if MANIFEST not in present and (foreign := sorted(present - _BESIDE)):
        raise UserError(
            f"{repository} holds something else than a model folder ({', '.join(foreign[:3])}): name another"
        )
    with _told(repository, "write to"):
        sent = api.upload_folder(
            repo_id=repository,
            folder_path=opened.path,
            allow_patterns=list(FILES),
            delete_patterns=list(FILES),
            commit_message=message or f"Model folder {opened.fingerprint[:12]}",
        )
    return Pushed(f"{api.endpoint}/{repository}", sent.oid, bool(found.private))


def pull_from_hub(repository: str, *, revision: str | None = None, token: str | None = None) -> Path:
    """The model folder of the repository `org/name`, in the cache of the Hub on this disk.

    revision: branch, tag or commit, by default `main`. token: as for `push_to_hub`.

    What is in the cache is not fetched again, and is used where the Hub is out of reach or HF_HUB_OFFLINE is
    set. Raises UserError where the repository or revision does not exist, is no model folder, or its files
    are not those of its fingerprint; LookalikeError where the Hub is out of reach and the cache lacks it.
    """
    from huggingface_hub import hf_hub_download, snapshot_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    _check_name(repository)
    reason = why_out_of_reach()
    try:
        with _told(repository, "read", revision):
            manifest = Path(
                hf_hub_download(
                    repository, MANIFEST, revision=revision, token=token, local_files_only=reason is not None
                )
            )
            folder = snapshot_download(
                repository,
                revision=manifest.parent.name,  # the commit: all files are of one state of the repository
                allow_patterns=list(FETCHED),
                token=token,
                local_files_only=reason is not None,
            )
    except LocalEntryNotFoundError as error:
        raise LookalikeError(
            f"{_named(repository, revision)} cannot be fetched from the Hub ({reason or 'no answer'}) "
            "and is not in its cache"
        ) from error
    except EntryNotFoundError as error:
        raise UserError(
            f"{_named(repository, revision)} is not a model folder: no {MANIFEST} there (lookalike hub push "
            "sends one)"
        ) from error
    try:
        opened = ModelFolder.open(folder)
        opened.verify()
    except UserError as error:
        raise UserError(f"{_named(repository, revision)}, as fetched from the Hub: {error}") from error
    return opened.path


def copy_from_hub(
    repository: str, folder: str | Path, *, revision: str | None = None, token: str | None = None
) -> ModelFolder:
    """Fetch as `pull_from_hub` and write a folder of one's own, replacing an older model folder there.

    Raises UserError where `folder` holds something else, or is the folder this is run in.
    """
    folder = Path(folder).resolve()  # a link stays one
    advice = f"name another to write {repository} to"
    if folder in (here := Path.cwd(), *here.parents):
        raise UserError(f"{folder} holds the folder this is run in, which cannot be replaced: {advice}")
    refuse_foreign_folder(folder, advice)
    fetched = pull_from_hub(repository, revision=revision, token=token)
    with atomic_folder(folder) as part:
        for name in FETCHED:
            if (fetched / name).is_file():
                shutil.copyfile(fetched / name, part / name)
    return ModelFolder.open(folder)


def _check_name(repository: str) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined,unused-ignore]

    try:
        validate_repo_id(repository)
    except HFValidationError:
        raise UserError(
            f"'{repository}' is no name of a repository on the Hub: write org/name (a folder on this disk is "
            "opened with Embedder(FOLDER))"
        ) from None


def _named(repository: str, revision: str | None) -> str:
    return f"{repository} at {revision}" if revision else repository


@contextlib.contextmanager
def _told(repository: str, doing: str, revision: str | None = None) -> Iterator[None]:
    """Turn what the Hub answers into one sentence, without its text: addresses in it may hold secrets."""
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
    except EntryNotFoundError:
        raise
    except GatedRepoError as error:
        raise UserError(f"{repository} is gated: ask for access on its page, then {_LOG_IN}") from error
    except RepositoryNotFoundError as error:
        raise UserError(
            f"the Hub has no repository {repository} that this token may {doing}: is the name right? for a "
            f"private one {_LOG_IN}"
        ) from error
    except RevisionNotFoundError as error:
        raise UserError(f"{repository} has no revision '{revision}' (a branch, a tag or a commit)") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise UserError(
                f"the Hub does not allow this token to {doing} {repository}: {_LOG_IN}"
            ) from error
        said = f", {error.server_message}" if error.server_message else ""
        raise LookalikeError(f"the Hub could not {doing} {repository} (HTTP {status}{said})") from error
    except ValueError as error:  # it refuses a model card whose head it cannot read
        raise UserError(f"the Hub refuses {repository}: {line_of(error)}") from error
