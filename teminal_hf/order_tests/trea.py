"""TREA's questions about order: which of four sounds comes first, second, third, fourth, or after another.

Bhattacharya et al., Interspeech 2025, arXiv 2505.13115; `TREA_dataset/order` of
https://github.com/iiscleap/Audio-LLM-benchmarking-uncertainty, whose `order.csv` has the columns id, question,
audio_path ("audios/0.wav"), optionA to optionD and correct (A to D).
"""

import re
from pathlib import Path

from teminal_hf.data.captions import caption
from teminal_hf.order_tests.draft import NO_FILE, Draft, sound, table, the_file
from teminal_hf.order_tests.questions import OrderTest

LETTERS = "ABCD"
_PLACE = re.compile(r"which sound event occurs (first|second|third|fourth)\?", re.IGNORECASE)
_AFTER = re.compile(r"which sound event occurs after (.+) sound\?", re.IGNORECASE)
_ESC50 = {"insects flying": "insects", "door knock": "door wood knock"}  # two of its classes have two names here
_ROWS = {
    "place": '"the first sound is X", or second, third, fourth: which of four',
    "after": '"X after Y": which of four',
}
_NOTES = ("The sounds are ESC-50's, several clips in a row: these figures flatter a model that was trained on them",)


def read(folder: Path) -> OrderTest:
    """TREA's order questions, each option put as a caption that answers the question.

    The right options are ESC-50's own class names ("keyboard_typing"), the others as people write them ("Keyboard
    typing"): all are put alike here, so that the spelling does not give the answer away. Questions in which a wrong
    option then says the same as the right one are left out and counted, as are those of an unknown form.

    Args:
        folder: holds `order.csv` and the sounds, as `audio_path` names them.

    Raises:
        NotFoundError: no folder or table.
        DataError: a column is missing, or nothing can be asked.
    """
    path = the_file(folder, "order.csv", "TREA's questions about order")
    draft = Draft()
    for row in table(path, ("question", "audio_path", *(f"option{x}" for x in LETTERS), "correct")).rows:
        recording = sound(row["audio_path"], folder)
        options = [spelt(row[f"option{letter}"]) for letter in LETTERS]
        place, after = _PLACE.fullmatch(row["question"]), _AFTER.fullmatch(row["question"])
        if recording is None:
            draft.leave_out(f"questions {NO_FILE}")
        elif len(row["correct"]) != 1 or row["correct"] not in LETTERS or not all(options) or not (place or after):
            draft.leave_out("questions of another form, without four options, or whose answer is not one of A to D")
        elif options.count(right := options[LETTERS.index(row["correct"])]) > 1:
            draft.leave_out("questions with an option that says the same as the right one")
        else:
            named = [right, *dict.fromkeys(option for option in options if option != right)]
            if place:
                captions = [f"the {place[1].lower()} sound is {option}" for option in named]
            else:
                assert after
                captions = [caption("after", spelt(after[1]), option) for option in named]
            draft.ask("place" if place else "after", [recording], captions, row["audio_path"])
    return draft.test("trea", path, _ROWS, notes=_NOTES)


def spelt(option: str) -> str:
    """An ESC-50 class in small letters without marks: "Door, wood creaks" and "door_wood_creaks" alike."""
    words = " ".join(re.findall(r"[^\W_]+", option.lower()))
    return _ESC50.get(words, words)
