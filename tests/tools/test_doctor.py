"""What `teminal doctor` finds, on tiny checkpoints; what it says of plain transformers, against plain transformers."""

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from transformers import BertConfig, ClapConfig, ClapFeatureExtractor, ClapModel, ClapProcessor

from support.tiny import RATE, SAMPLES, tiny_clap, tiny_processor
from teminal_hf import RenderSettings, load_encoder, rank
from teminal_hf.clips.soundbank import FOLDS
from teminal_hf.clips.sources import sound_bank
from teminal_hf.commands.cli import main
from teminal_hf.errors import CheckpointError
from teminal_hf.evaluation.evaluator import ZsteEvaluator
from teminal_hf.evaluation.zste import score
from teminal_hf.models.checkpoint import load_clap, save_checkpoint
from teminal_hf.models.hearing import hearing
from teminal_hf.tools import doctor
from teminal_hf.tools.doctor import Finding, diagnose, order_finding


@pytest.fixture(autouse=True)
def few_items(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "ORDER_ITEMS", 4)


def saved(folder: Path, model: ClapModel | None = None, processor: ClapProcessor | None = None) -> str:
    """A checkpoint as plain transformers saves it: what its processor is set to stays as it is."""
    (model or tiny_clap()).save_pretrained(folder)
    (processor or tiny_processor()).save_pretrained(folder)
    return str(folder)


def processor_with(**settings: str) -> ClapProcessor:
    processor = tiny_processor()
    for name, value in settings.items():
        setattr(processor.feature_extractor, name, value)
    return processor


def sound(folder: Path, seconds: float, rate: int = RATE, name: str = "a.wav") -> Path:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, round(seconds * rate))
    soundfile.write(folder / name, noise, rate, subtype="FLOAT")
    return folder / name


def one(findings: list[Finding], pattern: str, level: str) -> Finding:
    """The finding that says `pattern`; it is the only one, and of this level."""
    (found,) = [finding for finding in findings if re.search(pattern, finding.what)]
    assert found.level == level, found
    assert bool(found.fix) == (level != "ok"), found
    return found


def levels(findings: list[Finding]) -> list[str]:
    return [finding.level for finding in findings]


# Checkpoints


def test_a_checkpoint_of_this_package_is_well(tmp_path: Path) -> None:
    save_checkpoint(tiny_clap(), tiny_processor(), tmp_path)
    findings = diagnose(str(tmp_path))
    assert levels(findings)[:-1] == ["ok"] * 5
    one(findings, "^a CLAP checkpoint, not fused$", "ok")
    one(findings, 'padding="pad": short clips are followed by silence, never repeated', "ok")
    one(findings, "hears 1 s at 8000 Hz; plain transformers crops what is longer at random", "ok")
    one(findings, r"^0\.0\d M weights in safetensors, all finite; logit scale 14\.3$", "ok")
    one(findings, r"the text tower tells captions apart \(mean cosine -?0\.\d\d over 24 of them\)", "ok")
    assert "order check" in findings[-1].what


def test_a_fused_checkpoint_is_opened_unfused_and_asked(tmp_path: Path) -> None:
    name = saved(tmp_path, tiny_clap(fused=True), processor_with(truncation="fusion"))
    findings = diagnose(name, [sound(tmp_path, 3.0)])
    one(findings, "a fused CLAP checkpoint: .* This package opens it unfused", "warning")
    one(findings, "mixes three random crops of it, of which each loses 67%", "warning")
    assert "order check" in findings[-1].what


def test_an_extractor_for_fused_weights_beside_unfused_ones(tmp_path: Path) -> None:
    findings = diagnose(saved(tmp_path, processor=processor_with(truncation="fusion")))
    one(findings, "^a CLAP checkpoint, not fused$", "ok")
    one(findings, "has truncation='fusion', a fused model's, and the model has enable_fusion=False", "problem")
    assert levels(findings).count("problem") == 1 and not any("order check" in f.what for f in findings)


def test_a_tiling_processor_and_the_way_to_mend_it(tmp_path: Path) -> None:
    name = saved(tmp_path / "plain", processor=processor_with(padding="repeatpad"))
    stored = one(diagnose(name), 'the stored processor has padding="repeatpad": .* A, B becomes A, B, A, B;', "warning")
    assert (
        stored.fix == f'save it anew, mended: `save_checkpoint(*load_clap("{name}"), "FOLDER")`, both from teminal_hf'
    )
    save_checkpoint(*load_clap(name), tmp_path / "mended")
    one(diagnose(str(tmp_path / "mended")), 'the stored processor has padding="pad"', "ok")


