"""Known checkpoints, how each hears, and the page of the documents that says so.

    python -m teminal_hf.tools.known_checkpoints > docs/checkpoints.md

writes the page anew.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from transformers import ClapConfig, ClapFeatureExtractor, ClapModel

from teminal_hf.errors import CheckpointError
from teminal_hf.models.checkpoint import CLAP_MINI, checkpoint_path
from teminal_hf.models.fusion import without_fusion
from teminal_hf.models.hearing import Hearing, hearing, is_fused, time_steps

NOT_SEEN = "not seen"

_LAION: Mapping[str, Any] = {
    "feature_size": 64,
    "sampling_rate": 48_000,
    "hop_length": 480,
    "max_length_s": 10,
    "fft_window_size": 1024,
    "frequency_min": 50,
    "frequency_max": 14_000,
    "padding": "repeatpad",
}
_UNFUSED: Mapping[str, Any] = {**_LAION, "truncation": "rand_trunc"}
_LARGER: Mapping[str, Any] = {"depths": [2, 2, 12, 2], "hidden_size": 1024, "patch_embeds_hidden_size": 128}
_HUB = "https://huggingface.co"
_MIRROR = f"{_HUB}/JackIsNotInTheBox/Generate_Audio_for_Video_Checkpoints/commit"

# Trap -> what plain transformers does, what is done here.
TRAPS: Mapping[str, tuple[str, str]] = {
    "tiles": (
        "a short recording is repeated until the window is full: A, B becomes A, B, A, B",
        "it is followed by silence, and what is saved pads as well",
    ),
    "crops": (
        "a recording longer than the window is cropped at random, another way at each call",
        "`teminal rank` hears it through evenly spaced windows, averaged, or one by one (`--when`)",
    ),
    "fusion": (
        "three random crops of a long recording are mixed with the whole of it; where all of a batch are short, one of "
        "them, drawn at random, goes through the fusion layers nevertheless. The mel filters are others than of "
        'unfused checkpoints, and change with `truncation`: an extractor set to "rand_trunc" gives such weights '
        "spectrograms that they were not trained on",
        'where "opens" says yes: opened without its fusion and with its own filters, as if `is_longer` were false '
        "throughout, and saved with it. Refused: fusion that every recording passes through (`channel_map`), and a "
        "processor of the other kind",
    ),
    "collapsed": (
        "the text tower gives all captions nearly one embedding (mean cosine 0.9993, "
        "[mteb 5069](https://github.com/embeddings-benchmark/mteb/issues/5069)): no figure of it has a meaning",
        "`train` warns, `doctor` calls it a problem",
    ),
    "pickle": (
        "its main branch held `pytorch_model.bin` alone when last seen: a pickle, which runs code when it is read",
        "never read; online, transformers takes the safetensors of the Hub's conversion pull request instead. Offline "
        "it does not find them: fetch them once by `hf download NAME --revision refs/pr/N --local-dir FOLDER`, N being "
        'the number of "Adding `safetensors` variant of this model", and name FOLDER',
    ),
}


@dataclass(frozen=True)
class Known:
    """A checkpoint, by what its files say.

    Args:
        audio: what its configuration sets otherwise than transformers does, of the audio tower.
        extractor: its stored settings; None: that file has not been seen, and nothing is said of it.
        more_traps: keys of `TRAPS` which those files do not show.
        sources: links to where the files were read, or what was read there.
    """

    name: str
    audio: Mapping[str, Any]
    extractor: Mapping[str, Any] | None
    more_traps: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()

    @property
    def config(self) -> ClapConfig:
        return ClapConfig(audio_config=dict(self.audio))

    @property
    def hearing(self) -> Hearing | None:
        return None if self.extractor is None else hearing(self.config, ClapFeatureExtractor(**self.extractor))

    @property
    def opens(self) -> bool:
        """Does `load_clap` open such a model, once its files are there and whole?"""
        with torch.device("meta"):  # no weights are needed to be asked
            model = ClapModel(self.config)
        try:
            without_fusion(model, self.name)
        except CheckpointError:
            return False
        return True

    @property
    def traps(self) -> tuple[str, ...]:
        heard = self.hearing
        found = [] if heard is None or not heard.tiled_up_to else ["tiles"]
        if heard is not None:
            found.append("fusion" if heard.random_crops > 1 or heard.fused else "crops")
        return (*found, *self.more_traps)


def known_checkpoints() -> tuple[Known, ...]:
    """The embedded one, read from its files, and laion's, from copies of theirs."""
    path = checkpoint_path(CLAP_MINI)
    stored, _ = ClapFeatureExtractor.get_feature_extractor_dict(path)
    audio: Any = ClapConfig.from_pretrained(path).audio_config
    return (Known(CLAP_MINI, audio.to_dict(), stored, sources=("its files, in the package",)), *_LAIONS)


