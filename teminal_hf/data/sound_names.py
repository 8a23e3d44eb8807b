"""Names of everyday sounds, and sentences that name them: what the starting model's opinion is asked about, whatever
is trained on. They are plain words of ours, no data set's classes; which of them a clip collection has is no matter."""

from collections.abc import Sequence
from pathlib import Path

NAMES = tuple(Path(__file__).with_suffix(".txt").read_text(encoding="utf-8").splitlines())

SENTENCES = (
    "the sound of {}",
    "this is a sound of {}",
    "{}",
    "a recording of {}",
    "i can hear {}",
    "there is {} in the background",
    "{} sound",
    "we hear {} here",
    # Of two: what nothing else asks about, and would be lost, is that one is there and another is not.
    "there is {} without any {}",
    "{}, but no {}",
)


def captions_about(names: Sequence[str]) -> list[str]:
    """Every sentence about every one of `names`, sentence by sentence; the second name in one is half the list away."""
    half = len(names) // 2
    others = [*names[half:], *names[:half]]
    return [sentence.format(*two) for sentence in SENTENCES for two in zip(names, others, strict=True)]
