"""`TeminalConfig`: `transformers.TrainingArguments` and the weights of the loss."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate.utils import parse_flag_from_env
from transformers import Trainer, TrainingArguments, get_scheduler
from transformers.integrations.integration_utils import (
    get_available_reporting_integrations,
    get_reporting_integration_callbacks,
)
from transformers.trainer_pt_utils import AcceleratorConfig
from transformers.trainer_utils import HubStrategy, IntervalStrategy, SchedulerType
from transformers.training_args import OptimizerNames

from teminal_hf.audio.log_mel import device_of_features
from teminal_hf.data.bounds import SEED, Bound, check_bounds
from teminal_hf.data.views import STAGE_B_VIEWS
from teminal_hf.errors import ConfigError

_PACKAGES = {"azure_ml": "azureml-sdk", "flyte": "flytekit"}  # of those trackers that are not called as theirs
ALPHAS = ("alpha_same_time", "alpha_cross_time", "alpha_same_overlap", "alpha_cross_overlap")
FEATURES_ON = ("auto", "workers", "device")
_POSITIVE = Bound(0, above=True)
_BOUNDS = {
    "num_train_epochs": _POSITIVE,
    "per_device_train_batch_size": Bound(1),
    "per_device_eval_batch_size": Bound(1),
    "gradient_accumulation_steps": Bound(1),
    "eval_accumulation_steps": Bound(1),
    "learning_rate": Bound(0),
    "warmup_steps": Bound(0),
    "warmup_ratio": Bound(0, 1),
    "weight_decay": Bound(0),
    "max_grad_norm": Bound(0),
    "adam_beta1": Bound(0, 0.999999999),
    "adam_beta2": Bound(0, 0.999999999),
    "adam_epsilon": Bound(0),
    "neftune_noise_alpha": Bound(0),
    "logging_steps": _POSITIVE,
    "save_steps": _POSITIVE,
    "eval_steps": _POSITIVE,
    "eval_delay": Bound(0),
    "save_total_limit": Bound(1),
    "torch_empty_cache_steps": Bound(1),
    "dataloader_num_workers": Bound(0),
    "dataloader_prefetch_factor": Bound(1),
    "ddp_timeout": Bound(1),
    "seed": SEED,
    "data_seed": SEED,
}


@dataclass
class TeminalConfig(TrainingArguments):
    """`TrainingArguments` and the weights of the loss (see `temporal_contrastive_loss`).

    Args:
        views: of each group, in this order: `forward`, `reversed`, `overlay` for stage B, `single`, `double` for stage
            A, `forward` alone for plain audio-caption pairs. `single` may join stage B as rehearsal of single sounds.
        rehearsal: weight of the loss over `single` views beside the temporal loss.
        pairs_weight: weight of the symmetric InfoNCE over the users' own pairs, the view `pair`, among themselves.
        retention: weight of keeping what the starting checkpoint knows of recordings and captions that are not trained
            on (see `Reference.departure`); asked for 64 of each in every step.
        mixture: weight of hearing two sounds as two: the divergence of each view from the mean of what the starting
            checkpoint says of its clips alone (see `Reference.mixture`).
        text_hinge: weight of what tells captions of both orders apart in text alone (`losses.text_hinge`): a peer's
            loss, for comparisons.
        average: decay of a moving average of the weights, which replaces them when the training ends; 0 for none.
            Evaluations on the way are of the weights themselves.
        audio_rate: the audio tower's learning rate, as a share of `learning_rate`.
        plain_share: for this share of the steps, at the start, every sequence is said as "X before Y". Order is a joint
            signal of both towers, with no gradient until one of them carries it; one wording, whose word order is the
            order of the sounds, gets it going, and "Y after X" is then learned fast.
        mini_batch_groups: hold the activations of so many groups at once, and embed the batch in chunks, each a second
            time for its gradients (what GradCache does, arXiv 2101.06983): loss and gradients of the whole batch in the
            memory of a chunk, for one more forward pass. 0 holds the whole batch. `gradient_accumulation_steps` is no
            substitute: it adds up the losses of small batches, each with its few negatives.
        features_on: who computes the log-mels of what is trained and validated on: `workers` of the data loader,
            `device`, whole batches where the model is, or `auto`, the device where that is a GPU. What is heard for the
            reference and in evaluations goes by `auto`.
    """

    views: list[str] = field(default_factory=lambda: list(STAGE_B_VIEWS), metadata={"help": "views of each group"})
    alpha_same_time: float = field(default=1.0, metadata={"help": "weight of a sample's own time-reversed view"})
    alpha_cross_time: float = field(default=1.0, metadata={"help": "weight of other samples' time-reversed views"})
    alpha_same_overlap: float = field(default=1.0, metadata={"help": "weight of a sample's own overlaid view"})
    alpha_cross_overlap: float = field(default=1.0, metadata={"help": "weight of other samples' overlaid views"})
    beta: float = field(default=1.0, metadata={"help": "weight of the reversed and overlay rows"})
    rehearsal: float = field(default=1.0, metadata={"help": "weight of the single views' loss, where they are a view"})

    pairs_weight: float = field(default=1.0, metadata={"help": "weight of your own pairs' loss, where they are a view"})
    retention: float = field(default=0.0, metadata={"help": "weight of keeping what the starting checkpoint knows"})
    mixture: float = field(default=0.0, metadata={"help": "weight of hearing two sounds as both of them"})
    text_hinge: float = field(default=0.0, metadata={"help": "weight of the hinge between captions of both orders"})
    average: float = field(default=0.0, metadata={"help": "decay of the saved average of weights (0: none)"})
    audio_rate: float = field(default=1.0, metadata={"help": "the audio tower's share of the learning rate"})
    plain_share: float = field(
        default=0.0, metadata={"help": 'share of the steps, at the start, with "X before Y" only'}
    )
    mini_batch_groups: int = field(
        default=0, metadata={"help": "groups whose activations are held at once (0: the whole batch)"}
    )
    features_on: str = field(
        default="auto", metadata={"help": "who computes log-mels: workers, device, auto (device where it is a GPU)"}
    )

    def __post_init__(self) -> None:
        _check_whole_on_each_process(self)
        # Otherwise transformers refuses bf16 where there is no accelerator, unless told what is plain to see.
        self.use_cpu = self.use_cpu or not torch.accelerator.is_available()
        given = self.accelerator_config
        super().__post_init__()
        self.remove_unused_columns = False  # would drop every view: none is an argument of ClapModel.forward
        if self.ddp_find_unused_parameters is None:
            # The scale is used outside forward: a search for unused parameters would miss it. There are none.
            self.ddp_find_unused_parameters = False
        self.dataloader_pin_memory &= torch.cuda.is_available()  # warns on every run where there is no accelerator
        if self.dataloader_pin_memory and not given:
            assert isinstance(self.accelerator_config, AcceleratorConfig)  # whatever was given
            self.accelerator_config.non_blocking = True  # pinned for it
        self.prediction_loss_only = True  # an evaluation needs no logits, and batches differ in size
        for name in (
            *ALPHAS,
            "beta",
            "rehearsal",
            "pairs_weight",
            "retention",
            "mixture",
            "text_hinge",
            "audio_rate",
            "mini_batch_groups",
        ):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must not be negative, got {getattr(self, name)}; 0 leaves it out")
            if not math.isfinite(getattr(self, name)):
                raise ConfigError(f"{name} must be a finite number, got {getattr(self, name)}; 0 leaves it out")
        assert isinstance(self.report_to, list)  # whatever was given
        _check_trackers(self.report_to)
        if self.push_to_hub and self.hub_strategy == HubStrategy.CHECKPOINT:
            raise ConfigError(
                "hub_strategy checkpoint pushes the optimizer's state, a pickle, which runs code when it is read; "
                "choose end, every_save or all_checkpoints"
            )
        if not 0 <= self.average < 1:
            raise ConfigError(f"average must be at least 0 and below 1, got {self.average}; 0.995 is usual, 0 is none")
        if self.average and self.load_best_model_at_end:
            raise ConfigError("average and load_best_model_at_end exclude each other: either replaces the last weights")
        if self.features_on not in FEATURES_ON:
            raise ConfigError(f"unknown features_on {self.features_on!r}; choose of {', '.join(FEATURES_ON)}")
        if not 0 <= self.plain_share <= 1:
            raise ConfigError(f"plain_share must be between 0 and 1, got {self.plain_share}")
        if self.text_hinge and not {"forward", "reversed"} <= {*self.views}:
            raise ConfigError(f"text_hinge needs the views forward and reversed, got {self.views}; 0 leaves it out")
        if len(set(self.views)) < len(self.views):
            raise ConfigError(f"views must differ, got {self.views}")
        unknown = set(self.views) - {*STAGE_B_VIEWS, "single", "double", "pair"}
        if unknown or not self.views:
            raise ConfigError(
                f"views: unknown view(s) {sorted(unknown)}; choose of {', '.join(STAGE_B_VIEWS)}, single, double, pair"
                if unknown
                else "views is empty; name at least one, such as forward"
            )

    @property
    def features_on_device(self) -> bool:
        """Does the device compute log-mels, and not the workers?"""
        gpu = device_of_features(self.device).type != "cpu"
        return self.features_on == "device" or (self.features_on == "auto" and gpu)


def _check_whole_on_each_process(args: TrainingArguments) -> None:
    """Raise a ConfigError for what would divide the model among processes, asked for here or of `accelerate launch`.

    FSDP's `fully_shard` takes no scalar parameters, and the two log-scales of a ClapModel are such; without an
    accelerator, accelerate 1.15 ignores it in silence. DeepSpeed keeps weights and gradients in a form of its own.
    """
    asked = {
        "fsdp": args.fsdp or parse_flag_from_env("ACCELERATE_USE_FSDP"),
        "deepspeed": args.deepspeed or parse_flag_from_env("ACCELERATE_USE_DEEPSPEED"),
        "megatron_lm": parse_flag_from_env("ACCELERATE_USE_MEGATRON_LM"),
        "parallelism_config": args.parallelism_config or parse_flag_from_env("ACCELERATE_USE_PARALLELISM_CONFIG"),
    }
    if name := next((name for name, is_asked in asked.items() if is_asked), None):
        raise ConfigError(
            f"{name} cannot be used here: a CLAP fits each device whole, about a tenth of it is trained, and its "
            "scalar log-scale cannot be divided. Leave it out, here and in accelerate's configuration, and start one "
            "process a GPU (distributed_type MULTI_GPU): DDP sends the gradients of what is trained alone; "
            "mini_batch_groups bounds the memory of a batch"
        )


def _check_trackers(names: Sequence[str]) -> None:
    """Raise a ConfigError for a tracker that the Trainer would refuse, hours of preparation later."""
    available = get_available_reporting_integrations() if names else []
    for name in names:
        if name in available:
            continue
        try:  # they know best what they need, and a few that could be used are not listed
            get_reporting_integration_callbacks([name])[0]()
        except (RuntimeError, ImportError) as error:
            raise ConfigError(
                f"report_to {name}: it is not installed, or not set up, here; pip install "
                f"{_PACKAGES.get(name, name)}, or set it to {' or '.join([*available, 'none'])}"
            ) from error
        except ValueError as error:
            raise ConfigError(f"report_to: {error}") from error


def check_numbers(values: Mapping[str, Any]) -> None:
    """Raise a ConfigError that names the first of the training's numbers that makes no sense, among those there are."""
    check_bounds(values, _BOUNDS)
    max_steps = values.get("max_steps", -1)
    if max_steps != -1 and max_steps < 1:
        raise ConfigError(f"max_steps must be at least 1, or -1 to leave it to num_train_epochs, got {max_steps}")