_LAIONS = (
    Known(
        "laion/clap-htsat-unfused",
        {},
        _UNFUSED,
        ("pickle",),
        (
            f"[its preprocessor_config.json]({_HUB}/laion/clap-htsat-unfused/blame/"
            "8fa0f1c6d0433df6e97c127f64b2a1d6c0dcda8a/preprocessor_config.json)",
            f"[its config.json as saved anew by others]({_HUB}/Xenova/clap-htsat-unfused/blob/"
            "63f34b650ff83163b5e7f5c968211c36e3f6d0ee/config.json)",
        ),
    ),
    Known(
        "laion/clap-htsat-fused",
        {"enable_fusion": True},
        {**_LAION, "truncation": "fusion"},
        (),
        (
            f"[its preprocessor_config.json]({_HUB}/laion/clap-htsat-fused/blob/refs%2Fpr%2F2/"
            "preprocessor_config.json)",
            "[a copy of its config.json, of the same size](https://github.com/fishaudio/Bert-VITS2/blob/"
            "eaefc57d7184b93b7a19c0c2af923656d12ff074/emotional/clap-htsat-fused/config.json): `enable_fusion` is true "
            "and `fusion_type` null, which transformers takes for the attentional kind",
        ),
    ),
    Known(
        "laion/larger_clap_general",
        _LARGER,
        _UNFUSED,
        ("pickle",),
        (
            f"mirrors of ada0c23a: [preprocessor_config.json]({_MIRROR}/36bf52a7a0d3a81c153c83367027fc21df88380c), "
            f"[config.json]({_MIRROR}/e7c81a840a1c97cfdb2a3d4794c262cee8c71c8c)",
        ),
    ),
    Known(
        "laion/larger_clap_music",
        _LARGER,
        None,
        ("collapsed", "pickle"),
        (
            f"[its config.json]({_HUB}/laion/larger_clap_music/blob/a0b4534a14f58e20944452dff00a22a06ce629d1/"
            "config.json); of its preprocessor_config.json the size alone, that of larger_clap_general's",
        ),
    ),
    Known(
        "laion/larger_clap_music_and_speech",
        _LARGER,
        None,
        ("pickle",),
        (
            f"[its config.json]({_HUB}/laion/larger_clap_music_and_speech/blame/main/config.json); of its "
            "preprocessor_config.json the size alone, that of larger_clap_general's",
        ),
    ),
)

_PAGE = """<!-- Generated: python -m teminal_hf.tools.known_checkpoints > docs/checkpoints.md -->
# Checkpoints

Which `ClapModel`s open, how each hears, and where plain transformers would lose the order of what is in a recording.
Any other, of any size, is examined by [`teminal doctor MODEL`](evaluate.md#is-a-checkpoint-fit-for-it); which other
audio-text models can be evaluated is in [Evaluate](evaluate.md).

**None of laion's has been opened where this was developed**, without the Hub: their rows are computed from their
configurations, and "opens" says what becomes of small random weights of the same kind. What was not seen is left out.

## How they hear

{hearing}

- **shorter**, **longer**: than the window, by the stored processor in plain transformers
- **steps**: how finely the audio tower tells time where it averages it. That is after its last block, so that the
  blocks which are [trained](method.md#a-tenth-of-the-parameters-by-count) see order. Microsoft CLAP 2022, the paper's
  base, averages before the layers that are trained; it is no `ClapModel`, and does not open.

## The traps

{traps}

## Where this is from

Pages of the Hub as an archive holds them, mostly of 2023 to 2025; the files may have changed since.

{sources}
"""


def page() -> str:
    """The whole of docs/checkpoints.md."""
    known = known_checkpoints()
    return _PAGE.format(
        hearing=_table(
            ["checkpoint", "opens", "fused", "Hz", "window", "shorter", "longer", "mel filters", "steps", "traps"],
            [_row(checkpoint) for checkpoint in known],
        ),
        traps=_table(
            ["trap", "in plain transformers", "here"], [[f"`{name}`", *texts] for name, texts in TRAPS.items()]
        ),
        sources="\n".join(f"- `{checkpoint.name}`: {'; '.join(checkpoint.sources)}" for checkpoint in known),
    )


def _row(known: Known) -> list[str]:
    yes = {True: "yes", False: "no"}
    steps, heard = time_steps(known.config), known.hearing
    cells = [f"`{known.name}`", yes[known.opens], yes[is_fused(known.config)]]
    if heard is None:
        cells += [NOT_SEEN] * 5 + [f"{steps}"]
    else:
        cells += [f"{heard.sampling_rate}", f"{heard.seconds:g} s", _shorter(heard), _longer(heard), heard.mel_scale]
        cells.append(f"{steps} of {heard.seconds / steps:.2f} s")
    return [*cells, ", ".join(f"`{trap}`" for trap in known.traps)]


def _shorter(heard: Hearing) -> str:
    return f"repeated, up to {heard.tiled_up_to:g} s" if heard.tiled_up_to else "silence after it"


def _longer(heard: Hearing) -> str:
    return "one random crop" if heard.random_crops == 1 else f"{heard.random_crops} random crops and the whole"


def _table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


if __name__ == "__main__":
    print(page(), end="")
