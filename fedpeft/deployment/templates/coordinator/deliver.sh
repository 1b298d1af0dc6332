#!/bin/sh
# Bring adapter and result to the sites that were not there at the end: ./deliver.sh runs/NAME.
out=$$(realpath "$$1") || exit 1
cd "$$(dirname "$$0")" || exit 1
. ./environment.sh
exec flwr run "$${APP:-app}" $name --stream -c "run=\"$$PWD/run.toml\" out=\"$$out\" deliver=true"
