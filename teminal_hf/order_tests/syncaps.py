"""SynCaps: two ESC-50 clips in sequence, their caption, its reversal, and its connective replaced.

Oncescu et al., ACM Multimedia 2024, arXiv 2409.00851; `retrieval/data/SynCaps/json_files` of
https://github.com/oncescuandreea/DTU_text_audio. Each file is {"num_captions_per_audio": 1, "data": [{"caption", "id",
"audio", "duration"}]}; "audio" is a path of the authors' machine and is not read. The sounds are not published: they
are made by `retrieval/tools/syncaps_gen.py`, or here of the two clips that `id` names.
"""

import re
from pathlib import Path
from typing import Any

from teminal_hf.errors import DataError
from teminal_hf.order_tests.draft import NO_FILE, Draft, sound, the_file
from teminal_hf.order_tests.questions import OrderTest, Recording
from teminal_hf.storage.records import read_json

_CLIP = r"\d-\d+-[A-Z]-\d+"
_ID = re.compile(rf"({_CLIP})_({_CLIP})_(?:future|past)_\w+?_([12])_(?:12|21)_")  # clips, and which is heard first
_CAPTION = re.compile(r"(.+?) (followed by|before|then|preceded by|after) (.+)", re.IGNORECASE)
_BACKWARD = ("preceded by", "after")
_REVERSED, _REPLACED = " reversed", " replaced"
_SIDES = ("audio to text", "text to audio")
_ROWS = {
    "order": "X then Y: its caption, or the one with the sounds exchanged",
    "connective": "X then Y: its caption, or the one with a connective of the opposite order",
}
_ROWS |= {
    f"{side} R@1{suffix}": f"{found} found among all{given}"
    for suffix, given in {
        "": "",
        _REVERSED: ", every caption with its sounds exchanged: high for what hears no order",
        _REPLACED: ", every caption with another connective",
    }.items()
    for side, found in zip(_SIDES, ("the caption of a recording", "the recording of a caption"), strict=True)
}
_GAPS = {f"reversal gap, {side}": (f"{side} R@1", f"{side} R@1{_REVERSED}") for side in _SIDES}
_ROWS |= {gap: f"{of} less {minus}: 0 for what hears no order" for gap, (of, minus) in _GAPS.items()}
_NOTES = (
    "The sounds are ESC-50's: these figures flatter a model that was trained on them",
    "In retrieval, captions of the same two classes in the same order are right alike",
)


def read(folder: Path) -> OrderTest:
    """SynCaps's test set: its captions against their reversals and replacements, two at a time and among all.

    `test_replaced` puts "before" for "then", which still says the same: such items are asked in retrieval, as by the
    authors, but not as a choice, and counted. So are captions in which no connective is found, and reversals that are
    none.

    Args:
        folder: holds `test.json`, `test_reverse.json`, `test_replaced.json`, and the sounds in `joint_audios`, or else
            ESC-50's own clips in `audio`, which are then heard one after the other. These lack what SynCaps does to
            half of the clips (pitch, speed, noise, shifts) and overlaps, whose random numbers are not published.

    Raises:
        NotFoundError: no folder, or one of the files is not there.
        DataError: a file that is no JSON of this kind, or nothing can be asked.
    """
    path = the_file(folder, "test.json", "SynCaps's captions")
    captions, others = _captions(path), ("test_reverse.json", "test_replaced.json")
    exchanged, replaced = (_captions(the_file(folder, name, "SynCaps's other captions")) for name in others)
    draft, kept, made = Draft(), {}, 0
    for name, text in captions.items():
        recording = _sound(folder, name)
        meaning = _meaning(text)
        if recording is None:
            draft.leave_out(f"items {NO_FILE}")
        elif meaning is None or _meaning(exchanged.get(name, "")) != meaning[::-1] or name not in replaced:
            draft.leave_out("items whose caption has no connective, no reversal or no replacement")
        else:
            group = parts[1] if (parts := _ID.match(name)) else name
            kept[name] = recording, meaning, group
            made += len(recording) > 1
            _choose(draft, recording, (text, exchanged[name], replaced[name]), group)
    recordings = [recording for recording, *_ in kept.values()]
    meanings = [" > ".join(meaning) for _, meaning, _ in kept.values()]
    groups = [group for *_, group in kept.values()]
    for suffix, texts in {"": captions, _REVERSED: exchanged, _REPLACED: replaced}.items():
        draft.find(suffix, recordings, [texts[name] for name in kept], meanings, groups)
    joined = (f"{made} recordings were put together here from ESC-50's clips, unaltered",) if made else ()
    return draft.test("syncaps", path, _ROWS, gaps=_GAPS, notes=(*_NOTES, *joined))


def _choose(draft: Draft, recording: Recording, captions: tuple[str, str, str], group: str) -> None:
    text, exchanged, replaced = captions
    draft.ask("order", [recording], [text, exchanged], group)
    if _meaning(replaced) == _meaning(exchanged):
        draft.ask("connective", [recording], [text, replaced], group)
    else:
        draft.leave_out("replacements that do not say the opposite")


def _captions(path: Path) -> dict[str, str]:
    """By id."""
    items: list[dict[str, Any]] = read_json(path, {"data": [{"caption": str, "id": str}]})["data"]
    captions = {item["id"]: item["caption"] for item in items}
    if len(captions) < len(items):
        raise DataError(f"{path} has {len(items)} items, but {len(captions)} different ids; take the file anew")
    return captions


def _sound(folder: Path, name: str) -> Recording | None:
    """As distributed, or the two clips in the order in which they are heard."""
    if found := sound(name, folder / "joint_audios"):
        return found
    if not (parts := _ID.match(name)):
        return None
    clips = [sound(f"{clip}.wav", folder / "audio") for clip in parts.group(1, 2)]
    first, second = clips if parts[3] == "1" else clips[::-1]
    return (*first, *second) if first and second else None


def _meaning(caption: str) -> tuple[str, str] | None:
    """What is heard first and second."""
    if not (parts := _CAPTION.fullmatch(caption.strip().rstrip("."))):
        return None
    x, connective, y = (part.casefold() for part in parts.groups())
    return (y, x) if connective in _BACKWARD else (x, y)
