# make demo | make test | make test-lowest | make lint: each sets up .venv first; safe to run again.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
LAUNCH := $(BIN)/accelerate launch --config_file accelerate_config.yaml
# Idle threads that spin make every step of a busy machine slower.
export GOMP_SPINCOUNT := 0
export OMP_WAIT_POLICY := PASSIVE

.PHONY: demo test test-lowest lint

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

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy benchmarks
