"""The page to try a model on, as `teminal demo` opens it, in a real headless Chromium.

Skipped without gradio, playwright or Chromium; TEMINAL_REQUIRE_ALL=1 makes an error of the skip. The screenshot goes to
`test-output/demo.png`, or to the folder TEMINAL_TEST_OUTPUT.
"""

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from support.clips import tone
from support.demo_run import write_opposite_run
from support.needs import missing
from support.paths import ROOT
from teminal_hf.evaluation.ranking import rank
from teminal_hf.hub.cards import GRADIO_VERSION
from teminal_hf.models.checkpoint import CLAP_MINI
from teminal_hf.tools import page as demo
from teminal_hf.tools.listening import Listener, compose, load_listener, suggest

OUTPUT = Path(os.environ.get("TEMINAL_TEST_OUTPUT") or ROOT / "test-output")
NO_GRADIO = 'no gradio: pip install "teminal-hf[demo]"'
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
)
SERVE = """
import pathlib, socket
LOCAL = (None, "", "127.0.0.1", "::1", "localhost", "0.0.0.0")
def watched(original, place):
    def call(*args, **kwargs):
        address = args[place]
        host = address[0] if isinstance(address, tuple) else address
        if (host.decode() if isinstance(host, bytes) else host) not in LOCAL:
            with pathlib.Path("outside.txt").open("a") as file:
                print(host, file=file)
            raise OSError(f"outside: {host}")
        return original(*args, **kwargs)
    return call
socket.getaddrinfo = watched(socket.getaddrinfo, 0)
socket.socket.connect = watched(socket.socket.connect, 1)
socket.socket.connect_ex = watched(socket.socket.connect_ex, 1)
from teminal_hf.commands import cli
cli.main(["demo"])
"""


