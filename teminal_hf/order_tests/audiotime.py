"""AudioTime's ordering subset: two events in sequence, with their times and a caption.

Xie et al. 2024, arXiv 2407.02857, https://github.com/zeyuxie29/AudioTime. Its JSON files are {"syn_1": {"event":
{label: [[onset, offset], ...]}, "caption": text}}, the caption sometimes a list that begins with it; the sounds are
`audio/syn_1.wav`. The archives could not be opened here: the name of the JSON file, of which the repository and public
loaders have three versions, may begin and end as it likes around "ordering_caption".
"""

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

from teminal_hf.data.captions import caption
from teminal_hf.order_tests.draft import NO_FILE, Draft, sound, the_file
from teminal_hf.order_tests.questions import OrderTest, Recording
from teminal_hf.storage.records import NUMBER, read_json

_ROWS = {
    "order": "X then Y, by their labels: X before Y, or Y before X (or both with after)",
    "audio to text R@1": "the written caption of a recording, found among all",
    "text to audio R@1": "the recording of a written caption, found among all",
}
_NOTES = ("In retrieval, captions of the same two labels in the same order are right alike",)


def read(folder: Path) -> OrderTest:
    """AudioTime's ordering test: two labels in both orders, and retrieval of the written captions.

    Left out and counted: recordings with other than two events, those whose events overlap or take turns, and those
    with "Silence", which is nothing to hear.

    Args:
        folder: holds the JSON file, and the sounds in `audio`.

    Raises:
        NotFoundError: no folder or JSON file.
        DataError: several JSON files, none of this kind, or nothing can be asked.
    """
    path = the_file(folder, "*ordering_caption*.json", "AudioTime's ordering captions")
    draft = Draft()
    kept: list[tuple[Recording, str, str, str]] = []
    shape = {"*": {"event": {"*": [[NUMBER]]}, "caption": str | list}}
    for name, item in read_json(path, shape).items():
        recording, events = sound(f"{name}.wav", folder / "audio", folder), _in_order(item["event"])
        if recording is None:
            draft.leave_out(f"recordings {NO_FILE}")
        elif events is None:
            draft.leave_out("recordings of other than two events, one after the other")
        elif "silence" in events or not (text := _text(item["caption"])):
            draft.leave_out("recordings with silence as an event, or without a caption")
        else:
            word = ("before", "after")[len(kept) % 2]
            captions = [caption(word, *events), caption(word, *events[::-1])]
            draft.ask("order", [recording], captions, name)
            kept.append((recording, text, " > ".join(events), name))
    if kept:
        draft.find("", *zip(*kept, strict=True))
    return draft.test("audiotime", path, _ROWS, notes=_NOTES)


def _in_order(events: dict[str, Any]) -> tuple[str, str] | None:
    """The two labels, the earlier first; None if they are not two, one after the other."""
    whole = all(len(span) == 2 and span[0] < span[1] for spans in events.values() for span in spans)
    if len(events) != 2 or not whole or not all(events.values()):
        return None
    labels = sorted(events, key=lambda label: min(events[label]))
    ends = [(min(on for on, _ in events[label]), max(off for _, off in events[label])) for label in labels]
    if any(later[0] < earlier[1] for earlier, later in pairwise(ends)):
        return None
    first, second = map(_spoken, labels)
    return (first, second) if first != second else None


def _spoken(label: str) -> str:
    """AudioSet's labels name a sound in several ways: the first, without what is in brackets."""
    return re.sub(r"\(.*?\)", "", label).partition(",")[0].strip().lower()


def _text(value: Any) -> str:
    first = value[0] if isinstance(value, list) and value else value
    return first.strip() if isinstance(first, str) else ""
