#!/usr/bin/env bash
# The built-in world: the paper's experiment: five methods, five seeds. The figures of docs/results.md.
#
#   examples/world.sh [SHIFT]      how far the tastes of the groups of territories differ; 0: not at all
set -euo pipefail
shift_size=${1:-0.5}
world=world-$shift_size

twotower simulate "$world" --shift "$shift_size"
twotower group "$world" --groups 4
twotower experiment "$world"
