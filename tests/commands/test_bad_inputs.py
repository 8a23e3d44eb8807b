"""What people get wrong, by the hundred: each ends in one line that names it, before a model is loaded."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.finished_runs import answers, write_finished
from teminal_hf.commands import cli
from teminal_hf.models import checkpoint

BEST = "--eval_strategy epoch --save_strategy epoch --load_best_model_at_end --metric_for_best_model"
RECIPE: dict[str, str] = {
    "--n_groups 0": "n_groups must be between 2 and 100000000, got 0",
    "--n_groups 1": "n_groups must be between 2 and 100000000, got 1",
    "--n_groups 10 --dataloader_drop_last": "dataloader_drop_last leaves no batch: n_groups is 10, a batch has 32",
    "--audio_blocks 0 --text_layers 0 --no_projections": "nothing but the scale would be trained",
    "--audio_blocks -1": "audio_blocks must be at least 0",
    "--text_layers -1": "text_layers must be at least 0",
    "--num_train_epochs -1": "num_train_epochs must be more than 0",
    "--num_train_epochs 0": "num_train_epochs must be more than 0",
    "--num_train_epochs nan": "num_train_epochs must be more than 0, got nan",
    "--max_steps 0": "max_steps must be at least 1, or -1",
    "--max_steps -2": "max_steps must be at least 1, or -1",
    "--save_steps 0": "save_steps must be more than 0",
    "--save_steps -1": "save_steps must be more than 0",
    "--save_steps 1.5 --save_strategy steps": "save_steps must be an integer if bigger than 1",
    "--logging_steps 0": "logging_steps must be more than 0",
    "--eval_steps 0": "eval_steps must be more than 0",
    "--eval_delay -1": "eval_delay must be at least 0",
    "--save_total_limit 0": "save_total_limit must be at least 1",
    "--gradient_accumulation_steps 0": "gradient_accumulation_steps must be at least 1",
    "--per_device_train_batch_size 0": "per_device_train_batch_size must be at least 1",
    "--per_device_train_batch_size 1": "a global batch of one group has no negatives",
    "--per_device_eval_batch_size 0": "per_device_eval_batch_size must be at least 1",
    "--learning_rate -1": "learning_rate must be at least 0",
    "--learning_rate inf": "learning_rate must be at least 0, got inf",
    "--learning_rate nan": "learning_rate must be at least 0, got nan",
    "--warmup_steps -1": "warmup_steps must be at least 0",
    "--weight_decay -1": "weight_decay must be at least 0",
    "--max_grad_norm -1": "max_grad_norm must be at least 0",
    "--adam_beta1 1": "adam_beta1 must be between 0 and",
    "--adam_epsilon nan": "adam_epsilon must be at least 0, got nan",
    "--lr_scheduler_type reduce_lr_on_plateau": "lr_scheduler_type reduce_lr_on_plateau (needs|requires)",
    "--lr_scheduler_type cosine_with_min_lr": "lr_scheduler_type cosine_with_min_lr: One of min_lr",
    "--lr_scheduler_type warmup_stable_decay": "lr_scheduler_type warmup_stable_decay: .*num_decay_steps",
    "--lr_scheduler_type polynomial --lr_scheduler_kwargs '{\"foo\": 1}'": "lr_scheduler_type polynomial: .*foo",
    "--optim adafactor --optim_args foo": "optim adafactor with optim_args foo",
    "--optim galore_adamw": "optim galore_adamw: You need to install",
    "--optim lomo": "optim lomo: You need to install",
    "--report_tasks 9Z": r"report_tasks has unknown task\(s\) 9Z",
    "--report_tasks 3O 1 3O": "report_tasks names 3O twice",
    "--eval_tasks 3P": r"eval_tasks has unknown task\(s\) 3P",
    "--eval_tasks 3O 3O": "eval_tasks names 3O twice",
    "--train_folds 1 1": "train_folds names 1 twice",
    "--train_folds 1 --test_folds 1": r"fold\(s\) \[1\] are in two splits",
    "--test_folds 9": r"no clips in fold\(s\) \[9\]",
    "--gap nan": "gap must be at least 0, got nan",
    "--gap -1": "gap must be at least 0",
    "--gap inf": "gap must be at least 0, got inf",
    "--crossfade nan": "crossfade must be at least 0, got nan",
    "--gap 1 --crossfade 1": "exclude each other",
    "--seed -1": "seed must be between 0 and 4294967295",
    "--seed 4294967296": "seed must be between 0 and 4294967295",
    "--data_seed -1": "data_seed must be between",
    "--groups_seed -1": "groups_seed must be between",
    "--report_seed -1": "report_seed must be between",
    "--tuning foo": "unknown tuning 'foo'",
    "--lora_rank 0": "lora_rank must be between 1 and 4096",
    "--lora_rank 100000": "lora_rank must be between 1 and 4096, got 100000",
    "--n_groups 99999999999999999999": "n_groups must be between 2 and 100000000",
    "--clips_per_class 0": "clips_per_class must be at least 1",
    "--report_groups 1": "report_groups must be at least 2",
    "--eval_groups 0": "eval_groups must be at least 1",
    "--dataloader_num_workers -1": "dataloader_num_workers must be at least 0",
    "--dataloader_prefetch_factor 0": "dataloader_prefetch_factor must be at least 1",
    "--cache_dtype float8": "unknown cache_dtype 'float8'",
    "--connectives foo": "connective 'foo' is no connective of order",
    "--connectives while": "connective 'while' is no connective of order",
    "--connectives then": "connective 'then' is held out for evaluation",
    "--connectives all --leave_out befor": "unknown families of connectives befor; choose of before, after, then",
    "--connectives all --leave_out before --plain_share 0.5": 'plain_share says "X before Y", which leave_out leaves',
    "--views single double": "views single, double are stage A's",
    "--views forward forward --retention 0": "views names forward twice",
    "--views sideways --retention 0": "unknown view",
    "--views forward pair --retention 0": "the view pair and your pairs go together",
    "--plain_share 2": "plain_share must be between 0 and 1",
    "--mini_batch_groups -1": "mini_batch_groups must not be negative",
    f"{BEST} accuracy": "metric_for_best_model accuracy is not computed; .* eval_loss, eval_zste_1, eval_zste_3A",
    f"{BEST} eval_zste_2A": "metric_for_best_model eval_zste_2A is not computed",
    f"{BEST} eval_zste_temporal_average": "metric_for_best_model eval_zste_temporal_average is not computed",
    f"{BEST} eval_zste_1_tiled --eval_tasks 3O": "metric_for_best_model eval_zste_1_tiled is not computed",
    "--load_best_model_at_end": "load_best_model_at_end needs evaluations",
    "--load_best_model_at_end --save_strategy best": "load_best_model_at_end needs evaluations",
    "--save_strategy best": "save_strategy best needs evaluations",
    "--eval_on_start": "eval_on_start needs evaluations",
    "--eval_strategy epoch --validation_folds 9 --train_folds 1": r"no clips in fold\(s\) \[9\]",
    "--resume_from_checkpoint x": "resume_from_checkpoint cannot be used here: a run goes on by --resume",
    "--neftune_noise_alpha 5": "neftune_noise_alpha cannot be used here",
    "--torch_compile_backend foo": "unknown torch_compile_backend 'foo'",
    "--torch_compile_mode foo": "unknown torch_compile_mode 'foo'",
    "--accelerator_config nowhere.json": "accelerator_config cannot be used here",
    "--accelerator_config {bad": "accelerator_config must be JSON",
    "--push_to_hub": "push_to_hub needs a name",
    "--push_to_hub --hub_model_id a --hub_strategy checkpoint": "hub_strategy checkpoint pushes the optimizer",
    "--data_dir a --source b": "give either data_dir .* or source",
    "--data_dir nowhere": "nowhere is no ESC-50 folder",
    "--source nowhere": "nowhere is not, or not wholly, on this machine",
    "--resume": "--resume needs the run to go on with",
    "--resume --output_dir nowhere": "nothing to resume in nowhere",
    "--output_dir a.txt": r"a\.txt is a file, and no folder for a run",
    "--output_dir a.txt/x": r"a\.txt is a file, and no folder for a run",
    "nowhere.yaml": r"no configuration file nowhere\.yaml",
}
COMMANDS: dict[str, str] = {
    "train stage_a --pairs x": "pairs are mixed into stage B",
    "train stage_a --plain_share 0.5": "plain_share is about how stage B says order",
    "train stage_a --views forward": "stage_a has no view forward",
    "train plain_pairs": "plain pairs need --source",
    "train plain_pairs --source x --eval_strategy epoch": "plain pairs have no validation split",
    "train plain_pairs --source x --known y": "known is about R0 of the final table",
    "train stage_b --left_out_classes dog unicorn": "left_out_classes: there is no unicorn; choose of ",
    "evaluate clap-mini --known_names dog rain": "--known_names are candidates for further sounds",
    "evaluate clap-mini --groups 2 --known nowhere": "nowhere is not, or not wholly, on this machine",
    "train plain_pairs --source x --views reversed": "plain_pairs has no view reversed",
    "train stage_b --streaming": "streaming is of plain_pairs and of stage B's --pairs: groups of stage_b join any",
    "train plain_pairs --source x --mixture 1": "mixture is about two clips in one recording, and plain pairs have no",
    "train plain_pairs --source x --retention 0 --reference y": "reference is what retention asks about",
    "train plain_pairs --source x --streaming --cache_prefix": "streaming keeps nothing, and cache_prefix keeps",
    "train plain_pairs --source x --streaming --save_strategy epoch": "a stream is one long epoch: set save_strategy",
    "train plain_pairs --source x --streaming --shuffle_buffer -1": "shuffle_buffer must be at least 0",
    "train plain_pairs --source tacos --data_dir x --streaming": "tacos cannot be streamed",
    "estimate plain_pairs --source x --streaming --groups 8": "what a stream takes is not estimated",
    "evaluate clap-mini --wordings --known x": "--wordings asks about order alone; leave out --known",
    "evaluate clap-mini --groups 0": "groups must be at least 1",
    "evaluate clap-mini --groups 1 --base x": "groups must be at least 2 for a comparison",
    "evaluate clap-mini --groups -1": "groups must be at least 1",
    "evaluate clap-mini --seed -1": "seed must be between",
    "evaluate clap-mini --tasks 3O 3O": "tasks names 3O twice",
    "evaluate clap-mini --folds 1 1": "folds names 1 twice",
    "evaluate clap-mini --folds 77": r"no clip in fold\(s\) \[77\]",
    "evaluate clap-mini --clips_per_class 0": "clips_per_class must be at least 1",
    "evaluate clap-mini --data_dir a --source b": "give either --data_dir .* or --source",
    "evaluate clap-mini --json nowhere/x.json": "there is no folder nowhere; make it first",
    "evaluate clap-mini --json .": "is a folder; name a file in it",
    "train stage_b --ignore_data_skip": "ignore_data_skip cannot be used here: a resumed run would hear what it has",
    "rank a.txt dog --threshold nan": "threshold must be a finite number, got nan",
    "rank a.txt dog --csv a.wav": "--csv a.wav is named as a sound is; name a .csv file",
    f"rank a.txt '{'dog ' * 100}' --csv b.wav": "--csv b.wav is named as a sound is",
    "compare x --json nowhere/x.json": "there is no folder nowhere",
    "compare nowhere": "nowhere holds no zste.json",
    "compare . .": "is named twice",
    "data push --to x": "name the data set OWNER/NAME",
    "data push --to a//b": "a//b",
    "data push --to a/b --n_groups 0": "n_groups must be at least 1",
    "data push --to a/b --seed -1": "seed must be between",
    "data push --to a/b --train_folds 1 1": "train_folds names 1 twice",
    "data push --to a/b --train_folds 1 --test_folds 1": "are in two splits",
    "data push --to a/b --clips_per_class 0": "clips_per_class must be at least 1",
    "data push --to a/b --from nowhere": "nowhere holds no README.md",
    "data preview --index -1": "index must be at least 0",
    "data preview --seed -1": "seed must be between",
    "data preview --sampling_rate 0": "sampling_rate must be between 1000 and 192000",
    "data preview --sampling_rate 50": "sampling_rate must be between 1000 and 192000",
    "data preview --clips_per_class -3": "clips_per_class must be at least 1",
    "data export-mteb --output_dir o --groups 0": "groups must be at least 1",
    "data export-mteb --output_dir o --seed -1": "seed must be between",
    "data export-mteb --output_dir o --sampling_rate 0": "sampling_rate must be between",
    "data export-mteb --output_dir o --folds 1 1": "folds names 1 twice",
    "data export-mteb --output_dir a.txt": "a.txt is there already",
    "push nowhere --to a/b": "nowhere holds no finished run",
    "demo --port 0": "port must be between 1 and 65535",
    "demo --port 70000": "port must be between 1 and 65535",
    "demo": "no finished run in runs/",
    "metric push --to x": "in a Space called zste",
}
INPUTS = {f"train stage_b {flags}": message for flags, message in RECIPE.items()} | COMMANDS


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("x")
    return tmp_path


@pytest.mark.parametrize("line", INPUTS)
def test_a_bad_input_is_one_line_before_a_model_is_loaded(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint.ClapModel, "from_pretrained", lambda *args, **kwargs: pytest.fail("it was loaded"))
    assert_refused(line, INPUTS[line])


def assert_refused(line: str, message: str) -> None:
    with pytest.raises(SystemExit, match=rf"^error: .*{message}") as stopped:
        cli.main(shlex.split(line))
    assert "\n" not in str(stopped.value)


SMALL = "--n_groups 4 --report_groups 2 --clips_per_class 1 --report_tasks 3O --per_device_train_batch_size 4"


def damage_text(path: Path, edit: Callable[[str], str]) -> None:
    path.write_text(edit(path.read_text()))


def with_values(**values: Any) -> Callable[[str], str]:
    return lambda text: json.dumps(json.loads(text) | values)


DAMAGES: dict[str, Callable[[str], str]] = {
    "empty": lambda text: "",
    "cut": lambda text: text[: len(text) // 2],
    "a list": lambda text: "[]",
    "text": lambda text: "<html>captive portal</html>",
}
RUN_DAMAGES = DAMAGES | {
    "a number for folds": with_values(folds=3),
    "text for history": with_values(history="x"),
    "text for a fold": with_values(folds={"train": ["1"]}),
    "null for settings": with_values(settings=None),
}
NO_ITEMS: dict[str, Any] = {"results": {"1": {"accuracy": 0.5}}, "wording": {}, "items": {}}
FIGURE_DAMAGES = DAMAGES | {
    "others' figures": lambda text: '{"accuracy": 0.5}',
    "null for figures": with_values(before=None),
    "a number for items": with_values(after={"results": {}, "items": 5}),
    "no items": with_values(before=NO_ITEMS, after=NO_ITEMS),
    "fewer answers": with_values(after=NO_ITEMS | {"items": {"1": {"clips": ["a", "b"], "right": [1.0]}}}),
}


def finished(folder: Path) -> Path:
    base = answers(np.random.default_rng(0), n=20)
    run = write_finished(folder / "run", base, base)
    (run / "model.safetensors").write_bytes(b"")
    return run


@pytest.mark.parametrize("damage", RUN_DAMAGES)
@pytest.mark.parametrize(
    "line",
    [
        "compare run",
        "evaluate run --clips_per_class 1",
        "push run --to a/b",
        "demo --model run",
        "train stage_b --output_dir run --resume",
        "train stage_b --output_dir run",
        f"train stage_b --start_from run {SMALL}",
    ],
)
def test_a_damaged_record_is_named(folder: Path, line: str, damage: str) -> None:
    damage_text(finished(folder) / "run.json", RUN_DAMAGES[damage])
    assert_refused(line, r"run/run\.json is damaged, or not written by this package: .*Put a whole copy in its place")


@pytest.mark.parametrize("damage", FIGURE_DAMAGES)
def test_damaged_figures_are_named(folder: Path, damage: str) -> None:
    damage_text(finished(folder) / "zste.json", FIGURE_DAMAGES[damage])
    assert_refused("compare run", r"run/zste\.json is damaged, or not written by this package")


@pytest.mark.parametrize("lacking", ["stage", "base_name", "folds", "source_name", "pairs_name", "settings"])
def test_what_a_record_lacks_is_named(folder: Path, lacking: str) -> None:
    record = finished(folder) / "run.json"
    facts = json.loads(record.read_text())
    del facts[lacking]
    record.write_text(json.dumps(facts))
    assert_refused("compare run", f"it lacks '{lacking}'")


def test_a_damaged_run_beside_is_passed_over(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    damaged = folder / "runs" / "stage_a-001"
    damaged.mkdir(parents=True)
    (damaged / "run.json").write_text("{")
    assert_refused("demo", r"no finished run in runs/ \(damaged: runs/stage_a-001/run\.json; put a whole copy")
    assert "stage_a-001 is passed over: " in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "was cut or edited: .* learning_rate, seed"),
        ("learning_rate: 0.001\n", "was cut or edited: .* seed"),
        ("learning_rate: 0.00", "was cut or edited: .* learning_rate, seed"),
        ("learning_rate: 0.001\nseed", "is no YAML|must hold"),
        ("learning_rate: 0.001\nseed: [", "is no YAML"),
        ("learning_rate: 0.001\nseed: x", "line 2: seed must be a whole number, found x"),
        ("<html>", "must hold `key: value` lines"),
        (None, r"no configuration file run/config\.yaml"),
    ],
)
def test_a_configuration_that_was_cut_is_not_resumed_from(folder: Path, text: str | None, message: str) -> None:
    run = finished(folder)
    damage_text(run / "run.json", with_values(complete=False, started_from="clap-mini", base="clap-mini"))
    if text is not None:
        (run / "config.yaml").write_text(text)
    assert_refused("train stage_b --output_dir run --resume", message)


def test_a_folder_of_checkpoints_with_settings_of_its_own_is_left_alone(folder: Path) -> None:
    """What others call run.json is theirs, as long as nothing is read from it that is not there."""
    (folder / "theirs").mkdir()
    (folder / "theirs" / "run.json").write_text('{"id": 5, "config": {"lr": 1}}')
    assert_refused("compare theirs", "theirs holds no zste.json")
    assert_refused("demo --model theirs", "nothing says what theirs was trained from")
