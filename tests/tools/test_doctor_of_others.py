"""What `teminal doctor` finds of models that are no CLAP: what any encoder can be asked."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from support.pe_audio import pe_audio, pe_processor
from support.tiny import RATE
from teminal_hf.tools import doctor
from teminal_hf.tools.doctor import diagnose


@pytest.fixture(autouse=True)
def few_items(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "ORDER_ITEMS", 4)


def saved(folder: Path, *, silent: bool = False) -> str:
    model = pe_audio()
    if silent:
        with torch.no_grad():
            model.audio_head.proj.weight.zero_()
    model.save_pretrained(folder)
    pe_processor(RATE).save_pretrained(folder)
    return str(folder)


def test_pe_audio_is_examined_as_any_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "COLLAPSED", 1.0)  # most words are unknown to its tokenizer
    sounds = [tmp_path / "long.wav", tmp_path / "nothing.wav"]
    soundfile.write(sounds[0], np.random.default_rng(0).uniform(-0.5, 0.5, 12 * RATE), RATE)
    opened, long, missing, text, order = diagnose(saved(tmp_path / "pe"), sounds)
    assert opened.what == f"no CLAP, but opened as PeAudioEncoder: hears recordings of any length whole, at {RATE} Hz"
    assert long.level == "ok" and long.what.endswith(f"12.000 s at {RATE} Hz; heard as it is")
    assert missing.level == "problem" and "nothing.wav" in missing.what
    assert text.what.startswith("the text tower tells captions apart")
    assert "order check on the synthetic sound bank" in order.what and "of 4 right" in order.what


def test_an_audio_tower_without_an_answer_is_a_problem(tmp_path: Path) -> None:
    *_, found = diagnose(saved(tmp_path, silent=True))
    assert found.level == "problem" and "the audio tower gives embeddings that are NaN or zero" in found.what
