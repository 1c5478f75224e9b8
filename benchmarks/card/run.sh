#!/usr/bin/env bash
# benchmarks/card/run.sh speed|table|tests [OPTION...]: one command of card.md, in less than nine minutes. Exit code 0:
# done; 75, 124, 137: to be given again. What was found lies in runs/card/, which outlasts a checkout that is copied
# anew, and, where OUT names a folder, in OUT/card.tar.gz with what explains a failure: logs and no weights.
set -u -o pipefail
cd "$(dirname "$0")/../.." || exit 2
export PYTHONPATH="$PWD:$PWD/build/wheels${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
export CUDA_VISIBLE_DEVICES="${CUDA_VISIBLE_DEVICES:-0}"
python="${PYTHON:-$(command -v python || command -v python3)}" kept=runs/card what="${1:-}"
[ $# -gt 0 ] && shift
case "$what" in
speed) set -- -m benchmarks.gpu --device cuda --out "$kept/speed.json" "$@" ;;
table) set -- -m hdit_repro.cli submit table1 --scale mini --cluster card --wait --no-tables --stop-after 7 "$@" ;;
tests) set -- -m pytest tests/device -rs -W default "$@" ;;
*) sed -n 2,4p "$0" >&2; exit 2 ;;
esac
mkdir -p "$kept/results" results
cp -Rn "$kept/results/." results/ 2>/dev/null # records of earlier calls
timeout -k 10 520 "$python" "$@" 2>&1 | tee -a "$kept/$what.log"
code=$?
cp -R results/. "$kept/results/"
if [ -n "${OUT:-}" ]; then
    find runs benchmarks/results results -type f \( -path 'runs/card/*' -o -path 'benchmarks/results/*' \
        -o -path 'results/*' -o -path 'runs/*/state/*.log' -o -name '*failure.json' -o -name metrics.jsonl \
        -o -name grid.png -o -name run.json -o -path 'runs/submissions/*.err' -o -path 'runs/submissions/*.log' \
        \) -print0 |
        tar --null -czf "$OUT/card.tar.gz" -T -
fi
exit "$code"
