"""The door between this package and a person: messages for what they can mend, tracebacks for faults."""

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from teminal_hf.errors import Stopped, TeminalError

ISSUES = "https://github.com/teminal/teminal_hf/issues"


@contextmanager
def door() -> Iterator[None]:
    """Run a command: messages go to standard error, `TeminalError`s end it with their message alone and exit status 1.

    `TEMINAL_DEBUG=1` shows their tracebacks too.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    level = logging.INFO if os.environ.get("RANK", "0") == "0" else logging.WARNING  # say it once
    logging.getLogger("teminal_hf").setLevel(level)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _stop)
    try:
        yield
    except KeyboardInterrupt as error:  # a run has said what is saved
        sys.exit(128 + (signal.SIGTERM if isinstance(error, Stopped) else signal.SIGINT))
    except TeminalError as error:
        if os.environ.get("TEMINAL_DEBUG") == "1":
            raise
        sys.exit(f"error: {error}")
    except Exception as error:
        if isinstance(error, OSError) and error.filename is not None and os.environ.get("TEMINAL_DEBUG") != "1":
            sys.exit(f"error: {error.filename}: {error.strerror}")  # the system's word on a file that was named
        error.add_note(f"\nThis is a fault of teminal_hf or of a library, not yours. Please report it: {ISSUES}")
        raise


def _stop(number: int, frame: object) -> None:
    signal.signal(number, signal.SIG_IGN)  # once is enough: what is half written is being removed
    raise Stopped
