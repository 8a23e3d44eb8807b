"""The table of bad inputs, and of a few odd ones that must work."""

from faults.given import (
    EITHER,
    MESSAGE,
    PROBLEM,
    WORKS,
    Input,
    both,
    checkpoint,
    cut,
    esc50,
    finished_run,
    holding,
    in_runs,
    not_a_number,
    sound,
    tiling,
    unfinished,
    weights,
    without_audio,
    wrong_size,
    yaml_keys,
    yaml_lines,
    yaml_text,
)

SMALL = (
    "--start_from base --n_groups 8 --max_steps 2 --clips_per_class 2 --report_groups 3 --report_tasks 1 --output_dir"
)
EVALUATE = "--clips_per_class 2 --groups 3 --tasks 3O"
DATA = "--clips_per_class 2"
ESC50 = "data preview --stage stage_a --data_dir ESC-50 --sampling_rate 8000 --output_dir out"

_EVALUATION = {"eval_strategy": "steps", "eval_steps": "1", "save_strategy": "steps", "save_steps": "1"}
_EVALUATION |= {"load_best_model_at_end": "true", "eval_groups": "3", "eval_tasks": "['1']"}

INPUTS: dict[str, Input] = {
    # Types of YAML values
    "n_groups of 16.5": yaml_keys(MESSAGE, n_groups="16.5"),
    "n_groups a list": yaml_keys(MESSAGE, n_groups="[8]"),
    "n_groups null": yaml_keys(MESSAGE, n_groups="null"),
    "n_groups true": yaml_keys(MESSAGE, n_groups="true"),
    "n_groups a word": yaml_keys(MESSAGE, n_groups="many"),
    "views null": yaml_keys(MESSAGE, views="null"),
    "views a word": yaml_keys(WORKS, views="forward"),
    "views a number": yaml_keys(MESSAGE, views="3"),
    "views a mapping": yaml_keys(MESSAGE, views="{forward: 1}"),
    "train_folds of texts": yaml_keys(EITHER, train_folds="['1', '2']"),
    "train_folds a word": yaml_keys(MESSAGE, train_folds="one"),
    "train_folds one number": yaml_keys(WORKS, train_folds="1"),
    "connectives a word": yaml_keys(WORKS, connectives="before"),
    "save_strategy no": yaml_keys(EITHER, save_strategy="no"),
    "seed a word": yaml_keys(MESSAGE, seed="x"),
    "max_steps of 2.5": yaml_keys(MESSAGE, max_steps="2.5"),
    "learning_rate a word": yaml_keys(MESSAGE, learning_rate="fast"),
    "bf16 maybe": yaml_keys(MESSAGE, bf16="maybe"),
    "model null": yaml_keys(MESSAGE, model="null"),
    "model a number": yaml_keys(MESSAGE, model="5"),
    "cache_prefix a word": yaml_keys(MESSAGE, cache_prefix="often"),
    "gap a list": yaml_keys(MESSAGE, gap="[1]"),
    # Values that make no sense
    "n_groups of 1": yaml_keys(MESSAGE, n_groups="1"),
    "n_groups of 0": yaml_keys(MESSAGE, n_groups="0"),
    "n_groups below 0": yaml_keys(MESSAGE, n_groups="-4"),
    "views twice": yaml_keys(MESSAGE, views="[forward, forward]"),
    "views unknown": yaml_keys(MESSAGE, "sideways", views="[sideways]"),
    "views empty": yaml_keys(MESSAGE, views="[]"),
    "train_folds unknown": yaml_keys(MESSAGE, "9", train_folds="[1, 9]"),
    "train_folds empty": yaml_keys(MESSAGE, "fold", train_folds="[]"),
    "folds in two splits": yaml_keys(MESSAGE, "fold", train_folds="[1, 2]", test_folds="[2]"),
    "connectives unknown": yaml_keys(MESSAGE, "during", connectives="[during]"),
    "learning_rate inf": yaml_keys(MESSAGE, learning_rate=".inf"),
    "learning_rate nan": yaml_keys(MESSAGE, learning_rate=".nan"),
    "learning_rate below 0": yaml_keys(MESSAGE, learning_rate="-1.0"),
    "retention nan": yaml_keys(MESSAGE, retention=".nan"),
    "retention inf": yaml_keys(MESSAGE, retention=".inf"),
    "gap nan": yaml_keys(MESSAGE, gap=".nan"),
    "gap below 0": yaml_keys(MESSAGE, gap="-1.0"),
    "gap longer than the window": yaml_keys(MESSAGE, gap="100.0"),
    "crossfade below 0": yaml_keys(MESSAGE, crossfade="-0.5"),
    "plain_share of 2": yaml_keys(MESSAGE, plain_share="2.0"),
    "alpha nan": yaml_keys(MESSAGE, alpha_same_time=".nan"),
    "rehearsal below 0": yaml_keys(MESSAGE, rehearsal="-1.0"),
    "audio_blocks of 99": yaml_keys(MESSAGE, "audio", audio_blocks="99"),
    "audio_blocks below 0": yaml_keys(MESSAGE, "audio", audio_blocks="-1"),
    "text_layers of 99": yaml_keys(MESSAGE, "text", text_layers="99"),
    "nothing trained but the scale": yaml_keys(MESSAGE, "", audio_blocks="0", text_layers="0", projections="false"),
    "tuning unknown": yaml_keys(MESSAGE, tuning="half"),
    "lora_rank of 0": yaml_keys(MESSAGE, lora_rank="0", tuning="lora"),
    "cache_dtype unknown": yaml_keys(MESSAGE, cache_dtype="int8"),
    "negative epochs": yaml_keys(MESSAGE, num_train_epochs="-1.0", max_steps=""),
    "save_steps of 0": yaml_keys(MESSAGE, save_steps="0", save_strategy="steps"),
    "no accumulation": yaml_keys(MESSAGE, gradient_accumulation_steps="0"),
    "a batch of 0": yaml_keys(MESSAGE, per_device_train_batch_size="0"),
    "a batch of 1": yaml_keys(MESSAGE, per_device_train_batch_size="1"),
    "logging_steps of 0": yaml_keys(MESSAGE, logging_steps="0"),
    "a negative seed": yaml_keys(MESSAGE, seed="-1"),
    "a negative groups_seed": yaml_keys(MESSAGE, groups_seed="-1"),
    "a task twice": yaml_keys(MESSAGE, report_tasks="['1', '1']"),
    "a task unknown": yaml_keys(MESSAGE, "99", report_tasks="['99']"),
    "report_groups of 0": yaml_keys(MESSAGE, report_groups="0"),
    "report_groups below 0": yaml_keys(MESSAGE, report_groups="-3"),
    "eval_strategy unknown": yaml_keys(MESSAGE, "sometimes", eval_strategy="sometimes"),
    "best model without evaluation": yaml_keys(MESSAGE, load_best_model_at_end="true"),
    "best by a metric unknown": yaml_keys(MESSAGE, "beauty", **{"metric_for_best_model": "beauty"} | _EVALUATION),
    "report_to what is not installed": yaml_keys(MESSAGE, "wandb", report_to="wandb"),
    "report_to unknown": yaml_keys(MESSAGE, "nobody", report_to="nobody"),
    "lr_scheduler_type unknown": yaml_keys(MESSAGE, "wavy", lr_scheduler_type="wavy"),
    "optim unknown": yaml_keys(MESSAGE, "none_such", optim="none_such"),
    "push without a name": yaml_keys(MESSAGE, push_to_hub="true"),
    "start_from nowhere": yaml_keys(MESSAGE, "nowhere", start_from="nowhere"),
    "model nowhere": yaml_keys(MESSAGE, "nowhere", model="nowhere/at_all"),
    "clips_per_class of 0": yaml_keys(MESSAGE, clips_per_class="0"),
    "source nowhere": yaml_keys(MESSAGE, "nobody/nothing", source="nobody/nothing"),
    "data_dir nowhere": yaml_keys(MESSAGE, "nowhere", data_dir="nowhere"),
    "pairs of an empty name": yaml_keys(MESSAGE, "pairs", pairs="''"),
    "data_dir and source": yaml_keys(MESSAGE, "source", data_dir="x", source="y"),
    # YAML files
    "an unknown key": yaml_keys(MESSAGE, "n_group", n_group="8"),
    "a key that is a number": yaml_text(MESSAGE, "7", yaml_lines() + "\n7: x\n"),
    "a key twice": yaml_text(MESSAGE, "n_groups", yaml_lines() + "\nn_groups: 9\n"),
    "stage A's views in stage B": yaml_keys(MESSAGE, views="[single, double]"),
    "YAML that is cut": yaml_text(MESSAGE, "config.yaml", "views: [forward"),
    "YAML that is a list": yaml_text(MESSAGE, "config.yaml", "- 1\n- 2\n"),
    "YAML that is a word": yaml_text(MESSAGE, "config.yaml", "stage_b"),
    "YAML that is no text": yaml_text(MESSAGE, "config.yaml", b"\xff\xfe\x00\x01\x80" * 9),
    "YAML that runs code": yaml_text(MESSAGE, "config.yaml", "model: !!python/object/apply:os.getcwd []"),
    "YAML that is empty": yaml_text(WORKS, "", "", f"train stage_b config.yaml {SMALL} out"),
    "YAML with a byte order mark": yaml_text(WORKS, "", b"\xef\xbb\xbf" + yaml_lines().encode()),
    "a folder for a YAML file": Input("train stage_b . --output_dir out", MESSAGE),
    # Flags and folders of `train`
    "no such recipe": Input("train stage_c", MESSAGE, "stage_c"),
    "no such flag": Input("train stage_b --no_such 1", MESSAGE, "no_such"),
    "no such YAML file": Input("train stage_b nofile.yaml", MESSAGE, "nofile.yaml"),
    "a flag of no number": Input("train stage_b --n_groups x", MESSAGE, "n_groups"),
    "resume what": Input("train stage_b --resume", MESSAGE, "output_dir"),
    "resume where": Input("train stage_b --resume --output_dir nowhere", MESSAGE, "nowhere"),
    "resume a finished run": Input("train stage_b --resume --output_dir run", MESSAGE, "run", finished_run()),
    "resume as another stage": Input(
        "train stage_a --resume --output_dir run", MESSAGE, "stage_b", finished_run(unfinished)
    ),
    "resume with run.json cut": Input(
        "train stage_b --resume --output_dir run", MESSAGE, "run.json", finished_run(lambda run: cut(run / "run.json"))
    ),
    "train over a run": Input(f"train stage_b {SMALL} run", MESSAGE, "run", finished_run()),
    "train among other things": Input(f"train stage_b {SMALL} notes", MESSAGE, "notes", holding("notes/list.txt")),
    "train into a file": Input(f"train stage_b {SMALL} list.txt", MESSAGE, "list.txt", holding("list.txt")),
    "pairs in stage A": Input("train stage_a --pairs x --output_dir out", MESSAGE, "pairs"),
    # Checkpoints
    "evaluate nowhere": Input("evaluate nowhere", MESSAGE, "nowhere"),
    "evaluate an empty folder": Input("evaluate notes", MESSAGE, "notes", holding("notes/list.txt")),
    "weights cut": Input(
        f"evaluate checkpoint {EVALUATE}", MESSAGE, "", checkpoint(lambda folder: cut(folder / "model.safetensors"))
    ),
    "weights missing": Input(f"evaluate checkpoint {EVALUATE}", MESSAGE, "", weights(without_audio)),
    "weights of another size": Input(f"evaluate checkpoint {EVALUATE}", MESSAGE, "", weights(wrong_size)),
    "weights not finite": Input(f"evaluate checkpoint {EVALUATE}", MESSAGE, "", weights(not_a_number)),
    "no tokenizer": Input(
        f"evaluate checkpoint {EVALUATE}",
        MESSAGE,
        "token",
        checkpoint(lambda folder: (folder / "tokenizer.json").unlink()),
    ),
    "config.json cut": Input(
        f"evaluate checkpoint {EVALUATE}",
        MESSAGE,
        "config.json",
        checkpoint(lambda folder: cut(folder / "config.json")),
    ),
    "another kind of model": Input(
        f"evaluate checkpoint {EVALUATE}",
        MESSAGE,
        "bert",
        checkpoint(lambda folder: (folder / "config.json").write_text('{"model_type": "bert"}')),
    ),
    "rank by weights not finite": Input(
        "rank sound.wav dog rain --model checkpoint",
        MESSAGE,
        "",
        both(weights(not_a_number), sound("tone")),
    ),
    "doctor of weights missing": Input("doctor checkpoint", PROBLEM, "", weights(without_audio)),
    # Flags of `evaluate`
    "evaluate a task unknown": Input("evaluate clap-mini --tasks 99", MESSAGE, "99"),
    "evaluate a fold unknown": Input(f"evaluate clap-mini {EVALUATE} --folds 9", MESSAGE, "9"),
    "evaluate no groups": Input("evaluate clap-mini --clips_per_class 2 --groups 0", MESSAGE, "groups"),
    "evaluate negative groups": Input("evaluate clap-mini --clips_per_class 2 --groups -1", MESSAGE, "groups"),
    "evaluate a negative seed": Input(f"evaluate clap-mini {EVALUATE} --seed -1", MESSAGE, "seed"),
    "evaluate with a prompt of no class": Input(
        "evaluate clap-mini --clips_per_class 2 --groups 3 --tasks 1 --prompt sound", MESSAGE, "prompt"
    ),
    "evaluate to a folder that is not there": Input(f"evaluate clap-mini {EVALUATE} --json no/x.json", EITHER, "no/x"),
    # Sounds
    "rank no file": Input("rank nofile.wav dog", MESSAGE, "nofile.wav"),
    **{
        f"rank {kind}": Input("rank sound.wav dog rain", MESSAGE, "sound.wav", sound(kind))
        for kind in ("text", "nothing", "folder", "silence", "30 ms", "no sample", "antiphase")
    },
    "rank two files": Input("rank sound.wav other.wav", MESSAGE, "other.wav", sound("tone")),
    "rank an empty caption": Input("rank sound.wav ''", MESSAGE, "caption", sound("tone")),
    "doctor of silence": Input("doctor clap-mini sound.wav", PROBLEM, "sound.wav", sound("silence")),
    # Runs
    "compare no run": Input("compare nowhere", MESSAGE, "nowhere"),
    "compare run.json cut": Input("compare run", MESSAGE, "run.json", finished_run(lambda run: cut(run / "run.json"))),
    "compare zste.json cut": Input(
        "compare run", MESSAGE, "zste.json", finished_run(lambda run: cut(run / "zste.json"))
    ),
    "push no run": Input("push nowhere --to tester/x", MESSAGE, "nowhere"),
    "push an unfinished run": Input("push run --to tester/x", MESSAGE, "run", finished_run(unfinished)),
    "push to an impossible name": Input("push run --to a/b/c", MESSAGE, "a/b/c", finished_run()),
    "push to no name": Input("push run --to ''", MESSAGE, "", finished_run()),
    "push a processor that tiles": Input("push run --to tester/x", MESSAGE, "repeatpad", finished_run(tiling)),
    "push config.yaml cut": Input(
        "push run --to tester/x",
        MESSAGE,
        "config.yaml",
        finished_run(lambda run: (run / "config.yaml").write_text("a: [1")),
    ),
    "demo of run.json cut": Input("demo --port 1", MESSAGE, "run.json", in_runs(lambda run: cut(run / "run.json"))),
    "demo of no run": Input("demo", MESSAGE, "run"),
    "demo at port 0": Input("demo --model run --port 0", MESSAGE, "port"),
    "demo at port 99999": Input("demo --model run --port 99999", MESSAGE, "port"),
    "demo of one model": Input("demo --model clap-mini --base clap-mini", MESSAGE, "itself"),
    "a Space of a local run": Input(
        "demo --push tester/x --model run --base clap-mini", MESSAGE, "run", finished_run()
    ),
    # Data
    "data push to no owner": Input("data push --to name", MESSAGE, "OWNER/NAME"),
    "data push from nowhere": Input("data push --to a/b --from nowhere", MESSAGE, "nowhere"),
    "data push from and to a folder": Input("data push --to a/b --from x --output_dir y", MESSAGE, "--from"),
    "data push of no groups": Input(f"data push --to a/b {DATA} --n_groups 0 --output_dir out", MESSAGE, "n_groups"),
    "data push into a full folder": Input(
        f"data push --to a/b {DATA} --output_dir notes", MESSAGE, "notes", holding("notes/list.txt")
    ),
    "preview of row -1": Input(f"data preview {DATA} --index -1", MESSAGE, "index"),
    "preview at 0 Hz": Input(f"data preview {DATA} --sampling_rate 0 --output_dir out", MESSAGE, "sampling_rate"),
    "preview with a negative seed": Input(f"data preview {DATA} --seed -1 --output_dir out", MESSAGE, "seed"),
    "export into a full folder": Input(
        f"data export-mteb {DATA} --output_dir notes", MESSAGE, "notes", holding("notes/list.txt")
    ),
    "export a fold unknown": Input(f"data export-mteb {DATA} --folds 9 --output_dir out", MESSAGE, "9"),
    # ESC-50 folders
    "an ESC-50 folder": Input(ESC50, WORKS, "", esc50()),
    "a table with a byte order mark": Input(ESC50, EITHER, "esc50.csv", esc50(lambda text: "\ufeff" + text)),
    "a table with semicolons": Input(ESC50, EITHER, "esc50.csv", esc50(lambda text: text.replace(",", ";"))),
    "a table in Latin 1": Input(
        ESC50, EITHER, "esc50.csv", esc50(lambda text: text.replace("rain", "gr\xeale").encode("latin-1"))
    ),
    "a table that is empty": Input(ESC50, MESSAGE, "esc50.csv", esc50(lambda text: "")),
    "a table without folds": Input(ESC50, MESSAGE, "fold", esc50(lambda text: text.replace("fold", "part"))),
    "a fold that is a word": Input(ESC50, MESSAGE, "fold", esc50(lambda text: text.replace("wav,1,", "wav,one,"))),
    "a short row": Input(ESC50, MESSAGE, "esc50.csv", esc50(lambda text: text + "1-100-A-0.wav\n")),
    "a blank class": Input(ESC50, EITHER, "esc50.csv", esc50(lambda text: text.replace(",dog,", ",,"))),
    "a file outside the folder": Input(
        ESC50, MESSAGE, "../meta", esc50(lambda text: text + "../meta/esc50.csv,1,0,dog,True,1,A\n")
    ),
    "a file that is missing": Input(
        ESC50, MESSAGE, "1-100-A-0.wav", esc50(audio=lambda folder: (folder / "1-100-A-0.wav").unlink())
    ),
    "one sound that is text": Input(
        ESC50, WORKS, "", esc50(audio=lambda folder: (folder / "1-100-A-0.wav").write_text("<html>"))
    ),
    "all sounds text": Input(
        ESC50, MESSAGE, "", esc50(audio=lambda folder: [path.write_text("x") for path in folder.iterdir()])
    ),
    # Others
    "no command": Input("", MESSAGE),
    "no such command": Input("trian", MESSAGE, "trian"),
    "metric of another name": Input("metric push --to teminal/order", MESSAGE, "zste"),
    "metric without an action": Input("metric", MESSAGE),
    "cache clear what": Input("cache clear everything", MESSAGE, "everything"),
}
