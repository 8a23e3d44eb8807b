"""What is missing while the Hub may not be asked."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import is_offline_mode

from teminal_hf.errors import OfflineError


@contextmanager
def saying_what_to_fetch(name: str, command: str) -> Iterator[None]:
    """Loading `name` may fail offline: say by what `command` to fetch it, once, while online.

    Raises:
        OfflineError: in the place of what the loading library raised, offline (HF_HUB_OFFLINE=1) and for what is no
            path.
    """
    try:
        yield
    except (OSError, ValueError) as error:
        if not is_offline_mode() or Path(name).exists():
            raise
        raise OfflineError(
            f"{name} is not, or not wholly, on this machine, and HF_HUB_OFFLINE forbids asking the Hub for it. Fetch "
            f"it once, online: {command}"
        ) from error


def fetching_data(name: str) -> str:
    """The command that fetches a data set to where `load_dataset` finds it offline."""
    return f"""python -c "from datasets import load_dataset; load_dataset('{name}')\""""
