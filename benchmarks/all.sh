#!/usr/bin/env bash
# Run every benchmark for a CPU, and write the outputs as one JSON file:
#
#     benchmarks/all.sh [benchmarks.json]
#
# The script takes less than 20 minutes. A benchmark that fails or takes longer than its limit is recorded with its exit
# code (124 for the limit), and the others still run. The script also needs the packages mambapy and xlstm.
set -u
out=$(realpath -m "${1:-benchmarks.json}")
cd "$(dirname "$0")/.." || exit 1
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
failed=0
# The time limit of all benchmarks together, in seconds.
budget=1180

# measure NAME LIMIT_SECONDS THREADS COMMAND...
measure() {
    local name=$1 limit=$2 threads=$3
    shift 3
    echo "== $name"
    local started=$SECONDS left=$((budget - SECONDS))
    [ "$limit" -le "$left" ] || limit=$((left > 1 ? left : 1))
    OMP_NUM_THREADS=$threads NUMBA_NUM_THREADS=$threads timeout --kill-after=5 "$limit" "$@" > "$results/$name.out" 2> "$results/$name.err"
    local code=$?
    cat "$results/$name.out"
    [ "$code" -eq 0 ] || { failed=1; tail -n 3 "$results/$name.err" >&2; }
    printf '%s\n%s\n%s\n%s\n' "$code" "$((SECONDS - started))" "$threads" "$*" > "$results/$name.meta"
}

measure mini 180 1 python benchmarks/training.py mini --steps 300 --repeats 2
measure sweep 120 1 python benchmarks/sweep.py --steps 200
for architecture in lstm linear; do
    measure "step-$architecture" 40 2 python benchmarks/architectures.py --skip completion --only "$architecture" --repeats 9
done
for architecture in xlstm transformer mamba; do
    measure "step-$architecture" 120 2 python benchmarks/architectures.py --skip completion --only "$architecture" --repeats 1
done
measure run 400 2 python benchmarks/training.py run --steps 1000 --measured 50 250 --repeats 1
measure chance 40 1 python benchmarks/chance.py
measure padding 60 1 python benchmarks/padding.py
measure startup 120 1 python benchmarks/startup.py --repeats 3
measure overhead 60 1 python benchmarks/training.py overhead --steps 300 --repeats 3
measure scoring 100 1 python benchmarks/scoring.py -n 1000000 --repeats 3
measure rational 120 1 python benchmarks/rational.py

python - "$results" "$out" <<'PYTHON'
import json
import os
import platform
import sys
import time
from pathlib import Path

from hf_ruleextrap.versions import git_commit, package_versions

folder, out = map(Path, sys.argv[1:])
benchmarks = {}
for path in sorted(folder.glob("*.meta")):
    code, seconds, threads, command = path.read_text().splitlines()
    benchmarks[path.stem] = {
        "command": command,
        "threads": int(threads),
        "seconds": int(seconds),
        "exit_code": int(code),
        "output": path.with_suffix(".out").read_text().splitlines(),
    }
document = {
    "date": time.strftime("%Y-%m-%d"),
    "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    "load": os.getloadavg(),
    "git_commit": git_commit(),
    "versions": package_versions(),
    "benchmarks": benchmarks,
}
out.write_text(json.dumps(document, indent=2) + "\n")
print(f"wrote {out}")
PYTHON
exit "$failed"
