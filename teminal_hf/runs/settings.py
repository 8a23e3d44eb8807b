"""Which settings of a run describe its method, and which do not: for cards, which list it, and for comparisons."""

# What data, loss and optimisation were: what a card lists. A list of what to show, for a setting that is not thought of
# here would rather be missed on a card than tell others of a machine, a path or an account.
METHOD: tuple[str, ...] = (
    *("text_column", "pairs_audio_column", "audio_column", "label_column", "fold_column"),
    *("group_column", "clips_per_class"),
    *("n_groups", "connectives", "overlap_connectives", "leave_out", "positions", "left_out_classes", "augment"),
    *("gap", "crossfade", "margin", "streaming", "shuffle_buffer"),
    "views",
    *("audio_blocks", "text_layers", "text_pooler", "projections", "tuning", "lora_rank"),
    *("alpha_same_time", "alpha_cross_time", "alpha_same_overlap", "alpha_cross_overlap", "beta", "rehearsal"),
    *("pairs_weight", "retention", "reference", "reference_size", "mixture", "plain_share", "average", "audio_rate"),
    "text_hinge",
    *("num_train_epochs", "max_steps", "per_device_train_batch_size", "gradient_accumulation_steps"),
    *("dataloader_drop_last", "learning_rate", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps"),
    *("optim", "optim_args", "optim_target_modules", "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon"),
    *("max_grad_norm", "neftune_noise_alpha", "bf16", "fp16", "tf32"),
    *("load_best_model_at_end", "metric_for_best_model", "greater_is_better"),
)

# Recorded as a fact of its own (base, history, source, folds), in words that are the same on every machine.
ELSEWHERE: tuple[str, ...] = ("model", "start_from", "source", "data_dir", "pairs")
ELSEWHERE += ("train_folds", "validation_folds", "test_folds")

SEEDS: tuple[str, ...] = ("seed", "data_seed", "groups_seed")

# These leave the weights as they would be. A list of what to leave out, for two runs that differ in a setting that is
# not thought of here must rather stand apart in a comparison than be averaged as two seeds of one method.
NO_METHOD: tuple[str, ...] = (
    *("output_dir", "run_name", "project", "report_to", "disable_tqdm", "use_cpu", "mini_batch_groups"),
    "features_on",
    # The items, which must be the same for other reasons.
    *("report_groups", "report_tasks", "report_seed", "known", "known_names", "families", "retrieval"),
    *("dataloader_num_workers", "dataloader_pin_memory", "dataloader_persistent_workers"),
    *("dataloader_prefetch_factor", "dataloader_multiprocessing_context", "per_device_eval_batch_size"),
    *("resume", "resume_from_checkpoint", "skip_memory_metrics", "full_determinism", "enable_jit_checkpoint"),
)
NO_METHOD_PREFIXES: tuple[str, ...] = (
    "logging_",
    "log_",
    "hub_",
    "push_to_hub",
    "trackio_",
    "save_",
    "cache_",
    "torch_compile",
)
NO_METHOD_PREFIXES += ("gradient_checkpointing", "activation_checkpointing")

# What is evaluated on the way changes the weights where the best of them are chosen by it.
CHOICE_PREFIXES = ("eval_", "metric_for_best_model", "greater_is_better")
