#!/usr/bin/env bash
# The built-in world: three methods, three seeds, relative gains. The figures of docs/results.md.
#
#   examples/world.sh [SHIFT]      how far the tastes of the groups of territories differ; 0: not at all
set -euo pipefail
shift_size=${1:-0.5}
world=world-$shift_size

twotower simulate "$world" --shift "$shift_size"
twotower group "$world" --groups 4
twotower sample "$world" --active 0 --name random
twotower sample "$world" --name upsampled

for seed in 0 1 2; do
  run=(twotower train "$world" --seed "$seed")
  "${run[@]}" --sample random --run "runs/$world/baseline-$seed" --label baseline
  "${run[@]}" --sample upsampled --run "runs/$world/upsampled-$seed" --label upsampled
  "${run[@]}" --sample upsampled --mtl --groups 4 --run "runs/$world/mtl-$seed" --label mtl
done

twotower compare "runs/$world/mtl-*" "runs/$world/baseline-*" "runs/$world/upsampled-*" --min-positives 20
