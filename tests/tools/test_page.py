"""The page to try a model on: what it computes, what it says, what a Space of it holds."""

import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from support.clients import client
from support.clips import tone
from support.demo_run import write_opposite_run
from support.hub_server import HubServer
from support.paths import ROOT
from teminal_hf.audio.waveform import rms
from teminal_hf.clips.soundbank import synthesise
from teminal_hf.commands import cli
from teminal_hf.errors import DataError, MissingExtraError, NotFoundError
from teminal_hf.evaluation.ranking import Ranking, rank, when
from teminal_hf.integrations.encoders import load_encoder
from teminal_hf.models.checkpoint import CLAP_MINI
from teminal_hf.tools import page as demo
from teminal_hf.tools import space as command
from teminal_hf.tools.listening import Listener, compose, load_listener, picture, rank_by_each, spectrogram, suggest

CAPTIONS = ("dog before rain", "rain before dog", "dog while rain")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_opposite_run(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def listeners(run: Path) -> tuple[Listener, Listener]:
    return load_listener(CLAP_MINI), load_listener(str(run))


@pytest.fixture
def wav(tmp_path: Path) -> Any:
    def write(samples: np.ndarray, rate: int = 16_000) -> str:
        soundfile.write(tmp_path / "sound.wav", samples, rate)
        return str(tmp_path / "sound.wav")

    return write


def _lag(composed: np.ndarray, clip_id: str) -> int:
    """At which sample the clip lies in the composition: the peak of their cross-correlation."""
    clip = synthesise(clip_id)
    n = len(composed) + len(clip)
    correlation = np.fft.irfft(np.fft.rfft(composed, n) * np.conj(np.fft.rfft(clip, n)), n)
    return int(np.argmax(np.abs(correlation[: len(composed)])))


def _sounding(composed: np.ndarray) -> np.ndarray:
    heard = np.flatnonzero(composed)
    return composed[heard[0] : heard[-1] + 1]


def test_then_is_one_clip_after_the_other_and_while_is_both_at_once(listeners: Sequence[Listener]) -> None:
    dog, rain = "soundbank/4/dog/002", "soundbank/4/rain/002"
    encoder = listeners[1].encoder
    then, back, both = (
        compose(*asked, 3, encoder)
        for asked in (("dog", "then", "rain"), ("rain", "then", "dog"), ("dog", "while", "rain"))
    )
    trimmed = 0.1 * 16_000  # a clip's quiet ends, cut off, shift it
    assert _lag(then, rain) - _lag(then, dog) == pytest.approx(len(synthesise(dog)), abs=trimmed)
    assert _lag(back, dog) - _lag(back, rain) == pytest.approx(len(synthesise(rain)), abs=trimmed)
    start = np.flatnonzero(both)[0]
    assert _lag(both, dog) == pytest.approx(start, abs=trimmed)
    assert then.shape == both.shape == (160_000,)
    assert len(_sounding(then)) == pytest.approx(len(_sounding(both)), abs=2)
    assert rms(_sounding(then)) == pytest.approx(rms(_sounding(both)), rel=1e-3)
    assert not np.array_equal(then, compose("dog", "then", "rain", 4, encoder))


def test_both_models_are_asked_the_same(listeners: Sequence[Listener], wav: Any) -> None:
    composed = compose("dog", "then", "rain", 1, listeners[1].encoder)
    base, post = rank_by_each(listeners, wav(composed), CAPTIONS)
    truth = rank(load_encoder(CLAP_MINI), composed, CAPTIONS)
    assert [text for text, _ in base.captions] == [text for text, _ in truth.captions]
    cosines = dict(truth.captions)
    assert dict(base.captions) == pytest.approx(cosines, abs=1e-3)
    assert [text for text, _ in post.captions] == [text for text, _ in reversed(base.captions)]
    assert dict(post.captions) == pytest.approx({text: -cosine for text, cosine in cosines.items()}, abs=1e-3)


def test_suggested_captions_are_of_the_two_classes() -> None:
    assert suggest("door_wood_knock", "dog") == (
        "door wood knock before dog",
        "dog before door wood knock",
        "door wood knock while dog",
    )


@pytest.mark.parametrize(
    ("samples", "captions", "message"),
    [
        (None, CAPTIONS, "there is no sound yet: drop in a file, record one, or compose two clips"),
        (
            np.zeros(16_000),
            CAPTIONS,
            r"the sound is silent \(peak 0.0e\+00 of full scale\); give one with something to hear",
        ),
        (tone(440, 0.02, 16_000), CAPTIONS, "the sound holds only 20 ms of sound"),
        (tone(440, 121, 16_000), CAPTIONS, "the sound lasts 121 s; cut it to 120 s or less"),
        (tone(440, 1, 16_000), ("dog", " ", ""), "type two or three captions to choose between; found 1"),
        (tone(440, 1, 16_000), (None, None, None), "found 0"),
        (tone(440, 1, 16_000), ("dog", "rain", " Dog  "), "two of the captions are the same"),
    ],
)
def test_what_cannot_be_compared_is_said(
    listeners: Sequence[Listener], wav: Any, samples: np.ndarray | None, captions: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        rank_by_each(listeners, None if samples is None else wav(samples), captions)


def test_a_file_that_is_no_sound_is_said(listeners: Sequence[Listener], tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    path.write_bytes(b"nothing to hear")
    message = r"^the sound cannot be decoded as audio .*, others after a conversion: ffmpeg -i sound.wav converted.wav$"
    with pytest.raises(DataError, match=message):
        rank_by_each(listeners, str(path), CAPTIONS)
    path.unlink()
    with pytest.raises(NotFoundError, match=r"no longer here .*deleted after an hour\); compose it or give it again"):
        rank_by_each(listeners, str(path), CAPTIONS)


def test_twice_the_same_class_is_refused(listeners: Sequence[Listener]) -> None:
    with pytest.raises(ValueError, match="choose two different sounds: no caption can say which dog comes first"):
        compose("dog", "then", "dog", 1, listeners[1].encoder)


def test_the_spectrogram_shows_when_and_how_high(listeners: Sequence[Listener]) -> None:
    sound = np.concatenate([1e-3 * tone(250, 2, 16_000), tone(2000, 2, 16_000), 1e-3 * tone(250, 11, 16_000)])
    axes, colours = spectrogram(sound, 16_000).axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("time, s", "kHz (mel scale)")
    assert colours.get_ylabel() == "dB relative to the loudest"
    (image,) = axes.images
    left, right, bottom, top = image.get_extent()
    assert (left, bottom, top) == (0, -0.5, 63.5)
    assert right == pytest.approx(15, abs=0.1)  # beyond the model's window of 10 s
    picture = np.asarray(image.get_array())
    loud = np.flatnonzero(picture.max(axis=0) > picture.max() - 6) * right / picture.shape[1]
    assert (loud[0], loud[-1]) == (pytest.approx(2, abs=0.1), pytest.approx(4, abs=0.1))
    heights = {
        label.get_text(): height for label, height in zip(axes.get_yticklabels(), axes.get_yticks(), strict=True)
    }
    assert picture[:, int(3 / right * picture.shape[1])].argmax() == pytest.approx(heights["2"], abs=0.6)
    assert list(heights) == ["0.5", "1", "2", "4"]


def test_of_a_long_sound_the_curves_say_where_it_fits(listeners: Sequence[Listener], wav: Any) -> None:
    long = wav(np.concatenate([tone(250, 8, 16_000), tone(2000, 9, 16_000)]))
    _, lower, _ = picture(listeners[1], long, CAPTIONS).axes
    found = when(listeners[1].encoder, long, [text for text in CAPTIONS if text])
    assert len(lower.lines) == len(found.captions) and lower.get_ylabel() == "similarity"
    for line, caption, similarity in zip(lower.lines, found.captions, found.similarity.T, strict=True):
        assert line.get_label() == caption
        assert list(line.get_xdata()) == [5, 7.5, 10, 12] and line.get_ydata() == pytest.approx(similarity)
    assert len(picture(listeners[1], wav(tone(250, 8, 16_000)), CAPTIONS).axes) == 2  # the colour bar's is the other


def test_the_result_says_who_prefers_what() -> None:
    base = Ranking((("<b>dog</b> & rain", 0.5), ("rain", 0.25)), 1)
    post = Ranking((("rain", 0.75), ("<b>dog</b> & rain", -0.5)), 3)
    said = demo.results_html(("clap-mini", "runs/<a>"), (base, post))
    assert "The base prefers “&lt;b&gt;dog&lt;/b&gt; &amp; rain”, the post-trained model “rain”." in said
    assert "<b>" not in said and "runs/&lt;a&gt;" in said
    assert re.findall(r"[+-]\d\.\d{3}", said) == ["+0.500", "+0.250", "+0.750", "-0.500"]
    assert re.findall(r"ahead of the next by ([\d.]+)", said) == ["0.250", "1.250"]
    assert "heard through 3 evenly spaced windows" in said
    agreed = demo.results_html(("a", "b"), (base, base))
    assert "Both prefer “&lt;b&gt;dog" in agreed and "windows" not in agreed


def test_a_fault_is_not_laid_on_the_user(caplog: pytest.LogCaptureFixture) -> None:
    warned: list[str] = []
    gr = SimpleNamespace(Warning=warned.append)
    assert demo._problem(gr, DataError("found <nothing>")) == '<p class="problem">Found &lt;nothing&gt;.</p>'
    assert not caplog.records
    fault = ValueError("a shape that is wrong")
    assert re.search("Something failed here, .*; please report it", demo._problem(gr, fault))
    assert [record.exc_info and record.exc_info[1] for record in caplog.records] == [fault]
    assert warned[0] == "Found <nothing>" and "wrong" not in warned[1]


def test_a_taken_port_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def launch(**options: Any) -> None:
        assert options["share"] is False
        raise OSError("Cannot find empty port in range: 7871-7871.")

    theme = SimpleNamespace(Default=lambda **options: None)
    monkeypatch.setitem(sys.modules, "gradio", SimpleNamespace(themes=theme))
    with pytest.raises(OSError, match=r"^port 7871 is taken; choose another with --port"):
        demo.serve(SimpleNamespace(launch=launch), 7871)


def test_without_gradio_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(MissingExtraError, match=r'the page needs gradio: pip install "teminal-hf\[demo\]"'):
        demo.build("clap-mini", "clap-mini")


# The command


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What would be built and served."""
    calls: list[Any] = []
    monkeypatch.setattr(demo, "build", lambda model, base: (model, base))
    monkeypatch.setattr(demo, "serve", lambda page, port: calls.append((*page, port)))
    return calls


def test_the_newest_run_is_shown_against_its_base(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, served: list[Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    for age, (name, complete) in enumerate((("cut-001", False), ("new/stage_b", True), ("old-001", True))):
        run = tmp_path / "runs" / name
        run.mkdir(parents=True)
        (run / "model.safetensors").touch()
        (run / "run.json").write_text(
            json.dumps({"finished": ["weights"] if complete else [], "base": f"base of {name}"})
        )
        os.utime(run / "run.json", (10 - age, 10 - age))
    cli.main(["demo"])
    cli.main(["demo", "--model", "runs/old-001", "--port", "7000"])
    with pytest.raises(SystemExit, match=r"nothing says what user/model was trained from: .* by --base"):
        cli.main(["demo", "--model", "user/model"])
    cli.main(["demo", "--model", "runs/old-001", "--base", "user/base"])
    assert served == [
        ("runs/new/stage_b", "base of new/stage_b", None),
        ("runs/old-001", "base of old-001", 7000),
        ("runs/old-001", "user/base", None),
    ]


def test_without_a_run_the_way_to_one_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=r"^error: no finished run in runs/.*--model.*`make demo`"):
        cli.main(["demo"])
    with pytest.raises(SystemExit, match=r"^error: clap-mini would be compared with itself"):
        cli.main(["demo", "--model", "clap-mini"])


@pytest.mark.parametrize("port", [-1, 0, 65_536, 70_000])
def test_a_port_out_of_range_is_refused(port: int) -> None:
    with pytest.raises(SystemExit, match=f"^error: --port must be between 1 and 65535, got {port}"):
        cli.main(["demo", "--model", "user/model", "--port", str(port)])


# The Space


def test_a_folder_of_this_machine_is_refused(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    said = r"^error: a Space cannot read .*, which is on this machine: push it first \(teminal push .* --to USER/NAME\)"
    for model, base in ((str(run), "clap-mini"), ("user/model", str(run))):
        with pytest.raises(SystemExit, match=said):
            cli.main(["demo", "--push", "user/page", "--model", model, "--base", base])
    assert not list(tmp_path.iterdir())


def test_a_pushed_space_is_whole_and_runs_its_own_copy(tmp_path: Path) -> None:
    (tmp_path / "staged").mkdir()
    models = ("--model", "tester/model", "--base", "tester/base")
    with HubServer() as hub:
        command_line = ("-m", "teminal_hf.commands.cli", "demo", "--push", "page", *models)
        said = client(hub, tmp_path / "home", *command_line, cwd=ROOT, TMPDIR=str(tmp_path / "staged"))
        assert f"{hub.url}/spaces/tester/page" in said
        files = hub.repo("space", "tester/page").files
    assert not list((tmp_path / "staged").iterdir())
    package = {path.relative_to(ROOT).as_posix() for path in (ROOT / "teminal_hf").rglob("*") if path.is_file()}
    package = {name for name in package if "__pycache__" not in name}
    assert set(files) == {"app.py", "README.md", "requirements.txt", "models.json", *package}
    space = tmp_path / "space"
    for name, content in files.items():
        (space / name).parent.mkdir(parents=True, exist_ok=True)
        (space / name).write_bytes(content)
    ask = (
        "import runpy, sys; sys.path.insert(0, '.'); from teminal_hf.tools import page; print(page.__file__); "
        "page.build = lambda *models: models; page.serve = print; runpy.run_path('app.py')"
    )
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", ask], cwd=space, env=env, capture_output=True, text=True, timeout=120, check=True
    )
    where, named = done.stdout.splitlines()
    assert Path(where).is_relative_to(space)
    assert named == "('tester/model', 'tester/base')"


def test_the_space_installs_what_the_package_needs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = (ROOT / "hub_cards" / "space" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert needed == project["dependencies"]


def test_the_card_is_golden(regenerate_golden: bool) -> None:
    golden, card = ROOT / "tests" / "golden" / "space.md", command.space_card("user/clap-order", CLAP_MINI)
    if regenerate_golden:
        golden.write_text(card, encoding="utf-8")
    assert card == golden.read_text(encoding="utf-8")


def test_the_card_links_a_base_on_the_hub() -> None:
    card = command.space_card("user/clap-order", "user/clap")
    assert "- base: [user/clap](https://huggingface.co/user/clap)\n" in card
    assert "models:\n- user/clap-order\n- user/clap\n" in card
