#!/bin/sh
# Let an organization's node in: ./register.sh ITS.pub
key=$$(realpath "$$1") || exit 1
cd "$$(dirname "$$0")" || exit 1
. ./environment.sh
exec flwr supernode register "$$key" $name
