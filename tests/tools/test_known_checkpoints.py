"""The page of known checkpoints: what it says is what the code does, and what their files say."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from support.documents import read
from support.paths import ROOT
from support.tiny import RATE, tiny_clap, tiny_processor
from teminal_hf.errors import CheckpointError
from teminal_hf.models.checkpoint import load_clap
from teminal_hf.models.embed import ClapEncoder
from teminal_hf.models.hearing import Hearing, is_fused
from teminal_hf.tools.known_checkpoints import NOT_SEEN, TRAPS, Known, known_checkpoints, page

MODULE = "teminal_hf.tools.known_checkpoints"
KNOWN = {known.name: known for known in known_checkpoints()}
LAION = Hearing(48_000, 10.0, 5.0, 1, False, "slaney", 32)
# By hand, from the files that the page names.
HEARD = {
    "clap-mini": Hearing(16_000, 10.0, 0.0, 1, False, "slaney", 8),
    "laion/clap-htsat-unfused": LAION,
    "laion/clap-htsat-fused": Hearing(48_000, 10.0, 5.0, 3, True, "htk", 32),
    "laion/larger_clap_general": LAION,
    "laion/larger_clap_music": None,
    "laion/larger_clap_music_and_speech": None,
}


def test_the_page_is_what_the_command_prints(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, regenerate_golden: bool
) -> None:
    monkeypatch.delitem(sys.modules, MODULE)
    runpy.run_module(MODULE, run_name="__main__")
    written = capsys.readouterr().out
    if regenerate_golden:
        (ROOT / "docs" / "checkpoints.md").write_text(written, encoding="utf-8")
    assert written == page() == read("docs/checkpoints.md"), f"python -m {MODULE} > docs/checkpoints.md"


def test_how_each_hears() -> None:
    assert {name: known.hearing for name, known in KNOWN.items()} == HEARD


def test_traps_of_each() -> None:
    assert {name: known.traps for name, known in KNOWN.items()} == {
        "clap-mini": ("crops",),
        "laion/clap-htsat-unfused": ("tiles", "crops", "pickle"),
        "laion/clap-htsat-fused": ("tiles", "fusion"),
        "laion/larger_clap_general": ("tiles", "crops", "pickle"),
        "laion/larger_clap_music": ("collapsed", "pickle"),
        "laion/larger_clap_music_and_speech": ("pickle",),
    }
    assert {trap for known in KNOWN.values() for trap in known.traps} == set(TRAPS)


def test_what_was_not_seen_is_not_said() -> None:
    rows = [line for line in page().splitlines() if line.startswith(("| `laion/", "| `clap-mini"))]
    unseen = [row.split("`")[1] for row in rows if NOT_SEEN in row]
    assert len(rows) == len(KNOWN) and unseen == [name for name, known in KNOWN.items() if known.extractor is None]
    assert all(known.sources for known in KNOWN.values())


@pytest.mark.parametrize("known", [known for known in KNOWN.values() if known.extractor], ids=lambda known: known.name)
def test_what_opens_opens(known: Known, tmp_path: Path) -> None:
    """Small random weights of the same kind, fused or not, through `load_clap` and to an embedding."""
    assert known.extractor
    model, audio = tiny_clap(fused=is_fused(known.config)), known.config.audio_config
    model.config.audio_config.fusion_type = audio.fusion_type
    processor = tiny_processor()
    for name in ("truncation", "padding"):
        setattr(processor.feature_extractor, name, known.extractor[name])
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    if not known.opens:
        with pytest.raises(CheckpointError, match="fused"):
            load_clap(str(tmp_path))
        return
    encoder = ClapEncoder(*load_clap(str(tmp_path)))
    assert np.isfinite(encoder.embed_audio([np.ones(RATE // 4, np.float32)])).all()


def test_a_fused_extractor_draws_a_short_clip_for_the_fusion_layers() -> None:
    extractor = tiny_processor().feature_extractor
    np.random.seed(0)
    drawn = {
        int(np.argmax(extractor([np.ones(RATE // 2)] * 3, truncation="fusion", sampling_rate=RATE)["is_longer"]))
        for _ in range(20)
    }
    assert drawn == {0, 1, 2}
