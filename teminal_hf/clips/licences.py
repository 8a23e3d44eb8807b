"""Owners and licences of clips, by their ids."""

import re
from collections.abc import Iterable
from typing import Literal

from teminal_hf.clips.soundbank import SOUND_BANK

ATTRIBUTION = ("LICENSE", "ATTRIBUTION.txt")  # files of ESC-50: who recorded which clip, and its licence

_ESC50_STEM = re.compile(r"[1-5]-\d+-[A-Z]-\d+")  # fold, recording, take, class


def kind_of_clips(ids: Iterable[str]) -> Literal["esc50", "soundbank", "own"]:
    """Whose clips these ids name: ESC-50's (by their file names), the sound bank's, or anybody else's."""
    ids = list(ids)
    if all(clip_id.startswith(f"{SOUND_BANK}/") for clip_id in ids):
        return "soundbank"
    return "esc50" if all(_ESC50_STEM.fullmatch(clip_id) for clip_id in ids) else "own"


def licence_of_clips(ids: Iterable[str]) -> str | None:
    """ESC-50's (of which its subset ESC-10 is CC BY 3.0) and the sound bank's; None for anybody else's."""
    return {"esc50": "cc-by-nc-3.0", "soundbank": "apache-2.0"}.get(kind_of_clips(ids))
