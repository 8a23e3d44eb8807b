"""Names of everyday sounds, and sentences that name them: what the starting model's opinion is asked about, whatever
is trained on. They are plain words of ours, no data set's classes; which of them a clip collection has is no matter."""

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
)
