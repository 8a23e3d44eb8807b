"""The bill against sums by hand."""

from dataclasses import replace

from teminal_hf.costs.bill import Constants, Counts, Part, bill, step_seconds

MACHINE = Constants(
    hardware="a machine", parameters=1000, batch=32, start=5.0, clip=0.5, clip_bytes=100.0, recording=2.0,
    caption=0.25, heard=0.125, read=0.0625, step=1.0, memory=10**9,
)  # fmt: skip
PART = Part(
    name="", recordings=300, captions=40, cached=True, why="as told", cache_bytes=7000, steps=50, batch=32,
    step_recordings=96, step_captions=96, evaluations=0, evaluated=(0, 0), epochs=10, checkpoint_bytes=900,
)  # fmt: skip


def test_a_cached_training() -> None:
    counts = Counts(clips=20, parts=[PART], report=(16, 32), report_bytes=500, model_bytes=4000)
    found = bill(counts, MACHINE)
    assert found.seconds == {
        "start": 5.0,
        "decoding clips": 10.0,
        "first pass": 610.0,  # 300 x 2 + 40 x 0.25
        "50 steps": 50.0,
        "final table": 48.0,  # 16 x 2 + 32 x 0.25, and twice 16 x 0.125 + 32 x 0.0625
    }
    assert found.total_seconds == 723
    assert found.disk == {
        "decoded clips": 2000, "frozen layers' output": 7500, "checkpoints": 900, "the model": 4000
    }  # fmt: skip
    assert (found.total_disk, found.memory) == (14_400, 10**9)


def test_without_the_cache_every_step_goes_through_the_frozen_layers() -> None:
    part = replace(PART, cached=False)
    assert step_seconds(part, MACHINE) == 1 + 96 * 2 + 96 * 0.25
    assert step_seconds(replace(part, batch=16, step_recordings=48, step_captions=48), MACHINE) == 0.5 + 96 + 12


def test_evaluations_without_the_cache_hear_all_of_it_each_time() -> None:
    part = replace(PART, evaluations=3, evaluated=(8, 16))
    counts = Counts(clips=0, parts=[part], report=(16, 32), report_bytes=0, model_bytes=0, kept=False)
    found = bill(counts, MACHINE).seconds
    assert found["evaluations"] == 3 * (16 + 4 + 1 + 1)
    assert found["final table"] == 2 * (32 + 8 + 2 + 2)


def test_all_phases_are_counted_with_their_names_and_evaluations() -> None:
    second = replace(PART, name="second", recordings=0, captions=0, steps=10, evaluations=3, evaluated=(8, 16))
    parts = [replace(PART, name="first"), second]
    found = bill(Counts(clips=0, parts=parts, report=(0, 0), report_bytes=0, model_bytes=0), MACHINE)
    assert found.seconds == {
        "start": 5.0, "decoding clips": 0.0, "first pass (first)": 610.0, "50 steps (first)": 50.0,
        "first pass (second)": 0.0, "10 steps (second)": 10.0, "evaluations (second)": 6.0,
    }  # fmt: skip
