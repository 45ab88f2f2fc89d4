#!/usr/bin/env bash
# Last.fm listeners by country: three methods, three seeds, relative gains. The figures of docs/results.md.
#
#   examples/lastfm.sh DATA      DATA holds lastfm_countries/lastfm.csv.gz and artist_tags.csv.gz
#
# Half of each listener's artists are the profile, the other half labels; 30 % of the listeners are held out.
set -euo pipefail
data=${1:-${TWOTOWER_DATA:?give the directory of the data}}/lastfm_countries
settings=(--hidden 128 --batch-size 2048 --epochs 4 --patience 1)

twotower import lastfm --events "$data/lastfm.csv.gz" --title artist --territory country --user-info sex \
  --titles "$data/artist_tags.csv.gz" --join-titles --title-weight n --unlisted keep
twotower embed lastfm --user-dims 192 --text-dims 256
twotower group lastfm --groups 4
twotower sample lastfm --random 30% --active 0 --test-users 30% --alpha 8 --name random
twotower sample lastfm --random 30% --active 0.5 --test-users 30% --alpha 8 --name upsampled

for seed in 0 1 2; do
  run=(twotower train lastfm --seed "$seed" "${settings[@]}")
  "${run[@]}" --sample random --run "runs/lastfm/baseline-$seed" --label baseline
  "${run[@]}" --sample upsampled --run "runs/lastfm/upsampled-$seed" --label upsampled
  "${run[@]}" --sample upsampled --mtl --groups 4 --run "runs/lastfm/mtl-$seed" --label mtl
done

twotower compare 'runs/lastfm/mtl-*' 'runs/lastfm/baseline-*' 'runs/lastfm/upsampled-*' --top 30