def test_a_tokenizer_that_crops_audio_and_the_way_to_mend_it(tmp_path: Path) -> None:
    processor = tiny_processor()
    processor.tokenizer(["dog", "rain"], truncation=True, padding=True)
    name = saved(tmp_path / "plain", processor=processor)
    findings = diagnose(name, [sound(tmp_path, 0.5)])
    one(findings, r"max_length=32, .*: instead of 1 s at 8000 Hz it hears 32 samples \(4\.0 ms\) at random", "warning")
    one(findings, "crops it at random, another way at each call: 99% is lost", "warning")
    heard = plain_input(ClapProcessor.from_pretrained(name), np.ones(4_000))
    assert len(heard) == 32
    save_checkpoint(*load_clap(name), tmp_path / "mended")
    assert levels(diagnose(str(tmp_path / "mended")))[:-1] == ["ok"] * 5


def test_a_collapsed_text_tower(tmp_path: Path) -> None:
    model = tiny_clap()
    with torch.no_grad():
        model.text_projection.linear2.weight.zero_()
    findings = diagnose(saved(tmp_path, model))
    found = one(findings, r"the text tower has collapsed: 24 .* \(mean cosine 1\.000\), as in laion/larg", "problem")
    assert "embeddings-benchmark/mteb#5069" in found.what and "no order check" in found.what
    assert found is findings[-1]


def test_what_is_no_clap_or_no_checkpoint(tmp_path: Path) -> None:
    BertConfig().save_pretrained(tmp_path / "bert")
    (found,) = diagnose(str(tmp_path / "bert"), ["a.wav"])
    assert found.level == "problem" and "is a 'bert' checkpoint; clap, pe_audio, pe_audio_video and" in found.what
    (tmp_path / "empty").mkdir()
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "config.json").write_text("{}")
    for name in ("empty", "odd", "nothing"):
        (found,) = diagnose(str(tmp_path / name))
        said = "holds no config.json" if name == "empty" else "cannot be read: "
        assert found.level == "problem" and f"{tmp_path / name} {said}" in found.what
        assert found.fix == "name a checkpoint folder or a Hub id"