def check_training(args: TeminalConfig) -> None:
    """Raise a ValueError for what would be wrong in every step of a training."""
    check_numbers(vars(args))
    if args.per_device_train_batch_size * args.world_size < 2:
        raise ConfigError(
            "a global batch of one group has no negatives from other groups; set per_device_train_batch_size to 2 or "
            "more (tens are usual)"
        )
    if args.n_gpu > 1:
        raise ConfigError(
            f"{args.n_gpu} GPUs in one process would split a batch across its views; start one process a GPU with "
            "`accelerate launch --num_processes`, or show one by CUDA_VISIBLE_DEVICES=0"
        )


def check_usable(args: TeminalConfig) -> None:
    """Raise a ConfigError for settings of transformers that a `ClapModel`, groups or this machine cannot follow."""
    instead = {
        "resume_from_checkpoint": "a run goes on by --resume --output_dir RUN",
        "gradient_checkpointing": "a ClapModel knows none; mini_batch_groups bounds the memory of a batch",
        "activation_checkpointing": "a ClapModel knows none; mini_batch_groups bounds the memory of a batch",
        "ignore_data_skip": "a resumed run would hear what it has heard, and not the rest",
        "enable_jit_checkpoint": "a run that is stopped goes on from its last checkpoint, of save_steps",
        "label_smoothing_factor": "captions are no classes; false negatives are masked by meaning",
        "neftune_noise_alpha": "it is for language models, and a ClapModel does not take it",
    }
    for name, why in instead.items():
        if getattr(args, name, None):
            raise ConfigError(f"{name} cannot be used here: {why}; leave it out")
    if getattr(args, "train_sampling_strategy", "random") not in ("random", "sequential"):
        raise ConfigError(f"train_sampling_strategy {args.train_sampling_strategy}: groups have no length; use random")
    if args.eval_on_start and args.eval_strategy == IntervalStrategy.NO:
        raise ConfigError("eval_on_start needs evaluations: set eval_strategy to epoch or steps")
    if not args.torch_compile:
        return
    backends, modes = torch.compiler.list_backends(()), ["default", *torch._inductor.list_mode_options()]
    for name, known in (("torch_compile_backend", backends), ("torch_compile_mode", modes)):
        chosen = getattr(args, name)
        if chosen is not None and chosen not in known:
            raise ConfigError(f"unknown {name} {chosen!r}; choose of {', '.join(dict.fromkeys(known))}")


def check_optimisation(args: TeminalConfig) -> None:
    """Raise a ConfigError for an optimizer that is not installed, or options that optimizer or schedule do not have:
    both are made, of one weight, before a model is loaded."""
    if args.optim_target_modules is not None:  # to be found in the model
        return
    what = f"optim {OptimizerNames(args.optim).value}"
    what += f" with optim_args {args.optim_args}" if args.optim_args else ""
    kwargs: Any = args.lr_scheduler_kwargs  # a mapping by now
    try:
        make, options = Trainer.get_optimizer_cls_and_kwargs(args)
        optimizer = make([torch.nn.Parameter(torch.zeros(1))], **options)
        what = f"lr_scheduler_type {SchedulerType(args.lr_scheduler_type).value}"
        get_scheduler(args.lr_scheduler_type, optimizer, 0, 1, scheduler_specific_kwargs=kwargs)
    except (ValueError, TypeError, ImportError, RuntimeError) as error:
        raise ConfigError(f"{what}: {' '.join(str(error).split())}") from error
