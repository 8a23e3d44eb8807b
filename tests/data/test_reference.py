"""Recordings of a reference set."""

from dataclasses import replace

import numpy as np
import pytest

from support.tiny import RATE, SAMPLES, tiny_clips
from teminal_hf.clips.table import ClipTable
from teminal_hf.data.reference import ReferenceRecordings
from teminal_hf.data.rendering import RenderSettings
from teminal_hf.data.sound_names import NAMES, SENTENCES, captions_about

SETTINGS = RenderSettings(RATE, SAMPLES / RATE)


@pytest.fixture(scope="module")
def clips() -> ClipTable:
    return tiny_clips()


def test_a_clip_alone_is_repeated_to_fill_the_window(clips: ClipTable) -> None:
    alone = ReferenceRecordings.alone(clips, SETTINGS)
    assert len(alone) == len(clips)
    for i, clip in enumerate(clips.ids):
        np.testing.assert_array_equal(alone[i], np.tile(clips.waveform(clip, RATE, trim=False), 2))


def test_one_in_three_is_a_clip_as_it_is_and_the_others_are_like_no_other(clips: ClipTable) -> None:
    around = ReferenceRecordings.around(clips, SETTINGS, 60)
    as_it_is = {clip: np.pad(clips.waveform(clip, RATE, trim=False), (0, SAMPLES // 2)) for clip in clips.ids}
    plain = [any(np.array_equal(around[i], sound) for sound in as_it_is.values()) for i in range(60)]
    assert plain == [True, False, False] * 20
    assert len({around[i].tobytes() for i in range(60) if not plain[i]}) == 40
    assert len({around[i].tobytes() for i in range(0, 3 * len(clips), 3)}) == len(clips)  # each in its turn


def test_recordings_fit_the_window_and_do_not_clip(clips: ClipTable) -> None:
    around = ReferenceRecordings.around(clips, SETTINGS, 60)
    for i in range(60):
        assert around[i].shape == (SAMPLES,) and around[i].dtype == np.float32
        assert 0.01 < np.abs(around[i]).max() <= 1


def test_a_longer_set_begins_with_the_shorter_and_the_seed_changes_it(clips: ClipTable) -> None:
    short, long = (ReferenceRecordings.around(clips, SETTINGS, n) for n in (9, 20))
    assert all(np.array_equal(short[i], long[i]) for i in range(9))
    other = ReferenceRecordings.around(clips, SETTINGS, 9, seed=1)
    assert not any(np.array_equal(short[i], other[i]) for i in (1, 2, 4, 5))
    assert len(ReferenceRecordings.around(clips, SETTINGS)) == 3 * len(clips)


def test_the_id_holds_what_the_sound_depends_on(clips: ClipTable) -> None:
    around = ReferenceRecordings.around(clips, SETTINGS, 9)
    others = [
        ReferenceRecordings.around(clips, SETTINGS, 10),
        ReferenceRecordings.around(clips, SETTINGS, 9, seed=1),
        ReferenceRecordings.around(clips, replace(SETTINGS, window=2.0), 9),
        ReferenceRecordings.around(clips.select(range(1, len(clips))), SETTINGS, 9),
        ReferenceRecordings.alone(clips, SETTINGS),
    ]
    assert len({each.recordings_id for each in (around, *others)}) == 6
    assert ReferenceRecordings.around(tiny_clips(), SETTINGS, 9).recordings_id == around.recordings_id


def test_names_are_many_and_different() -> None:
    assert len(set(NAMES)) == len(NAMES) > 200
    assert all(name == name.strip() and name for name in NAMES)
    assert all(sentence.count("{}") in (1, 2) for sentence in SENTENCES)


def test_a_sentence_about_two_names_different_ones() -> None:
    captions = captions_about(NAMES)
    assert len(set(captions)) == len(captions) == len(SENTENCES) * len(NAMES)
    assert "dog, but no dog" not in captions_about(["dog", "rain", "wind"])
    assert captions_about(["dog", "rain", "wind"])[-3:] == ["dog, but no rain", "rain, but no wind", "wind, but no dog"]
