"""The door between this package and a person: messages for what they can mend, tracebacks for faults."""

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from teminal_hf.errors import Stopped, TeminalError

# By package and name, so that none is imported here: what is wrong is a file, a data set, a name or too little memory.
_MENDABLE = {
    *("datasets.DatasetsError", "huggingface_hub.HFValidationError", "pyarrow.ArrowException", "yaml.YAMLError"),
    *("safetensors.SafetensorError", "safetensors_rust.SafetensorError", "soundfile.SoundFileError"),
    *("torch.OutOfMemoryError", "json.JSONDecodeError"),
    *("builtins.OSError", "builtins.ImportError", "builtins.MemoryError"),
}
# What torch.distributed says in the processes that are left.
_PEER_GONE = ("Connection closed by peer", "Connection reset by peer", "remote process exited")
ISSUES = "https://github.com/teminal/teminal_hf/issues"


@contextmanager
def door() -> Iterator[None]:
    """Run a command: messages go to standard error, `TeminalError`s end it with their message alone and exit status 1.

    `TEMINAL_DEBUG=1` shows their tracebacks too.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    level = logging.INFO if os.environ.get("RANK", "0") == "0" else logging.WARNING  # say it once
    logging.getLogger("teminal_hf").setLevel(level)
    before = signal.signal(signal.SIGTERM, _stop) if _in_main() else None
    try:
        yield
    except KeyboardInterrupt as error:
        if not error.args:  # otherwise a run has said what is saved
            logging.getLogger("teminal_hf").info("stopped; the same command begins anew")
        sys.exit(128 + (signal.SIGTERM if isinstance(error, Stopped) else signal.SIGINT))
    except TeminalError as error:
        if os.environ.get("TEMINAL_DEBUG") == "1":
            raise
        sys.exit(f"error: {error}")
    except Exception as error:
        if isinstance(error, RuntimeError) and any(text in str(error) for text in _PEER_GONE):
            sys.exit("error: another process of this run has ended, and this one cannot go on alone; see its message")
        if os.environ.get("TEMINAL_DEBUG") != "1" and (message := _of_a_library(error)):
            sys.exit(f"error: {message}")
        error.add_note(f"\nThis is a fault of teminal_hf or of a library, not yours. Please report it: {ISSUES}")
        raise
    finally:
        if _in_main():  # while Python shuts down, nobody would catch what is raised
            signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _of_a_library(error: BaseException) -> str:
    """The message of a library's error about files, data sets, names or memory, with its cause; "" for a fault."""
    if not any(f"{cls.__module__.partition('.')[0]}.{cls.__name__}" in _MENDABLE for cls in type(error).__mro__):
        return ""
    if isinstance(error, ImportError) and str(error.name).startswith("teminal_hf"):
        return ""  # a module of ours: a fault
    if isinstance(error, OSError) and error.filename is not None:  # the system's word on a file that was named
        return f"{error.filename}: {error.strerror}"
    reasons, link = dict[str, None](), error
    while link is not None:
        if isinstance(link, TeminalError):  # raised in what the library called
            return str(link)
        reasons[" ".join(str(link).split())] = None
        link = link.__cause__  # type: ignore[assignment]  # None ends it
    what = ": ".join(filter(None, reasons)) or "there is too little memory"
    return f"{what} ({type(error).__name__}; TEMINAL_DEBUG=1 shows where)"


def _stop(number: int, frame: object) -> None:
    signal.signal(number, signal.SIG_IGN)  # once is enough: what is half written is being removed
    raise Stopped


def _in_main() -> bool:
    return threading.current_thread() is threading.main_thread()


class _Fork:
    """A forked worker is born with SIGTERM as it always was. Pools of other libraries end theirs so, and would wait for
    ever: what comes before Python has set a fork up never reaches a handler of Python's."""

    def __init__(self) -> None:
        self._is_ours = False

    def before(self) -> None:
        self._is_ours = _in_main() and signal.getsignal(signal.SIGTERM) is _stop
        if self._is_ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def after_in_parent(self) -> None:
        if self._is_ours:
            signal.signal(signal.SIGTERM, _stop)


if hasattr(os, "register_at_fork"):
    _fork = _Fork()
    os.register_at_fork(before=_fork.before, after_in_parent=_fork.after_in_parent)
