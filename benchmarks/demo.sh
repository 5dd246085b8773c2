#!/usr/bin/env bash
# The whole way of a network, typed out: train, rank, prune, finetune, convert, compare.
set -euo pipefail
cd "$(dirname "$0")/.."

work=runs/demo

say() { printf '\n$ %s\n' "$*"; }
run() { say "$@"; "$@"; }

rm -rf "$work"
mkdir -p "$work"

run prune train-base --arch resnet20 --dataset digits --epochs 10 --out "$work/base"
run prune rank "$work/base/best.hdf5" --criterion hrank --dataset digits --limit 4 --out "$work/scores.hdf5"
run prune prune "$work/base/best.hdf5" --scores "$work/scores.hdf5" --flops 0.5 --dataset digits \
    --out "$work/pruned.hdf5"
run prune finetune "$work/pruned.hdf5" --dataset digits --epochs 5 --distill "$work/base/best.hdf5" \
    --out "$work/finetuned"
run prune convert "$work/finetuned/best.hdf5" "$work/small.pth"
run prune inspect "$work/finetuned/best.hdf5" --filter 'stage3.block2.*'
run prune flops "$work/pruned.hdf5"
run prune evaluate "$work/base/best.hdf5" "$work/pruned.hdf5" "$work/finetuned/best.hdf5" --dataset digits --latency
