#!/usr/bin/env bash
# 1,000 kills of every kind, in about an hour on one idle core. The figures stand in docs/reliability.md.
set -euo pipefail
cd "$(dirname "$0")/../.."
export OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1 PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
exec nice -n 19 python tests/soak/soak.py --kills "${1:-1000}" --out soak.json "${@:2}"
