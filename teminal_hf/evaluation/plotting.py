"""Pictures: bars of a comparison, spectrograms of sounds. matplotlib is slow to import, so only drawing imports it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from transformers.audio_utils import hertz_to_mel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MEL_SCALE = "slaney"  # that of CLAP's own filters
_TICKS = (500, 1000, 2000, 4000, 8000, 16_000)  # Hz
_DYNAMIC_RANGE = 80.0  # dB that are shown


class Spectrogram(NamedTuple):
    """A panel of a picture: what stands above it, (mel bins, frames) in dB, and how long they last."""

    heading: str
    decibels: NDArray[np.float32]
    seconds: float


class Curve(NamedTuple):
    """A line below the spectrograms: its name, and a value at each time, in seconds."""

    name: str
    seconds: Sequence[float]
    values: Sequence[float]


def spectrogram_picture(
    panels: Sequence[Spectrogram],
    edges: tuple[float, float],
    size: tuple[float, float],
    curves: Sequence[Curve] = (),
) -> "Figure":
    """One panel below the other, all on one scale of time, frequency and level; then all `curves` in a panel of theirs.

    Args:
        edges: where the lowest mel filter begins and the highest ends, in Hz.
        size: width and height in inches; text is 10 points high.
    """
    from matplotlib.figure import Figure

    n_mels = len(panels[0].decibels)
    loudest = max(float(panel.decibels.max()) for panel in panels)
    ticks = [hertz for hertz in _TICKS if edges[0] < hertz < edges[1]]
    figure = Figure(figsize=size, layout="constrained")
    rows = figure.subplots(len(panels) + bool(curves), 1, sharex=True, squeeze=False)[:, 0]
    for axes, panel in zip(rows, panels, strict=False):  # the curves' comes last
        image = axes.imshow(
            panel.decibels - loudest,
            origin="lower",
            aspect="auto",
            extent=(0, panel.seconds, -0.5, n_mels - 0.5),
            vmin=-_DYNAMIC_RANGE,
            vmax=0,
            cmap="magma",
        )
        axes.set_title(panel.heading, fontsize="medium", loc="left")
        axes.set_yticks(mel_bin(ticks, edges, n_mels), [f"{hertz / 1000:g}" for hertz in ticks])
        axes.set_ylabel("kHz (mel scale)")
    for curve in curves:
        rows[-1].plot(curve.seconds, curve.values, marker=".", label=curve.name)
    if curves:
        rows[-1].set_ylabel("similarity")
        rows[-1].legend(fontsize="x-small", frameon=False)
    rows[-1].set_xlabel("time, s")
    figure.colorbar(image, ax=list(rows[: len(panels)]), label="dB relative to the loudest", pad=0.01)
    return figure


def mel_bin(hertz: Sequence[float], edges: tuple[float, float], n_mels: int) -> NDArray[np.float64]:
    """At which of `n_mels` bins, as a real number counted from 0, a filter would be centred on each frequency."""
    low, high, *mels = np.asarray(hertz_to_mel(np.array([*edges, *hertz], float), MEL_SCALE))
    return (np.array(mels) - low) / (high - low) * (n_mels + 1) - 1


def bar_chart(rows: dict[str, Any], path: str | Path, title: str) -> None:
    """Bars before and after, with 95 % intervals and the chance level of each task, as a PNG.

    Args:
        rows: of `report.compare_reports`.
    """
    from matplotlib.figure import Figure

    tasks = [task for task, row in rows.items() if row["chance"] is not None]
    figure = Figure(figsize=(max(5.0, 1.2 + 0.62 * len(tasks)), 3.6), layout="constrained")
    axes = figure.subplots()
    x = np.arange(len(tasks))
    for offset, side, colour, label in ((-0.2, "base", "#9aa5b1", "before"), (0.2, "post", "#1f6f8b", "after")):
        values = np.array([rows[task][f"{side}_accuracy"] for task in tasks])
        axes.bar(x + offset, 100 * values, 0.38, color=colour, label=label)
        for i, task in enumerate(tasks):
            if rows[task][side]:
                low, high = rows[task][side]["ci95"]
                axes.plot([i + offset] * 2, [100 * low, 100 * high], color="black", linewidth=1)
    for i, task in enumerate(tasks):
        level = 100 * rows[task]["chance"]
        axes.plot(
            [i - 0.42, i + 0.42], [level, level], color="#c0392b", linewidth=1.5, label="chance" if not i else None
        )
    axes.set_xticks(x, [task.replace("_", "\n").replace(" ", "\n") for task in tasks])
    axes.set_ylim(0, 100)
    axes.set_ylabel("accuracy, %")
    axes.set_xlabel("ZSTE task")
    axes.set_title(title)
    axes.legend(frameon=False, ncols=3, loc="upper right", fontsize="small")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
