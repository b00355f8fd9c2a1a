#!/usr/bin/env bash
# What the first device that JAX finds computes, and how fast: one JSON file, offline, in nine minutes.
#
#   [WHEELS=FOLDER] experiments/benchmarks/gpu.sh [OUT]
#
# OUT: by default experiments/benchmarks/results/gpu.json. WHEELS: packages to install first, where there
# is no network; fill it elsewhere with `pip download -d FOLDER PACKAGE ...`.
set -euo pipefail
cd "$(dirname "$0")/../.."
if [[ -n ${WHEELS:-} ]]; then
  python -m pip install --quiet --no-index --no-deps "$WHEELS"/*.whl
fi
exec python -m experiments.benchmarks.gpu --out="${1:-experiments/benchmarks/results/gpu.json}"
