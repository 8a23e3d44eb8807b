"""ZSTE tasks 1, 3 to 5, N and D, rendered, as a folder that the benchmark package `mteb` evaluates.

All but task 1 take mteb's form of a reranking task, with one subset for each: `<subset>-queries` (recordings),
`<subset>-corpus` (captions), `<subset>-top_ranked` (which captions are offered to a recording) and `<subset>-qrels`
(which of them is right). mteb's `paired_accuracy` counts a group where both of its queries are answered rightly:

| subset | query 1 | query 2 | `paired_accuracy` |
| --- | --- | --- | --- |
| 3 | task 3A: a then b | task 3B: a with b | both right |
| 3O | task 3O: a then b | the same two captions, b then a | the text score of task G |
| 4 | task 4A: a then b | task 4B: a with b | both right |
| 5 | a then b: which sound is first? | the same recording: which is second? | task 5A |
| N | a alone: "a without b" or "a and b"? | both at once, the same two captions | both right |
| D | task D: a long sound, then a short one, or the reverse | the other of the two, same captions | both right |

Task 1 is a zero-shot classification: `1` (recordings, labels) and `1-labels` (the prompts). Nothing here needs mteb.
"""

import hashlib
import io
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
from datasets import Audio, ClassLabel, Features, List, Value
from huggingface_hub import DatasetCardData
from tqdm.auto import tqdm

from teminal_hf.audio.waveform import Waveform
from teminal_hf.clips.folds import split_folds
from teminal_hf.clips.licences import ATTRIBUTION, licence_of_clips
from teminal_hf.clips.soundbank import SOUND_BANK
from teminal_hf.clips.sources import ClipSource
from teminal_hf.clips.table import ClipTable
from teminal_hf.data.captions import WITH, WITHOUT, spoken
from teminal_hf.data.rendering import Renderer, RenderSettings
from teminal_hf.data.zste_items import PROMPT, Item, plan_zste
from teminal_hf.hub.cards import CITATION, public_name, render_card
from teminal_hf.storage.atomic import check_free, folder_written_whole

SECONDS = 10  # neither more nor less: CLAP wrappers crop what is longer and tile what is shorter, A, B, A, B
SPLIT = "test"
_EXCHANGED = "exchanged"  # the scene of durations whose first sound is long where the group's own is short
VIEWS = {  # subset -> what is heard in its two queries
    "3": ("forward", "overlay"),
    "3O": ("forward", "reversed"),
    "4": ("forward", "overlay"),
    "5": ("forward", "forward"),
    "N": ("single", "overlay"),
    "D": ("duration", _EXCHANGED),
}
_CLIPS_FILE, _LABELS_FILE = "1/clips.parquet", "1/labels.parquet"
_TASKS = ("1", "3A", "3B", "3O", "4A", "4B", "5A", "N", "D")
_BATCH = 16  # groups rendered and written at a time; about 50 MB at 48 kHz

_CORPUS = Features({"id": Value("string"), "text": Value("string")})
_QRELS = Features({"query-id": Value("string"), "corpus-id": Value("string"), "score": Value("int64")})
_TOP_RANKED = Features({"query-id": Value("string"), "corpus-ids": List(Value("string"))})
_LABELS = Features({"labels": Value("string")})

Row = dict[str, Any]


def _query_file(number: int, view: str) -> str:
    return f"queries/{view}_q{number}.parquet"


# file -> number of the query, view
_QUERY_FILES = {_query_file(*query): query for views in VIEWS.values() for query in enumerate(views, 1)}


def export_source(
    source: ClipSource,
    folder: Path,
    *,
    folds: Sequence[int] | None = None,
    sampling_rate: int = 48_000,
    n_groups: int | None = None,
    seed: int = 0,
) -> int:
    """`export` of a source's clips, of `folds` (default: its test fold), with its name, licence and notices; how many
    groups were written."""
    check_free(folder)
    clips = source.load()
    clips = clips.in_folds(folds or split_folds(clips)["test"]).usable(sampling_rate)
    root = None if source.data_dir is None else Path(source.data_dir)
    export(
        clips,
        folder,
        source="the sound bank of teminal_hf" if source.name == SOUND_BANK else public_name(source.name),
        licence=licence_of_clips(clips.ids),
        sampling_rate=sampling_rate,
        n_groups=n_groups,
        seed=seed,
        notices=[] if root is None else [root / name for name in ATTRIBUTION if (root / name).is_file()],
    )
    return n_groups or len(clips)


