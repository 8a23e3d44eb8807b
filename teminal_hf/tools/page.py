"""The page to try a model on: which of two or three captions do the base and the post-trained model prefer?"""

import logging
import os
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from teminal_hf.audio.waveform import Waveform
from teminal_hf.clips.soundbank import CLASSES
from teminal_hf.data.captions import spoken
from teminal_hf.errors import MissingExtraError, TakenError, TeminalError
from teminal_hf.evaluation.ranking import Ranking
from teminal_hf.models.encoder import Encoder
from teminal_hf.tools.listening import (
    CONVERSION,
    FORMATS,
    MAX_MEGABYTES,
    MAX_SECONDS,
    RELATIONS,
    VARIANTS,
    compose,
    given_sound,
    load_listener,
    picture,
    rank_by_each,
    suggest,
)

if TYPE_CHECKING:
    from gradio import Blocks
    from matplotlib.figure import Figure

TITLE = "before, after or while?"

_LOGGER = logging.getLogger(__name__)
_FOLDER = Path(__file__).parent

_INTRO = """# before, after or while?
CLAP models score how well a caption fits a sound, and most are deaf to order: *dog before rain* and *rain before dog*
score alike. Give a sound and two or three captions, and see which caption the base model prefers, and which the model
that was post-trained on order ([TeminAL](https://arxiv.org/abs/2408.09269)).

Base: `{base}` &nbsp;·&nbsp; post-trained: `{model}`"""
_NOTES = """**Scores** are cosine similarities of sound and caption, from -1 to 1. Compare them within a model only:
each has its own scale. A lead of a few thousandths is no preference.

**The two clips** are caricatures of {n} ESC-50 classes, made from formulas, of the fold kept for testing. Both
ways of composing them have the same length and level, so that neither betrays the relation.

**Long sounds** {long}. What you upload is deleted after an hour."""
_LIMITS = f"""A sound of your own may be {FORMATS}, at most {MAX_SECONDS} s and {MAX_MEGABYTES} MB. To convert another
format: `{CONVERSION}`"""
_WAITING = '<p class="waiting">Nothing compared yet: choose a sound and captions, then press Compare.</p>'
_PLACEHOLDERS = ("such as: a door closes before footsteps", "such as: footsteps before a door closes", "")
_EXAMPLES = (
    ("dog", "then", "rain", "dog before rain", "rain before dog", "dog while rain"),
    ("church_bells", "then", "crow", "crow after church bells", "church bells after crow", ""),
    ("helicopter", "while", "cat", "cat before helicopter", "helicopter before cat", "cat while helicopter"),
    ("glass_breaking", "then", "footsteps", "glass breaking then footsteps", "footsteps then glass breaking", ""),
)
_SHOW_RESULT = """() => requestAnimationFrame(
    () => document.querySelector("#result").scrollIntoView({behavior: "smooth", block: "nearest"})
)"""


def results_html(names: Sequence[str], rankings: Sequence[Ranking]) -> str:
    """Both rankings side by side; the first is the base's."""
    base, post = (f"“{escape(ranking.captions[0][0])}”" for ranking in rankings)
    verdict = f"Both prefer {base}." if base == post else f"The base prefers {base}, the post-trained model {post}."
    roles = ("Base", "Post-trained")
    sections = "".join(map(_section, roles, names, rankings))
    windows = max(ranking.windows for ranking in rankings)
    note = f'<p class="windows">A long sound: heard through {windows} evenly spaced windows, averaged.</p>'
    return f'<p class="verdict">{verdict}</p><div class="models">{sections}</div>{note if windows > 1 else ""}'


def _section(role: str, name: str, ranking: Ranking) -> str:
    rows = [
        f'<li{" class=preferred" if position == 0 else ""}><div class="row"><span class="caption">{escape(text)}</span>'
        f'<span class="cosine">{cosine:+.3f}</span></div>'
        f'<div class="bar"><div style="width: {100 * max(0.0, cosine):.1f}%"></div></div></li>'
        for position, (text, cosine) in enumerate(ranking.captions)
    ]
    lead = ranking.captions[0][1] - ranking.captions[1][1]
    return (
        f'<section id="{role.lower()}"><h4>{role}</h4><code>{escape(name)}</code><ol>{"".join(rows)}</ol>'
        f'<p class="lead">ahead of the next by {lead:.3f}</p></section>'
    )


