#!/usr/bin/env bash
# ResRep from end to end: a base network, compactors trained until half of the MACs are gone, folding, comparing.
# The schedule is 350 times shorter than the published one: small batches, and a lasso 20 times as strong.
set -euo pipefail
cd "$(dirname "$0")/.."

work=runs/demo-resrep
export OMP_NUM_THREADS=1 # a second thread would wait longer than it works: these images are 16 pixels wide

run() { printf '\n$ %s\n' "$*"; "$@"; }

rm -rf "$work"
mkdir -p "$work"

run prune train-base --arch resnet20 --dataset digits --epochs 10 --out "$work/base"
run prune prune "$work/base/best.hdf5" --method resrep --flops-target 0.471 --epochs 24 --batch-size 16 --lr 0.02 \
    --lasso 0.002 --mask-after 1 --mask-interval 10 --granularity 16 --out "$work/resrep"
run prune evaluate "$work/base/best.hdf5" "$work/resrep/final.hdf5" "$work/resrep/deploy.hdf5" --latency
printf '%s\n' "Done in $SECONDS s. All files are in $work."