def export(
    clips: ClipTable,
    folder: str | Path,
    *,
    source: str,
    licence: str | None,
    sampling_rate: int = 48_000,
    n_groups: int | None = None,
    seed: int = 0,
    notices: Sequence[Path] = (),
) -> None:
    """Write the folder, whole or not at all. It holds sound made of the clips: their licence applies to it.

    Args:
        clips: test clips, of folds never trained on.
        folder: must not exist, or be empty.
        source: name of the clips' data set, for the README.
        licence: the clips', such as "cc-by-nc-3.0"; None if it is not known.
        sampling_rate: of the recordings, in Hz; best the model's.
        n_groups: at most this many groups (default: one per clip).
        seed: of the items and their rendering, as of `ZsteEvaluator`.
        notices: files that name the clips' authors, copied along.

    Raises:
        FileExistsError: the folder holds something.
        ValueError: more groups than clips.
    """
    folder = Path(folder).resolve()
    items = plan_zste(clips, n_groups=n_groups, seed=seed, tasks=_TASKS)
    groups: dict[int, dict[str, Item]] = {}
    for item in items:
        groups.setdefault(item.group_id, {})[item.task] = item
    with folder_written_whole(folder) as draft:
        settings = RenderSettings(sampling_rate, float(SECONDS))
        _write_audio(draft, clips, [item for item in items if item.task == "1"], settings, seed)
        for subset in VIEWS:
            _write_questions(draft, subset, groups, clips)
        _write_rows(draft / _LABELS_FILE, _LABELS, [{"labels": p} for p in _prompts(clips)])
        for notice in notices:
            shutil.copyfile(notice, draft / notice.name)
        facts = {"sampling_rate": sampling_rate, "groups": len(groups), "classes": len(clips.classes), "seed": seed}
        card = _card(draft, source, licence, notices, facts | {"folds": sorted(set(clips.folds))})
        (draft / "README.md").write_text(card, encoding="utf-8")


def _write_audio(draft: Path, clips: ClipTable, items: Sequence[Item], settings: RenderSettings, seed: int) -> None:
    """The recordings of each item's group: those of `_QUERY_FILES`, which subsets share, and the single clips."""
    sound, name = Audio(sampling_rate=settings.sampling_rate), Value("string")
    queries = Features({"id": name, "audio": sound, "clip_a": name, "clip_b": name})
    features = dict.fromkeys(_QUERY_FILES, queries)
    features[_CLIPS_FILE] = Features({"audio": sound, "label": ClassLabel(names=clips.classes), "clip": name})
    renderer = Renderer(clips, settings)
    with ExitStack() as stack:
        writers = {}
        for file, columns in features.items():
            (draft / file).parent.mkdir(exist_ok=True)
            # Through the Arrow schema: to encode an `Audio` value, `datasets` would need torchcodec and ffmpeg. FLAC
            # does not get any smaller, and no recording occurs twice in a file.
            writer = pq.ParquetWriter(draft / file, columns.arrow_schema, compression="none", use_dictionary=False)
            writers[file] = stack.enter_context(writer)
        for start in tqdm(range(0, len(items), _BATCH), desc="rendering", leave=False):
            batch = [_recordings(renderer, item, seed) for item in items[start : start + _BATCH]]
            for file, columns in features.items():
                rows = [recordings[file] for recordings in batch]
                writers[file].write_table(pa.Table.from_pylist(rows, schema=columns.arrow_schema))


def _recordings(renderer: Renderer, item: Item, seed: int) -> dict[str, Row]:
    """A group's row in each file."""
    clips, rate = renderer.clips, renderer.settings.sampling_rate
    a, b, views = item.clip_a, item.clip_b, ["clip", *dict.fromkeys(view for _, view in _QUERY_FILES.values())]
    sounds = renderer.sounds((a, b), seed, item.group_id, [view for view in views if view != _EXCHANGED])
    sounds[_EXCHANGED] = renderer.scene("duration", (a, b), seed, item.group_id ^ 2)  # see `long_first`
    cells = {view: _cell(sound, rate, f"{item.group_id:05d}_{view}.flac") for view, sound in sounds.items()}
    rows: dict[str, Row] = {
        file: {"id": _query_id(item.group_id, number), "audio": cells[view], "clip_a": a, "clip_b": b}
        for file, (number, view) in _QUERY_FILES.items()
    }
    rows[_CLIPS_FILE] = {"audio": cells["clip"], "label": clips.classes.index(clips.label(a)), "clip": a}
    return rows


