"""R0, what was known: single sounds named in zero shot, asked where training did not look."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from teminal_hf.clips.labels import spoken
from teminal_hf.clips.sources import FOLD_COLUMN, ClipSource
from teminal_hf.clips.table import ClipTable
from teminal_hf.data.rendering import Renderer, RenderSettings
from teminal_hf.errors import ConfigError, DataError
from teminal_hf.evaluation.embedder import Embedder
from teminal_hf.evaluation.evaluator import ZsteEvaluator, ZsteReport, row_of
from teminal_hf.evaluation.legend import KNOWN, LEFT_OUT, LEFT_OUT_OF_ALL
from teminal_hf.evaluation.zste import item_correct
from teminal_hf.hub.cards import public_name
from teminal_hf.models.embed import TrainableEncoder
from teminal_hf.models.encoder import Encoder
from teminal_hf.models.towers import SplitPoint
from teminal_hf.storage.tensor_store import TensorStore

PROMPTS = (
    "this is a sound of {}",
    "the sound of {}",
    "a recording of {}",
    "i can hear {}",
    "{}",
)
PADDINGS = ("clip", "tiled")  # views of the renderer: followed by silence, or repeated


class KnownSounds:
    """How often a model names single clips rightly, each over five prompts and both paddings: `known(encoder)` -> a
    score in [0, 1] for each clip, the share of these ten questions that it gets right.

    Args:
        clips: what is heard, each clip as it is; asked without its fold.
        settings: of the models' rate and window.
        names: candidates (default: the clips' classes), which may be more than the classes.

    Raises:
        ConfigError: names that are said alike, or fewer than two.
        DataError: clips of a class that is not among the names.
    """

    def __init__(self, clips: ClipTable, settings: RenderSettings, names: Sequence[str] | None = None) -> None:
        self.clips, self.names = clips, _candidates(clips, names)
        self._right = [self.names.index(spoken(label)) for label in clips.labels]
        renderer = Renderer(clips, RenderSettings(settings.sampling_rate, settings.window))
        groups = [((clip,), 0, 0) for clip in clips.ids]
        captions = [prompt.format(name) for prompt in PROMPTS for name in self.names]
        self.embedder = Embedder(renderer, groups, PADDINGS, captions)

    def __call__(self, encoder: Encoder, split_point: SplitPoint | None = None) -> list[float]:
        """Ask `encoder`; `split_point` as of `Embedder`."""
        audio, text = self.embedder(encoder, split_point)
        by_prompt = text.reshape(len(PROMPTS), len(self.names), -1)
        by_clip = audio.reshape(len(self.clips), len(PADDINGS), -1)
        scores = np.einsum("cad,pnd->capn", by_clip, by_prompt).reshape(len(self.clips), -1, len(self.names))
        return [
            float(np.mean([item_correct(row, [right], "1") for row in rows]))
            for rows, right in zip(scores, self._right, strict=True)
        ]

    @property
    def chance(self) -> float:
        return 1 / len(self.names)


@dataclass(frozen=True)
class Evaluation:
    """ZSTE, and before it what was known: `evaluation(encoder)` -> `ZsteReport` with a row of each of `known`."""

    zste: ZsteEvaluator
    known: Mapping[str, KnownSounds]

    def __call__(self, encoder: Encoder, split_point: SplitPoint | None = None) -> ZsteReport:
        """As `ZsteEvaluator`'s."""
        results, items = {}, []
        for row, known in self.known.items():
            scores = known(encoder, split_point)
            # Of clips, not of their ten questions, which are not independent: its interval errs on the wide side.
            results[row] = row_of(scores, known.chance)
            items += [(row, clip, score) for clip, score in zip(known.clips.ids, scores, strict=True)]
        report = self.zste(encoder, split_point)
        return ZsteReport(results | report.results, report.wording, items + report.items)

    def stores(self, encoder: TrainableEncoder, split_point: SplitPoint) -> Iterator[TensorStore]:
        """What an evaluation of this model at this split point needs on disk, each store once."""
        embedders = [self.zste.embedder, *(known.embedder for known in self.known.values())]
        found = (store for embedder in embedders for store in embedder.stores(encoder, split_point))
        return iter({store.folder: store for store in found}.values())


def evaluation(
    zste: ZsteEvaluator,
    further: Mapping[str, ClipTable] | None = None,
    names: Sequence[str] | None = None,
    left_out: Sequence[str] = (),
) -> Evaluation:
    """ZSTE with R0 of its own clips, among all their classes; of as many of them as it has groups.

    Args:
        further: other recordings, by their name in the rows, as `further_clips` finds them. Nothing is composed of
            them, so that one class, or one clip of it, will do.
        names: candidates for these, one list for all (default: the classes of each).
        left_out: classes that were not trained on; their clips are asked among these alone, and among all.
    """
    clips, settings = zste.clips, zste.settings
    first = {item.clip_a for item in zste.items}
    of_items = clips.select(i for i, clip in enumerate(clips.ids) if clip in first)
    known = {KNOWN: KnownSounds(of_items, settings, clips.classes)}
    for name, table in (further or {}).items():
        audible = table.audible(settings.sampling_rate)
        known[f"{KNOWN} {name}"] = KnownSounds(audible, settings, names)
    if left_out:
        theirs = clips.select(i for i, label in enumerate(clips.labels) if label in left_out)
        if not len(theirs):
            raise DataError(f"no test clip is of the classes left out ({', '.join(left_out)}); choose other test_folds")
        known[LEFT_OUT] = KnownSounds(theirs, settings, left_out)
        known[LEFT_OUT_OF_ALL] = KnownSounds(theirs, settings, clips.classes)
    return Evaluation(zste, known)


def further_clips(
    sources: Sequence[str], like: ClipSource, candidates: Sequence[str] | None = None
) -> dict[str, ClipTable]:
    """All clips of each folder or data set by its name, a folder's being its last part; nothing is decoded. Audio
    and label columns are called as those of the source `like`, and `candidates` are as of `KnownSounds`, for all.

    Raises:
        ConfigError: two of one name; candidates as `KnownSounds` refuses them.
        DataError: so.
    """
    names = [public_name(source) for source in sources]
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise ConfigError(f"known names {', '.join(twice)} twice; name each once, and folders differently")
    columns = replace(ClipSource.of(like), data_dir=None, fold_column=FOLD_COLUMN, group_column=None)
    tables = [replace(columns, source=source).load() for source in sources]
    for table in tables:
        _candidates(table, candidates)
    return dict(zip(names, tables, strict=True))


def _candidates(clips: ClipTable, names: Sequence[str] | None) -> list[str]:
    """The names that clips are asked among, as they are said."""
    candidates = [spoken(name) for name in (clips.classes if names is None else names)]
    if len(candidates) < 2 or len(set(candidates)) < len(candidates):
        raise ConfigError(f"known_names needs two or more different names, got {', '.join(candidates) or 'none'}")
    if strange := [label for label in clips.classes if spoken(label) not in candidates]:
        raise DataError(
            f"there are clips of {', '.join(strange)}, which known_names does not name; it has {', '.join(candidates)}"
        )
    return candidates
