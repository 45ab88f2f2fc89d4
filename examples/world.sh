#!/usr/bin/env bash
# The paper's experiment on the built-in world: five methods, five seeds. Figures: docs/results.md.
#
#   examples/world.sh [SHIFT]      how much tastes differ between groups of territories; 0: not at all
set -euo pipefail
shift_size=${1:-0.5}
world=world-$shift_size

twotower simulate "$world" --shift "$shift_size"
twotower group "$world" --groups 4
twotower experiment "$world"