def _cell(sound: Waveform, sampling_rate: int, name: str) -> Row:
    """An audio cell: FLAC of 16 bits."""
    assert sound.shape == (SECONDS * sampling_rate,), f"{sound.shape} samples at {sampling_rate} Hz"
    content = io.BytesIO()
    soundfile.write(content, sound, sampling_rate, format="FLAC", subtype="PCM_16")
    return {"bytes": content.getvalue(), "path": name}


def _query_id(group_id: int, number: int) -> str:
    return f"{group_id:05d}_q{number}"  # mteb takes what is before "_" for the pair


def _write_questions(draft: Path, subset: str, groups: Mapping[int, Mapping[str, Item]], clips: ClipTable) -> None:
    """Captions, which of them each query is offered, in shuffled order, and which is right."""
    questions = {
        _query_id(group_id, number): question
        for group_id, group in groups.items()
        for number, question in enumerate(_questions(subset, group, clips), 1)
    }
    captions = sorted({caption for candidates, _ in questions.values() for caption in candidates})
    ids = {caption: f"c{i:05d}" for i, caption in enumerate(captions)}
    corpus = [{"id": ids[caption], "text": caption} for caption in captions]
    top_ranked = [{"query-id": q, "corpus-ids": [ids[c] for c in offered]} for q, (offered, _) in questions.items()]
    qrels = [{"query-id": q, "corpus-id": ids[truth], "score": 1} for q, (_, truth) in questions.items()]
    for part, features, rows in (
        ("corpus", _CORPUS, corpus),
        ("qrels", _QRELS, qrels),
        ("top_ranked", _TOP_RANKED, top_ranked),
    ):
        _write_rows(draft / part / f"{subset}.parquet", features, rows)


def _questions(subset: str, group: Mapping[str, Item], clips: ClipTable) -> list[tuple[Sequence[str], str]]:
    """(candidates, the right one) of a group's two queries."""
    if subset == "N":
        names = [spoken(clips.label(clip)) for clip in (group["N"].clip_a, group["N"].clip_b)]
        alone, both = (template.format(*names) for template in (WITHOUT, WITH))
        return [((alone, both), alone), ((alone, both), both)]
    if subset in ("3O", "D"):
        candidates, (right,) = group[subset].candidates, group[subset].right
        return [(candidates, candidates[right]), (candidates, candidates[1 - right])]
    if subset == "5":
        candidates, half = group["5A"].candidates, len(group["5A"].candidates) // 2
        first, second = group["5A"].right
        return [(candidates[:half], candidates[first]), (candidates[half:], candidates[second])]
    items = (group[f"{subset}A"], group[f"{subset}B"])
    return [(item.candidates, item.candidates[item.right[0]]) for item in items]


def _prompts(clips: ClipTable) -> list[str]:
    return [PROMPT.format(spoken(label)) for label in clips.classes]


def _write_rows(path: Path, features: Features, rows: Sequence[Row]) -> None:
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows), schema=features.arrow_schema), path)


def _card(draft: Path, source: str, licence: str | None, notices: Sequence[Path], facts: Mapping[str, Any]) -> str:
    hashed = hashlib.sha256()
    for path in sorted(draft.rglob("*.parquet")):
        with path.open("rb") as file:
            hashed.update(hashlib.file_digest(file, "sha256").digest())
    revision = hashed.hexdigest()[:16]
    data = DatasetCardData(
        language=["en"],
        license=licence or "unknown",
        pretty_name="ZSTE, zero-shot temporal evaluation, for mteb",
        tags=["mteb", "audio", "text", "temporal", "arxiv:2408.09269"],
        configs=_configs(revision),
        zste={"revision": revision, **facts},
    )
    names = [notice.name for notice in notices]
    return render_card(
        "mteb.md.jinja",
        data,
        source=source,
        licence=licence,
        notices=names,
        seconds=SECONDS,
        citation=CITATION.strip(),
        **facts,
    )


def _configs(revision: str) -> list[dict[str, Any]]:
    """The configurations, for the README's header: `load_dataset(folder, "3O-queries")` and so on.

    Their description is there for the cache of `datasets`, which tells folders of one name apart by these lines alone,
    and would answer for one export with the recordings of another.
    """
    files = {"1": [_CLIPS_FILE], "1-labels": [_LABELS_FILE]}
    for subset, views in VIEWS.items():
        files[f"{subset}-queries"] = [_query_file(*query) for query in enumerate(views, 1)]
        files |= {f"{subset}-{part}": [f"{part}/{subset}.parquet"] for part in ("corpus", "qrels", "top_ranked")}
    about = {"description": f"revision {revision}"}
    return [
        {"config_name": name, **about, "data_files": [{"split": SPLIT, "path": paths}]} for name, paths in files.items()
    ]
