#!/usr/bin/env bash
# The paper's experiment on Online Retail II by day: five methods, five seeds. Figures: docs/results.md.
#
#   examples/online_retail.sh DATA      DATA contains online_retail/events.csv.gz and items.csv.gz
#
# A label is a customer's first purchase of an item; the last 60 trading days are the test, the 240 before them training,
# everything earlier history. 30 % of the customers are the test users.
set -euo pipefail
data=${1:-${TWOTOWER_DATA:?give the directory of the data}}/online_retail

twotower import retail --events "$data/events.csv.gz" --title item --territory country --time date \
  --titles "$data/items.csv.gz" --keep-titles '^\d{5}' --train-days 240 --test-days 60
twotower embed retail --user-dims 192 --text-dims 256
twotower group retail --groups 4
twotower experiment retail --hidden 128 --batch-size 2048 --epochs 4 --patience 1
