"""Pushes to the Hub: a folder in one commit, safe to repeat, and never a pickle."""

import fnmatch
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from teminal_hf.errors import ConfigError, DataError, PushError

CHECKPOINT_FILES = (
    "config.json",
    "generation_config.json",
    "model*.safetensors",
    "model.safetensors.index.json",
    "*processor_config.json",
    "tokenizer*.json",
    "special_tokens_map.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
)
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.pickle", "*.ckpt")


def try_again(folder: str | Path, *command: str) -> str:
    """How a failed push of `folder` is repeated, for its message."""
    return f"All is in {folder}; try again with: {shlex.join(command)}"


def check_repo_id(repo_id: str) -> None:
    """Raise a ConfigError for a name that no repository can have."""
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise ConfigError(str(error)) from error


def make_repo(
    repo_id: str,
    repo_type: str,
    *,
    private: bool | None = None,
    token: str | None = None,
    revision: str | None = None,
    space_sdk: str | None = None,
) -> str:
    """Make the repository (and the branch `revision`), where it is not there yet, and return its full id ("name" is one
    in the user's own namespace). Before a long training this tells whether there will be something to push to.

    Raises:
        ConfigError: a name that no repository can have.
        PushError: not logged in, no right to write, no connection, an answer the Hub should not give, or a repository
            that is public where a private one is asked for.
    """
    check_repo_id(repo_id)
    api = HfApi(token=token, library_name="teminal_hf")
    try:
        if "/" not in repo_id:
            repo_id = f"{api.whoami()['name']}/{repo_id}"
        api.create_repo(repo_id, repo_type=repo_type, private=private, exist_ok=True, space_sdk=space_sdk)
        if revision is not None:
            api.create_branch(repo_id, branch=revision, repo_type=repo_type, exist_ok=True)
        is_public = private and not api.repo_info(repo_id, repo_type=repo_type).private
    except Exception as error:  # its network errors are of httpx or httpx2, by the version of huggingface_hub
        raise PushError(f"{repo_id} cannot be pushed to ({_reason(error)}). {_advice(error)}".strip()) from error
    if is_public:
        raise PushError(f"{repo_id} is there already, and public: make it private first, or choose another name.")
    return repo_id


def push_folder(
    folder: str | Path,
    repo_id: str,
    repo_type: str,
    files: Sequence[str],
    *,
    retry: str,
    managed: Sequence[str] | None = None,
    private: bool | None = None,
    token: str | None = None,
    space_sdk: str | None = None,
    revision: str | None = None,
    message: str = "Upload with teminal_hf",
    within: str = "",
    instead: Mapping[str, bytes] | None = None,
    prepare: Callable[[str], object] | None = None,
) -> str:
    """Upload those of `files` (patterns, relative to `folder`) that are there, in one commit: all of them or none. The
    repository is made where it is missing. What is there already, unchanged, is not sent again, and a push that changes
    nothing makes no commit.

    Args:
        repo_id: "user/name", or "name" in the user's own namespace.
        repo_type: "model", "dataset" or "space".
        retry: how to repeat the push, a sentence for the message of a failure (see `try_again`).
        managed: patterns of files that earlier pushes may have left, and that this one replaces: what it does not bring
            along is removed (default: `files`; nothing if `within` a folder).
        within: a folder of the repository to put the files in.
        instead: what to send in the place of some files' content, by their name.
        prepare: called with the repository's full name once it is there, to write what says that name.

    Returns:
        The repository's address.

    Raises:
        DataError: the patterns match no file, or a pickle; a name that no repository can have.
        PushError: as `make_repo`, or the upload failed.
    """
    folder = Path(folder)
    check_repo_id(repo_id)
    if prepare is None:
        _files(folder, files)  # what cannot be pushed is said before the Hub is asked
    api = HfApi(token=token, library_name="teminal_hf")
    owned = () if within else files if managed is None else managed
    try:
        repo_id = make_repo(repo_id, repo_type, private=private, token=token, revision=revision, space_sdk=space_sdk)
        if prepare is not None:
            prepare(repo_id)
        names = _files(folder, files)
        there = api.list_repo_files(repo_id, repo_type=repo_type, revision=revision) if owned else []
        stale = [name for name in there if name not in names and any(_matches(name, p) for p in owned)]
        operations = [CommitOperationDelete(name) for name in stale] + [
            CommitOperationAdd(f"{within}/{name}".lstrip("/"), (instead or {}).get(name, path))
            for name, path in names.items()
        ]
        # upload_folder may cut a push into several commits, so that a failure would leave half of it.
        api.create_commit(repo_id, operations, commit_message=message, repo_type=repo_type, revision=revision)
    except DataError:
        raise
    except Exception as error:
        reason = str(error) if isinstance(error, PushError) else f"{_reason(error)}. {_advice(error)}"
        raise PushError(f"the push to {repo_id} failed, nothing is lost: {reason.strip()} {retry}") from error
    prefix = "" if repo_type == "model" else f"{repo_type}s/"
    return f"{api.endpoint}/{prefix}{repo_id}"


def _files(folder: Path, patterns: Sequence[str]) -> dict[str, Path]:
    """Files by their name in the repository.

    Raises:
        DataError: there is none, or a pickle is among them.
    """
    found = sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()})
    if not found:
        raise DataError(f"{folder} holds nothing to push: none of {', '.join(patterns)}")
    pickles = [path.name for path in found if any(fnmatch.fnmatch(path.name, pattern) for pattern in _PICKLES)]
    if pickles:
        raise DataError(f"{', '.join(pickles)}: a pickle runs code when it is read, and is never pushed")
    return {path.relative_to(folder).as_posix(): path for path in found}


def _matches(name: str, pattern: str) -> bool:
    """As `Path.glob` would have it, in which no * stands for a /."""
    return name.count("/") == pattern.count("/") and fnmatch.fnmatch(name, pattern)


def _reason(error: BaseException) -> str:
    """What went wrong, in one line: without the page of a captive portal, and no address twice."""
    text = str(error).partition("<!DOCTYPE")[0].partition("<html")[0].partition("<HTML")[0]
    words, seen = [], set[str]()
    for word in text.split():
        address = word.strip("().,'\"")
        if not (address.startswith("http") and address in seen):
            words.append(word)
        seen.add(address)
    reason = " ".join(words).rstrip(".") or type(error).__name__
    return reason if error.__cause__ is None else f"{reason}: {_reason(error.__cause__)}"


def _advice(error: BaseException) -> str:
    if isinstance(error, RuntimeError) and error.__cause__ is not None:  # "Error while uploading", and then why
        return _advice(error.__cause__)
    status = error.response.status_code if isinstance(error, HfHubHTTPError) and error.response is not None else None
    if isinstance(error, LocalTokenNotFoundError) or status == 401:
        return "Log in first, with a token that may write: hf auth login."
    if status == 403:
        return "The token may not write there: make one that may, or choose another name."
    if status is not None or isinstance(error, ValueError):  # such as a name that no repository can have
        return ""
    return "Is there a connection, and is HF_HUB_OFFLINE unset?"