def test_weights_that_are_no_safetensors_or_half_a_file(tmp_path: Path) -> None:
    model = tiny_clap()
    name = saved(tmp_path, model)
    weights = tmp_path / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[: len(content) // 2])
    one(diagnose(name), "no weights that can be read from safetensors: ", "problem")
    weights.unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    findings = diagnose(name)
    found = one(findings, r"no weights that can be read from safetensors: .*model\.safetensors", "problem")
    assert "a pickle (pytorch_model.bin) is never read here" in found.fix
    mended = found.fix.split("`")[1]
    exec(mended.replace("FOLDER", str(tmp_path / "mended")), {"ClapModel": ClapModel})
    assert (tmp_path / "mended" / "model.safetensors").is_file()
    one(findings, 'padding="pad"', "ok")  # what can be examined is


def test_weights_that_are_missing_or_not_finite_or_of_another_shape(tmp_path: Path) -> None:
    model = tiny_clap()
    state = {k: v for k, v in model.state_dict().items() if not k.startswith("text_projection.linear2")}
    model.save_pretrained(tmp_path / "few", state_dict=state)
    findings = diagnose(saved_processor(tmp_path / "few"))
    one(findings, r"2 weight tensor\(s\) are missing, and would be random: text_projection\.linear2\.bias, ", "problem")
    with torch.no_grad():
        model.audio_projection.linear1.weight[0, 0] = torch.nan
    one(diagnose(saved(tmp_path / "nan", model)), r"1 weight tensor\(s\) hold NaN .*: audio_projection\.l", "problem")
    name = saved(tmp_path / "fewer", tiny_clap())
    for config in (tiny_clap(depths=(1, 1)).config, tiny_clap(mels=32).config):
        config.save_pretrained(name)
        with pytest.raises(CheckpointError) as error:
            load_clap(name)
        found = one(diagnose(name), r"weight tensor\(s\) are (of layers|not of the size)", "problem")
        assert found.what in str(error.value)


def saved_processor(folder: Path) -> str:
    tiny_processor().save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("tower", ["audio", "text"])
def test_weights_that_are_finite_and_give_no_answer(tower: str, tmp_path: Path) -> None:
    model = tiny_clap()
    with torch.no_grad():
        for parameter in getattr(model, f"{tower}_projection").parameters():
            parameter.zero_()
    name = saved(tmp_path, model)
    one(diagnose(name), f"the {tower} tower gives embeddings that are NaN or zero", "problem")
    with pytest.raises(CheckpointError, match=f"the {tower} tower gives embeddings"):
        rank(load_encoder(name), sound(tmp_path, 0.5), ["dog", "rain"])


def test_a_processor_of_another_model(tmp_path: Path) -> None:
    findings = diagnose(saved(tmp_path, processor=tiny_processor(mels=8)), [sound(tmp_path, 0.5)])
    one(findings, "feature_size 8, the model num_mel_bins 16", "problem")
    assert not [finding for finding in findings if "order check" in finding.what]
    (tmp_path / "tokenizer.json").write_text("{}")
    one(diagnose(str(tmp_path)), "processor .* cannot be read: KeyError 'added_tokens'", "problem")


def test_no_processor(tmp_path: Path) -> None:
    tiny_clap().save_pretrained(tmp_path)
    findings = diagnose(str(tmp_path))
    one(findings, r"the processor \(extractor and tokenizer\) cannot be read: ", "problem")
    one(findings, "weights in safetensors, all finite", "ok")


@pytest.mark.parametrize(("scale", "level"), [(100.0, "ok"), (1.0, "ok"), (0.5, "warning"), (150.0, "warning")])
def test_a_scale_out_of_use_is_a_warning(tmp_path: Path, scale: float, level: str) -> None:
    model = tiny_clap()
    model.logit_scale_a.data.fill_(np.log(scale))
    one(diagnose(saved(tmp_path, model)), rf"logit scale {scale}", level)


# Sounds


def plain_input(processor: ClapProcessor, waveform: np.ndarray) -> np.ndarray:
    """The samples that plain transformers makes its spectrogram of."""
    seen: list[np.ndarray] = []

    class Noted(ClapFeatureExtractor):
        def _np_extract_fbank_features(self, waveform: np.ndarray, mel_filters: np.ndarray | None = None) -> np.ndarray:
            seen.append(waveform)
            return super()._np_extract_fbank_features(waveform, mel_filters)

    processor.feature_extractor.__class__ = Noted
    processor(text=["dog"], audio=[waveform], sampling_rate=RATE, return_tensors="pt")
    return seen[0]


@pytest.mark.parametrize("padding", ["pad", "repeat", "repeatpad"])
@pytest.mark.parametrize("seconds", [0.2, 0.33, 0.5, 0.51, 0.99, 1.0, 1.01, 2.5])
def test_what_is_said_of_a_sound_is_what_plain_transformers_does(tmp_path: Path, padding: str, seconds: float) -> None:
    name = saved(tmp_path, processor=processor_with(padding=padding))
    processor = ClapProcessor.from_pretrained(name)
    path = sound(tmp_path, seconds)
    wave = soundfile.read(path, dtype="float32")[0]
    heard = plain_input(ClapProcessor.from_pretrained(name), wave)
    assert len(heard) == SAMPLES
    said = doctor._sound(hearing(ClapConfig.from_pretrained(name), processor.feature_extractor), processor, path)
    assert said.what.startswith(f"{path}: {seconds:.3f} s at 8000 Hz; ")
    if seconds > 1:
        lost = re.search(r"crops it at random, another way at each call: (\d+)% is lost$", said.what)
        assert lost and float(lost[1]) / 100 == pytest.approx(1 - len(heard) / len(wave), abs=0.006)
        assert said.level == "warning" and any(np.array_equal(heard, wave[i : i + SAMPLES]) for i in range(len(wave)))
        windows = 2 if seconds < 2 else 3
        assert said.fix == f"here: `teminal rank` hears it through {windows} evenly spaced windows"
        return
    rest = heard[len(wave) :][:100]
    again = len(rest) > 0 and np.array_equal(rest, wave[: len(rest)])
    assert again == ("repeats it" in said.what) == (said.level == "warning")
    if not again:
        assert said.what.endswith("heard as it is" if seconds == 1 else "padded with silence")
        assert not heard[len(wave) :].any()
        return
    times = float(re.search(r"repeats it, ([\d.]+) times$", said.what)[1])
    assert said.fix == "here: padded with silence"
    assert times == pytest.approx(np.flatnonzero(heard)[-1] / len(wave), abs=0.01)
    np.testing.assert_array_equal(heard[: round(times * len(wave))], np.resize(wave, round(times * len(wave))))


def test_another_rate_is_named_and_lengths_are_in_seconds(tmp_path: Path) -> None:
    name = saved(tmp_path, processor=processor_with(padding="repeatpad"))
    (found,) = [f for f in diagnose(name, [sound(tmp_path, 0.25, 44_100)]) if "a.wav" in f.what]
    expected = (
        "a.wav: 0.250 s at 44100 Hz, which must be resampled to 8000 Hz (done here; plain transformers leaves it to "
        "you); plain transformers repeats it, 4 times"
    )
    assert found.what.endswith(expected)


def test_sounds_that_cannot_be_heard_are_problems(tmp_path: Path) -> None:
    name = saved(tmp_path)
    (tmp_path / "bad.wav").write_bytes(b"not audio")
    soundfile.write(tmp_path / "silent.wav", np.zeros(RATE), RATE)
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), RATE)
    files = {
        "bad.wav": "cannot be decoded as audio",
        "silent.wav": "is silent",
        "empty.wav": "is empty",
    }
    findings = diagnose(name, [tmp_path / file for file in files])
    for file, why in files.items():
        one(findings, re.escape(f"{tmp_path / file} {why}"), "problem")
    one(diagnose(name, [tmp_path / "none.wav"]), re.escape(f"there is no file {tmp_path / 'none.wav'}"), "problem")


