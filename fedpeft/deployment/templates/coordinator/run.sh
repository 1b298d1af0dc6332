#!/bin/sh
# Start the run of run.toml; its files go to runs/NAME, or where the first argument says. With
# APP=@fedpeft/fedpeft in front, from the signed bundle that `fedpeft bundle serve` gives.
out=$$(realpath -m "$${1:-$$(dirname "$$0")/runs/$name}") || exit 1
cd "$$(dirname "$$0")" || exit 1
. ./environment.sh
fedpeft config check run.toml || exit 2
exec flwr run "$${APP:-app}" $name --stream -c "run=\"$$PWD/run.toml\" out=\"$$out\""