def build(model: str, base: str) -> "Blocks":
    """The page that compares two checkpoints (folders, Hub ids or "clap-mini").

    Raises:
        MissingExtraError: gradio is not installed.
        CheckpointError: a checkpoint cannot be used.
        OSError: a checkpoint is not there.
    """
    gr = _gradio()
    listeners = (load_listener(base), load_listener(model))
    encoder = listeners[1].encoder

    def composed(first: str, relation: str, second: str, variant: float) -> tuple[Any, str, None]:
        try:
            waveform = compose(first, relation, second, int(variant), encoder)
        except Exception as error:
            return None, _problem(gr, error), None
        return (encoder.sampling_rate, to_int16(waveform)), _WAITING, None

    def answered(sound: str | None, *captions: str | None) -> "tuple[str, Figure | None]":
        try:
            rankings = rank_by_each(listeners, sound, captions)
            drawn = picture(listeners[1], sound, captions)
        except Exception as error:
            return _problem(gr, error), None
        return results_html((base, model), rankings), drawn

    def uploaded(sound: str | None) -> tuple[str, None]:
        try:
            given_sound(sound, encoder.sampling_rate)
        except Exception as error:
            return _problem(gr, error), None
        return _WAITING, None

    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(600, 3600)) as page:
        gr.Markdown(_INTRO.format(base=base, model=model))
        chips = gr.Row()
        with gr.Row():
            with gr.Column():
                clips, variant, compose_button, sound = _sound_inputs(gr)
            with gr.Column():
                texts, compare_button = _caption_inputs(gr)
                gr.Markdown("### 3. What the models prefer")
                result = gr.HTML(_WAITING, elem_id="result")
        with gr.Row():
            with gr.Column():
                plot = gr.Plot(show_label=False, elem_id="spectrogram")
            with gr.Column(), gr.Accordion("How to read the result", open=False):
                gr.Markdown(_NOTES.format(n=len(CLASSES), long=_long(encoder)))
        with chips:
            examples = gr.Examples(
                [list(row) for row in _EXAMPLES],
                [*clips, *texts],
                label="Examples: a click composes and compares",
                example_labels=[
                    f"{spoken(first)} {relation} {spoken(second)}" for first, relation, second, *_ in _EXAMPLES
                ],
            )

        first, _, second = clips
        brought = gr.State(False)  # whether the captions are to be about a sound of the user's
        gr.on([first.input, second.input], _captions_of_choice, [brought, first, second, *texts], texts)
        composing = {"fn": composed, "inputs": [*clips, variant], "outputs": [sound, result, plot]}
        comparing = {"fn": answered, "inputs": [sound, *texts], "outputs": [result, plot]}
        refilling = {"fn": _captions_of_clips, "inputs": [brought, first, second, *texts], "outputs": [brought, *texts]}
        compose_button.click(**refilling).success(**composing)
        chosen = examples.load_input_event.success(lambda: False, None, brought).success(**composing)
        for event in (
            gr.on([compare_button.click, *(text.submit for text in texts)], **comparing),
            chosen.success(**comparing),
        ):
            event.then(None, js=_SHOW_RESULT)
        # Neither a ranking nor the captions of other clips may stand beside a sound of the user's.
        sound.upload(uploaded, sound, [result, plot])
        gr.on([sound.stop_recording, sound.clear], lambda: (_WAITING, None), None, [result, plot])
        gr.on([sound.upload, sound.start_recording], _captions_of_user, [first, second, *texts], [brought, *texts])
    return page


def _long(encoder: Encoder) -> str:
    if encoder.max_seconds is None:
        return "are heard whole"
    return (
        f"(over {encoder.max_seconds:g} s) are heard through evenly spaced windows, averaged; the curves "
        "below the spectrogram are the post-trained model's, window by window"
    )


def _captions_of_choice(brought: bool, first: str, second: str, *captions: str) -> tuple[str, ...]:
    """What stands in the boxes once two classes are chosen, not yet composed."""
    return captions if brought else suggest(first, second)


