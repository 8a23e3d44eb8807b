"""The tests that there are, by the names that `--test` takes."""

from collections.abc import Callable, Mapping

from teminal_hf.order_tests import audiotime, compa, syncaps, tacos, trea
from teminal_hf.order_tests.questions import OrderTest

READERS: Mapping[str, Callable[..., OrderTest]] = {  # of a folder; tacos takes a margin too
    "compa": compa.read_order,
    "compa_attribute": compa.read_attribute,
    "tacos": tacos.read,
    "syncaps": syncaps.read,
    "trea": trea.read,
    "audiotime": audiotime.read,
}
