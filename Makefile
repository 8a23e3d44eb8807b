# make demo | make test | make test-fast | make test-lowest | make lint | make docs: each sets up .venv first; safe to
# run again.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
LAUNCH := $(BIN)/accelerate launch --config_file accelerate_config.yaml
# Idle threads that spin make every step of a busy machine slower.
export GOMP_SPINCOUNT := 0
export OMP_WAIT_POLICY := PASSIVE
# Those that take less than a minute of CPU time together, measured in one process.
FAST := tests/audio/test_log_mel.py tests/audio/test_waveform.py \
	tests/clips/test_soundbank.py tests/clips/test_sources.py tests/clips/test_store.py tests/commands/test_cli.py \
	tests/data/test_caption_pairs.py tests/data/test_captions.py tests/data/test_groups.py \
	tests/data/test_mixing.py tests/data/test_publishing.py \
	tests/data/test_rendering.py tests/data/test_zste_items.py tests/evaluation/test_bootstrap.py \
	tests/evaluation/test_evaluator.py tests/evaluation/test_report.py tests/evaluation/test_zste.py \
	tests/integrations/test_mteb_export.py tests/models/test_split.py tests/order_tests/test_questions.py \
	tests/order_tests/test_compa.py tests/runs/test_arguments.py \
	tests/runs/test_lineage.py tests/runs/test_model_card.py tests/storage/test_cache.py \
	tests/training/test_code_in_cache_keys.py tests/training/test_data_collator.py tests/training/test_losses.py \
	tests/training/test_mini_batches.py tests/test_docs.py tests/test_rooms.py

.PHONY: demo test test-fast test-lowest lint docs

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	# PyPI's torchaudio links CUDA, and transformers imports (and fails with) any it finds: apart, for its tests alone.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps --upgrade \
		--target .venv/torchaudio torchaudio
	touch $(STAMP)

demo: $(STAMP)
	@n=1; while [ -e runs/demo-$$(printf %03d $$n) ]; do n=$$((n+1)); done; run=runs/demo-$$(printf %03d $$n); \
	echo "demo in $$run"; \
	$(LAUNCH) recipes/stage_a.py --output_dir $$run/stage_a && \
	$(LAUNCH) recipes/stage_b.py --output_dir $$run/stage_b && \
	echo "table: $$run/stage_b/zste.json, picture: $$run/stage_b/zste.png; try it: $(BIN)/teminal demo --model $$run/stage_b"

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadfile $(PYTEST_ARGUMENTS)

# The package's own tests, on the lowest versions that it declares; extras, documents and benchmarks are left out.
LOWEST := .venv-lowest/.installed
$(LOWEST): pyproject.toml constraints-lowest.txt
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-lowest.txt -e . \
		pytest pytest-xdist scipy
	touch $(LOWEST)

test-lowest: $(LOWEST)
	.venv-lowest/bin/python -m pytest -n 2 --dist loadfile --ignore tests/test_package.py --ignore tests/test_docs.py \
		--ignore tests/test_benchmarks.py --ignore tests/test_wheel.py

test-fast: $(STAMP)
	$(BIN)/python -m pytest $(FAST)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy benchmarks

docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "open build/site/index.html"
