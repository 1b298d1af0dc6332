#!/bin/sh
# Go on with an interrupted run: ./resume.sh runs/NAME. What the sites have paid for is not paid again.
out=$$(realpath "$$1") || exit 1
cd "$$(dirname "$$0")" || exit 1
. ./environment.sh
exec flwr run "$${APP:-app}" $name --stream -c "run=\"$$PWD/run.toml\" out=\"$$out\" resume=true"
