#!/usr/bin/env bash
# All rows of a machine with one NVIDIA GPU, in less than 15 minutes:
#
#     python -m venv .venv && .venv/bin/pip install torch -e ".[dev]" "sentence-transformers==6.2.*"
#     PYTHON=.venv/bin/python benchmarks/gpu.sh
#
# from the root of the repository (torch with CUDA; nothing else is downloaded: weights are random, sounds are made).
# Each part ends at its limit below, and their sum is what the whole takes at most. A part that is stopped or fails is
# named at the end and writes no rows; what the others have measured stands in results.json and README.md.
#
#     PARTS="features memory" MEMORY_SECONDS=300 benchmarks/gpu.sh     some of it, with more time
#     benchmarks/gpu.sh --smoke                                        seconds each, on the CPU; writes nothing down

set -u
: "${PYTHON:=python}"
: "${PARTS:=features pipeline latency stage_b_exact stage_b_fast memory precision}"
: "${FEATURES_SECONDS:=40}" "${PIPELINE_SECONDS:=100}" "${LATENCY_SECONDS:=60}" "${STAGE_B_EXACT_SECONDS:=210}"
: "${STAGE_B_FAST_SECONDS:=150}" "${MEMORY_SECONDS:=150}" "${PRECISION_SECONDS:=150}"
: "${GROUPS_TRAINED:=96}" "${BATCH:=32}" "${EPOCHS:=10}" "${WORKERS:=8}" "${THREADS:=8}"

smoke=()
[ "${1:-}" = "--smoke" ] && smoke=(--smoke)
here=$(dirname "$0")
left_out=()

if [ ${#smoke[@]} -eq 0 ] && ! "$PYTHON" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    echo "gpu.sh: $PYTHON sees no CUDA device; set PYTHON to one whose torch does, or try --smoke" >&2
    exit 2
fi

# part NAME SECONDS SCRIPT FLAGS...
part() {
    local name=$1 seconds=$2 script=$3
    shift 3
    case " $PARTS " in *" $name "*) ;; *) left_out+=("$name (not in PARTS)"); return ;; esac
    echo "== $name: at most $seconds s"
    timeout --kill-after=5 "$seconds" "$PYTHON" "$here/$script" --threads "$THREADS" "$@" ${smoke[@]+"${smoke[@]}"}
    local status=$?
    case $status in
        0) ;;
        124 | 137) left_out+=("$name (stopped after $seconds s: raise its limit or lower GROUPS_TRAINED, EPOCHS)") ;;
        *) left_out+=("$name (ended with $status)") ;;
    esac
}

job=(--groups "$GROUPS_TRAINED" --batch "$BATCH" --epochs "$EPOCHS" --workers "$WORKERS")
on=cuda
[ ${#smoke[@]} -eq 0 ] || on=cpu

part features "$FEATURES_SECONDS" features.py --device "$on" --batch 96
part pipeline "$PIPELINE_SECONDS" pipeline.py --groups "$GROUPS_TRAINED" --batch "$BATCH" --all_workers 0 1 "$WORKERS"
part latency "$LATENCY_SECONDS" latency.py
part stage_b_exact "$STAGE_B_EXACT_SECONDS" stage_b.py "${job[@]}"
part stage_b_fast "$STAGE_B_FAST_SECONDS" stage_b.py "${job[@]}" --bf16 --tf32 \
    --contestants full_finetune plain_freezing cached cached_again
part memory "$MEMORY_SECONDS" memory.py --model laion --uncached_batches 16 32 --cached_batches 32 256 \
    --chunked_batches 128 256
part precision "$PRECISION_SECONDS" precision.py --model laion --parts curves --groups 64 --batch 16 --epochs 3 \
    --workers "$WORKERS"

if [ ${#left_out[@]} -gt 0 ]; then
    echo "left out:"
    printf '  %s\n' "${left_out[@]}"
    exit 1
fi
echo "nothing was left out"
