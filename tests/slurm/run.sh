#!/usr/bin/env bash
# The tests on a real SLURM: starts a cluster on this machine, runs them, and ends it whatever happens.
#   usage: tests/slurm/run.sh PYTHON [arguments of pytest]
set -euo pipefail
cd "$(dirname "$0")/../.."
LIMIT=${SLURM_TEST_LIMIT:-1500}     # seconds; the tests take some minutes on 2 cores

trap tests/slurm/slurm-down.sh EXIT
trap 'exit 130' INT TERM
tests/slurm/slurm-up.sh </dev/null
OMP_NUM_THREADS=1 timeout --kill-after=30 "$LIMIT" "$1" -m pytest -m slurm tests/slurm "${@:2}" </dev/null || {
  status=$?
  [ $status != 124 ] || echo "the SLURM tests took more than $LIMIT s (SLURM_TEST_LIMIT raises that)" >&2
  exit $status
}
