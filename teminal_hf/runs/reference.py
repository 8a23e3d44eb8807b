"""What a run's base knows, for its training to keep."""

from accelerate import PartialState
from torch import nn
from transformers import ClapProcessor

from teminal_hf.clips.labels import spoken
from teminal_hf.clips.sources import unlabelled_clips
from teminal_hf.data.reference import ReferenceRecordings
from teminal_hf.data.rendering import RenderSettings
from teminal_hf.models.checkpoint import load_clap
from teminal_hf.runs.arguments import Config
from teminal_hf.runs.training_data import TrainingData
from teminal_hf.training.retention import Reference


def reference_of(
    config: Config, base: str, model: nn.Module, processor: ClapProcessor, data: TrainingData
) -> Reference | None:
    """The reference set of a training and what `base` says of it, to be filled; None where nothing asks for it."""
    args, options = config.training, config.data
    if not (args.retention or args.mixture):
        return None
    assert data.train_clips is not None
    settings = RenderSettings.of_extractor(processor.feature_extractor)
    clips = data.train_clips
    if options.reference is not None:
        with PartialState().local_main_process_first():  # the others read what it has decoded
            clips = unlabelled_clips(options.reference, settings.sampling_rate)
    start, _ = load_clap(base)
    for each in (start, model):
        nn.Module.to(each, args.device)
    return Reference(
        start,
        model,
        config.run.policy().split_point,
        processor,
        ReferenceRecordings.alone(data.train_clips, settings),
        ReferenceRecordings.around(clips, settings, options.reference_size),
        [spoken(label) for label in data.train_clips.classes],
        seed=args.seed,
        dtype=config.run.cache_dtype,
    )