def _captions_of_clips(brought: bool, first: str, second: str, *captions: str) -> tuple[bool, *tuple[str, ...]]:
    """What stands in the boxes once clips are composed: what was there, unless it was about a sound of the user's."""
    return False, *(suggest(first, second) if brought else captions)


def _captions_of_user(first: str, second: str, *captions: str) -> tuple[bool, *tuple[str, ...]]:
    """What stands in the boxes beside a sound of the user's: what they typed, not what the page filled in."""
    filled_in = {*suggest(first, second), *(text for row in _EXAMPLES for text in row[3:])}
    return True, *("" if text in filled_in else text for text in captions)


def _sound_inputs(gr: Any) -> tuple[list[Any], Any, Any, Any]:
    """What to compose (first clip, relation, second clip; variant), the button, the sound."""
    gr.Markdown("### 1. A sound")
    classes = [(spoken(label), label) for label in CLASSES]
    with gr.Row():
        first = gr.Dropdown(classes, value="dog", label="First clip", min_width=110, elem_id="first")
        relation = gr.Radio(list(RELATIONS), value="then", label="Relation", min_width=220)
        second = gr.Dropdown(classes, value="rain", label="Second clip", min_width=110, elem_id="second")
    variant = gr.Slider(1, VARIANTS, 1, step=1, label="Variant", info="Other clips of the two classes")
    button = gr.Button("Compose", elem_id="compose")
    gr.Markdown(_LIMITS, elem_id="limits")
    sound = gr.Audio(
        sources=["upload", "microphone"],
        type="filepath",
        label="The sound: composed, dropped in or recorded",
        buttons=["download"],  # the other one uploads to the Hub
        elem_id="sound",
    )
    return [first, relation, second], variant, button, sound


def _caption_inputs(gr: Any) -> tuple[list[Any], Any]:
    """Three boxes and the button."""
    gr.Markdown("### 2. Two or three captions")
    labels = ("Caption 1", "Caption 2", "Caption 3 (may be empty)")
    suggested = zip(labels, suggest("dog", "rain"), _PLACEHOLDERS, strict=True)
    texts = [gr.Textbox(text, label=label, placeholder=hint, max_length=200) for label, text, hint in suggested]
    return texts, gr.Button("Compare", variant="primary", elem_id="compare")


def to_int16(waveform: Waveform) -> np.ndarray:
    """Full scale +-1 -> 16-bit samples: gradio would bring floats to full scale, and so change their level."""
    return np.round(32767 * waveform).astype(np.int16)


def serve(page: Any, port: int | None = None) -> None:
    """Open `page` until Ctrl-C, for this machine alone (gradio's GRADIO_SERVER_NAME, which Spaces set, says otherwise).

    Args:
        port: default: the first free one from 7860.

    Raises:
        TakenError: the port is taken.
    """
    gr = _gradio()
    try:
        _, address, _ = page.launch(
            server_port=port,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            max_file_size=f"{MAX_MEGABYTES}mb",
            ssr_mode=False,
            footer_links=[],
            theme=gr.themes.Default(
                primary_hue="indigo", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
            ),
            css_paths=_FOLDER / "page.css",
            js=(_FOLDER / "page.js").read_text(encoding="utf-8"),
        )
    except OSError as error:
        raise TakenError(f"port {port or '7860 to 7959'} is taken; choose another with --port") from error
    print(f"the page is at {address} (Ctrl-C ends it)", flush=True)
    page.block_thread()


def _problem(gr: Any, error: Exception) -> str:
    """What a user can mend, or that they cannot, in place of a result; and in the corner, should the result be out of
    sight."""
    if isinstance(error, TeminalError):
        text = str(error)[0].upper() + str(error)[1:]
    else:
        _LOGGER.error("a fault of the page", exc_info=error)
        text = "Something failed here, and not by what you gave; please report it, with what the terminal shows"
    gr.Warning(text)
    return f'<p class="problem">{escape(text)}.</p>'


def _gradio() -> Any:
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # neither telemetry nor a look for newer versions
    try:
        import gradio
    except ImportError as error:
        raise MissingExtraError('the page needs gradio: pip install "teminal-hf[demo]"') from error
    return gradio
