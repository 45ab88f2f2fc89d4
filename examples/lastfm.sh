#!/usr/bin/env bash
# The paper's experiment on Last.fm listeners by country: five methods, five seeds. Figures: docs/results.md.
#
#   examples/lastfm.sh DATA      DATA contains lastfm_countries/lastfm.csv.gz and artist_tags.csv.gz
#
# Half of each listener's artists are history, the other half labels; 30 % of the listeners are the test.
set -euo pipefail
data=${1:-${TWOTOWER_DATA:?give the directory of the data}}/lastfm_countries

twotower import lastfm --events "$data/lastfm.csv.gz" --title artist --territory country --user-info sex \
  --titles "$data/artist_tags.csv.gz" --join-titles --title-weight n --unknown-ids keep
twotower embed lastfm --user-dims 192 --text-dims 256
twotower group lastfm --groups 4
twotower experiment lastfm --hidden 128 --batch-size 2048 --epochs 4 --patience 1
