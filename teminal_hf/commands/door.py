"""The door between this package and a person: messages for what they can mend, tracebacks for faults."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from teminal_hf.errors import TeminalError

ISSUES = "https://github.com/teminal/teminal_hf/issues"


@contextmanager
def door() -> Iterator[None]:
    """Run a command: messages go to standard error, `TeminalError`s end it with their message alone and exit status 1.

    `TEMINAL_DEBUG=1` shows their tracebacks too.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    level = logging.INFO if os.environ.get("RANK", "0") == "0" else logging.WARNING  # say it once
    logging.getLogger("teminal_hf").setLevel(level)
    try:
        yield
    except TeminalError as error:
        if os.environ.get("TEMINAL_DEBUG") == "1":
            raise
        sys.exit(f"error: {error}")
    except Exception as error:
        if isinstance(error, OSError) and error.filename is not None and os.environ.get("TEMINAL_DEBUG") != "1":
            sys.exit(f"error: {error.filename}: {error.strerror}")  # the system's word on a file that was named
        error.add_note(f"\nThis is a fault of teminal_hf or of a library, not yours. Please report it: {ISSUES}")
        raise