# Order


def test_the_order_check_is_zste_on_the_test_fold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "ORDER_ITEMS", 12)
    encoder = load_encoder("clap-mini")
    clips = sound_bank(2).in_folds([max(FOLDS)]).usable(16_000)
    truth = ZsteEvaluator(clips, RenderSettings.of(encoder), n_groups=12, tasks=("3O", "3A"))(encoder).results
    findings = diagnose("clap-mini")
    assert findings[-1] == order_finding("clap-mini", truth)
    assert levels(findings) == ["ok"] * 5 + ["warning"]  # it knows single sounds alone


def results(right: int, n: int = 40) -> dict:
    """3O with so many right of n, 3A all right."""
    scores = [[1.0, 0.0] if i < right else [0.0, 1.0] for i in range(n)] + [[1.0, 0.0, 0.5]] * n
    return score(scores, [[0]] * 2 * n, ["3O"] * n + ["3A"] * n)


@pytest.mark.parametrize(
    ("right", "verdict", "level"),
    [
        (40, "hears order", "ok"),
        (27, "hears order", "ok"),
        (26, "cannot tell order from guessing", "warning"),
        (14, "cannot tell order from guessing", "warning"),
        (13, r"is wrong more often than guessing \(a tie counts as wrong\)", "warning"),
    ],
)
def test_the_verdict_is_the_intervals(right: int, verdict: str, level: str) -> None:
    found = one([order_finding("m", results(right))], f"order check on the synthetic sound bank: {verdict}", level)
    low, high = (f"{100 * bound:.0f}" for bound in results(right)["3O"]["ci95"])
    three = f"{right} of 40 right ({right / 40:.0%}, 95 % interval {low}% to {high}%, chance 50%)"
    assert f"Which came first (3O)? {three}." in found.what
    assert "Before, after or while (3A)? 40 of 40 right (100%, 95 % interval 91% to 100%, chance 33%)" in found.what
    assert "`teminal evaluate m --data_dir ESC50`" in found.what + found.fix
    assert ("`teminal train stage_a --model m`" in found.fix) == (level != "ok")


# The command


def test_the_command_prints_and_its_status_is_1_for_a_problem(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = saved(tmp_path, processor=processor_with(padding="repeatpad"))
    path = str(sound(tmp_path, 0.25))
    main(["doctor", name, path])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "ok       a CLAP checkpoint, not fused"
    assert lines[1].startswith('warning  the stored processor has padding="repeatpad"')
    assert lines[2].startswith("         -> save it anew, mended: ")
    assert f"warning  {path}: 0.250 s at 8000 Hz; plain transformers repeats it, 4 times" in lines
    assert lines[-1] == "0 problem(s), 3 warning(s)"
    with pytest.raises(SystemExit) as ended:
        main(["doctor", name, str(tmp_path / "none.wav")])
    assert ended.value.code == 1 and "1 problem(s), 2 warning(s)" in capsys.readouterr().out


def test_help_says_what_the_status_means(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["doctor", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "Exit status 1 if a problem was found, 0 if not; a warning is no problem." in said