def _need(there: Any, what: str) -> None:
    if not there:
        missing(what)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with a finished run."""
    folder = tmp_path_factory.mktemp("demo")
    write_opposite_run(folder)
    return folder


@pytest.fixture(scope="module")
def listeners(folder: Path) -> tuple[Listener, Listener]:
    return load_listener(CLAP_MINI), load_listener(str(folder / "runs" / "demo-001" / "stage_b"))


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    """`teminal demo` in a process of its own, which notes every look outside."""
    _need(importlib.util.find_spec("gradio"), NO_GRADIO)
    env = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    env |= {"PYTHONPATH": str(ROOT), "GRADIO_TEMP_DIR": str(folder / "gradio"), "OMP_NUM_THREADS": "1"}
    env["HF_HUB_OFFLINE"] = "0"  # it must stay inside unasked
    with (folder / "errors.txt").open("w") as errors:
        server = subprocess.Popen(
            [sys.executable, "-c", SERVE], cwd=folder, env=env, stdout=subprocess.PIPE, stderr=errors, text=True
        )
        assert server.stdout is not None
        lines = iter(server.stdout.readline, "")
        found = next((found for line in lines if (found := re.search(r"the page is at (http\S+)", line))), None)
        assert found, (folder / "errors.txt").read_text()
        yield found[1]
        server.terminate()
        server.wait(20)
        server.stdout.close()


@pytest.fixture
def page(address: str, folder: Path, tmp_path: Path) -> Iterator[Any]:
    """The page in an empty profile. At the end: neither it nor the server looked outside, and no error was logged."""
    _need(importlib.util.find_spec("playwright"), "no playwright: pip install playwright (no browser download needed)")
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    _need(browser, "no Chromium: apt-get install chromium, or any of " + ", ".join(BROWSERS))
    from playwright.sync_api import sync_playwright

    asked: list[str] = []
    complaints: list[str] = []
    with sync_playwright() as play:
        context = play.chromium.launch_persistent_context(
            tmp_path / "profile", executable_path=browser, args=FLAGS, viewport={"width": 1280, "height": 900}
        )
        page = context.pages[0]
        context.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(address)
        page.locator("#result .waiting").wait_for()
        yield page
        context.close()
    assert asked and not [url for url in asked if not url.startswith((address, "data:", f"blob:{address}"))]
    assert not complaints
    assert not (folder / "outside.txt").exists(), (folder / "outside.txt").read_text()


def _choose(page: Any, box: str, name: str) -> None:
    page.locator(f"#{box} input").click()
    page.locator(f"#{box}").get_by_role("option", name=name, exact=True).click()


def _read(page: Any, model: str) -> list[tuple[str, float]]:
    """The ranking that is shown for "base" or "post-trained"."""
    page.locator(f"#{model} li").first.wait_for()
    rows = page.locator(f"#{model} li").all()
    return [(row.locator(".caption").inner_text(), float(row.locator(".cosine").inner_text())) for row in rows]


def _expect_captions(page: Any, *captions: str) -> None:
    from playwright.sync_api import expect

    for number, caption in enumerate(captions, 1):
        expect(page.get_by_label(f"Caption {number}")).to_have_value(caption)


def _assert_shown(page: Any, listeners: Sequence[Listener], sound: np.ndarray, captions: Sequence[str]) -> None:
    """Both rankings on the page are those of `sound` as it is in a 16-bit file."""
    heard = (demo.to_int16(sound) / 32768).astype(np.float32)
    for name, listener in zip(("base", "post-trained"), listeners, strict=True):
        truth = rank(listener.encoder, heard, captions).captions
        shown = _read(page, name)
        assert [text for text, _ in shown] == [text for text, _ in truth]
        assert [cosine for _, cosine in shown] == pytest.approx([cosine for _, cosine in truth], abs=6e-4)


def test_the_page_composes_and_ranks(page: Any, listeners: Sequence[Listener]) -> None:
    from playwright.sync_api import expect

    _choose(page, "first", "cat")
    expect(page.get_by_label("Caption 1")).to_have_value("cat before rain")
    _choose(page, "first", "dog")
    _choose(page, "second", "rain")
    expect(page.get_by_label("Caption 1")).to_have_value("dog before rain")
    page.get_by_role("radio", name="then").check()
    expect(page.locator("#spectrogram")).to_be_hidden()
    page.locator("#compose").click()
    page.locator("#sound #waveform").wait_for()
    page.locator("#compare").click()
    composed = compose("dog", "then", "rain", 1, listeners[1].encoder)
    _assert_shown(page, listeners, composed, ("dog before rain", "rain before dog", "dog while rain"))
    preferred = [_read(page, name)[0][0] for name in ("base", "post-trained")]
    assert preferred[0] != preferred[1]
    verdict = f"The base prefers “{preferred[0]}”, the post-trained model “{preferred[1]}”."
    assert page.locator("#result .verdict").inner_text() == verdict
    page.locator("#spectrogram img").wait_for()
    OUTPUT.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=OUTPUT / "demo.png", full_page=True)


def test_the_page_takes_examples_files_and_recordings(page: Any, listeners: Sequence[Listener], tmp_path: Path) -> None:
    from playwright.sync_api import expect

    file, cleared = page.locator("#sound input[type=file]"), "Nothing compared yet"
    page.get_by_text("helicopter while cat").click()
    composed = compose("helicopter", "while", "cat", 1, listeners[1].encoder)
    _assert_shown(page, listeners, composed, suggest("cat", "helicopter"))

    page.locator("#sound").get_by_label("Clear").click()
    expect(page.locator("#result")).to_contain_text(cleared)
    sound = tone(440, 3, 16_000)
    soundfile.write(tmp_path / "tone.wav", demo.to_int16(sound), 16_000)
    file.set_input_files(tmp_path / "tone.wav")
    page.locator("#sound #waveform").wait_for()
    _expect_captions(page, "", "", "")
    page.locator("#compare").click()
    expect(page.locator("#result .problem")).to_have_text("Type two or three captions to choose between; found 0.")
    odd = "<b>cat</b> ${1 + 1} {{value}}"
    page.get_by_label("Caption 1").fill("a tone")
    page.get_by_label("Caption 3").fill(odd)
    page.get_by_label("Caption 3").press("Enter")
    _assert_shown(page, listeners, sound, ("a tone", odd))

    page.locator("#sound").get_by_label("Clear").click()
    soundfile.write(tmp_path / "silence.wav", np.zeros(16_000), 16_000)
    file.set_input_files(tmp_path / "silence.wav")
    page.locator("#sound #waveform").wait_for()
    expect(page.locator("#result .problem")).to_contain_text("The sound is silent (peak 0.0e+00 of full scale)")
    expect(page.locator("#result li")).to_have_count(0)

    page.locator("#sound").get_by_label("Clear").click()
    page.get_by_label("Record audio").click()
    page.locator("#sound .record-button").click()
    page.wait_for_timeout(1500)
    page.locator("#sound .stop-button").click()
    page.locator("#sound #waveform").wait_for()
    _expect_captions(page, "a tone", "", odd)  # what was typed stays
    page.locator("#compare").click()
    assert len(_read(page, "base")) == 2

    page.locator("#compose").click()
    _expect_captions(page, *suggest("helicopter", "cat"))


def test_a_file_that_is_no_sound_is_refused_in_one_sentence(page: Any, tmp_path: Path) -> None:
    from playwright.sync_api import expect

    (tmp_path / "notes.txt").write_text("no sound")
    page.locator("#sound input[type=file]").set_input_files(tmp_path / "notes.txt")
    limits = "A sound of your own may be wav, flac, ogg or mp3, at most 120 s and 50 MB."
    conversion = "To convert another format: ffmpeg -i FILE FILE.wav"
    expect(page.get_by_test_id("toast-text")).to_have_text(f"notes.txt cannot be read. {limits} {conversion}")
    expect(page.locator("#limits")).to_contain_text(limits)


def test_on_a_phone_the_verdict_is_in_view(page: Any) -> None:
    from playwright.sync_api import expect

    page.set_viewport_size({"width": 390, "height": 844})
    page.get_by_text("church bells then crow").click()
    _read(page, "base")
    expect(page.locator("#result .verdict")).to_be_in_viewport(ratio=1)
    picture = page.locator("#spectrogram img")
    picture.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    box = picture.bounding_box()
    assert box["y"] > page.locator("#result").bounding_box()["y"]
    assert 10 / 72 * box["width"] / 4.8 > 8  # pixels of the text, which is 10 points high in a picture of 4.8 inches
    page.screenshot(path=OUTPUT / "demo-phone.png", full_page=True)


def test_a_space_runs_on_the_gradio_that_is_tested() -> None:
    _need(importlib.util.find_spec("gradio"), NO_GRADIO)
    assert importlib.metadata.version("gradio") == GRADIO_VERSION
