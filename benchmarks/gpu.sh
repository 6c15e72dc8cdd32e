#!/usr/bin/env bash
# Run everything that needs a GPU on one card in less than seven minutes: the tests on CUDA, training steps with and
# without kernels, the quickstart, and ten tiny runs that share the card. Each part has a time limit, and the script
# continues after a part that fails.
#
#     benchmarks/gpu.sh OUT
#
# The script writes the logs and gpu.json to the folder OUT. It uses the packages of the extras test, mamba and xlstm;
# gpu.json lists the kernels' packages that are installed.
set -uo pipefail
cd "$(dirname "$0")/.."
out=$(mkdir -p "${1:?give a folder for the results}" && cd "$1" && pwd)
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} HF_HOME="$out/hf" HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false PYTHONUNBUFFERED=1
python3 -c 'import torch; assert torch.cuda.is_available(), "no GPU"; print(torch.cuda.get_device_name(), torch.__version__)' || exit 1

part() {
    local name=$1 limit=$2 started=$SECONDS
    shift 2
    timeout "$limit" "$@" >"$out/$name.log" 2>&1
    local code=$?
    echo "== $name: exit $code, $((SECONDS - started)) s"
    tail -n 6 "$out/$name.log" | cut -c1-300
}

part tests 150 python3 -m pytest -q -p no:cacheprovider tests/models/test_cuda.py tests/kernels/test_mlstm.py
part steps 100 python3 benchmarks/gpu.py --cpu --out "$out/gpu.json"
part quickstart 60 python3 training/train.py training/recipes/quickstart.yaml --output_dir "$out/runs/quickstart"
cat >"$out/ten.yaml" <<'GRID'
axes: {language: [anbn, ban], seed: [0, 1, 2, 3, 4], max_steps: [100], max_length: [16], train_size: [64],
       held_out_size: [16], eval_steps: [50]}
GRID
shared=(--workers 10)
if python3 -c 'import ray' 2>/dev/null; then shared=(--address local --gpus-per-run 0.1); fi
part ten-runs 90 python3 training/sweep.py "$out/ten.yaml" --out "$out/runs/ten" "${shared[@]}"
rm -rf "$out/hf"
