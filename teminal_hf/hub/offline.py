"""What is missing: folders that are not there, and what the Hub may not be asked for."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import is_offline_mode

from teminal_hf.errors import NotFoundError, OfflineError

_NAMED = 8  # folders in a message


@contextmanager
def saying_what_to_fetch(name: str, command: str) -> Iterator[None]:
    """Loading `name` may fail: say that there is no such folder if that is what was meant, or, offline, by what
    `command` to fetch it from the Hub, once, while online.

    Raises:
        NotFoundError: in the place of what the loading library raised, for a path that leads nowhere.
        OfflineError: the same offline (HF_HUB_OFFLINE=1), for the name of something on the Hub.
    """
    try:
        yield
    except (OSError, ValueError) as error:
        if Path(name).exists():
            raise
        if _looks_like_a_path(name):
            raise NotFoundError(f"there is no folder {name}; {_what_is_there(name)}") from error
        if not is_offline_mode():
            raise
        raise OfflineError(
            f"{name} is not, or not wholly, on this machine, and HF_HUB_OFFLINE forbids asking the Hub for it. Fetch "
            f"it once, online: {command}"
        ) from error


def _looks_like_a_path(name: str) -> bool:
    """Names on the Hub are NAME or USER/NAME, and few have a folder here that is called as they are."""
    path = Path(name)
    beside_others = path.parent != Path() and path.parent.is_dir()
    odd = name.startswith((".", "~")) or name.endswith("/") or name.count("/") > 1
    return odd or path.is_absolute() or beside_others


def _what_is_there(name: str) -> str:
    if name.startswith("~") and (meant := Path(name).expanduser()).exists():
        return f"~ was not expanded: give {meant}"
    parent = next(parent for parent in Path(name).parents if parent.is_dir())
    folders = sorted(path.name for path in parent.iterdir() if path.is_dir() and not path.name.startswith("."))
    listed = ", ".join(folders[:_NAMED]) + (", ..." if len(folders) > _NAMED else "")
    return f"{parent.as_posix().rstrip('/')}/ holds: {listed or 'no folder'}"


def fetching_data(name: str) -> str:
    """The command that fetches a data set to where `load_dataset` finds it offline."""
    return f"""python -c "from datasets import load_dataset; load_dataset('{name}')\""""
