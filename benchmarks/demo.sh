#!/usr/bin/env bash
# The life of a network, typed out: train, rank, prune, finetune, convert, and hold it against where it began.
set -euo pipefail
cd "$(dirname "$0")/.."
rm -rf runs/demo
mkdir -p runs/demo
cd runs/demo
export OMP_NUM_THREADS=1 # a second thread would wait longer than it works: these images are 16 pixels wide

step() { # title, command: a table of a line per layer is shown by its ends
    printf '\n# %s\n$ prune %s\n' "$1" "${*:2}"
    prune "${@:2}" | awk -v head=5 -v tail=4 '
        { line[NR] = $0 }
        END {
            hidden = NR - head - tail
            for (i = 1; i <= NR; i++)
                if (hidden < 12 || i <= head || i > NR - tail) print line[i]
                else if (i == head + 1) printf "... %d more lines\n", hidden
        }'
}

step 'A base network, trained on 1,437 handwritten digits' \
    train-base --arch resnet20 --dataset digits --epochs 10 --out base
step 'Which filters matter? HRank: those with feature maps of high rank' \
    rank base/final.hdf5 --criterion hrank --out scores.hdf5
step 'Remove the others, until 60 % of the operations are left' \
    prune base/final.hdf5 --scores scores.hdf5 --flops 0.6 --out pruned.hdf5
step 'Let the narrow network recover, with the base network as its teacher' \
    finetune pruned.hdf5 --epochs 8 --distill base/final.hdf5 --out tuned
step 'The same network for plain PyTorch' \
    convert tuned/final.hdf5 small.pth
step 'What it computes, layer by layer' \
    flops tuned/final.hdf5
step 'What changed in its last block' \
    inspect base/final.hdf5 --diff pruned.hdf5 --filter 'stage3.block2.*.weight'
step 'Before, pruned, finetuned: on 360 digits none of them has seen' \
    evaluate base/final.hdf5 pruned.hdf5 tuned/final.hdf5 --latency
printf '%s\n' "Done in $SECONDS s. All files are in runs/demo."
