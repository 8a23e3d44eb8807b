"""What a test needs and may lack."""

import os
from typing import NoReturn

import pytest


def missing(what: str) -> NoReturn:
    """Skip a test that needs what is not installed, and say so; with TEMINAL_REQUIRE_ALL=1, as in CI, fail."""
    if os.environ.get("TEMINAL_REQUIRE_ALL") == "1":
        pytest.fail(what)
    pytest.skip(what)
