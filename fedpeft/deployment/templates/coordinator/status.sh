#!/bin/sh
# Runs and nodes, as the SuperLink sees them.
cd "$$(dirname "$$0")" || exit 1
. ./environment.sh
flwr ls $name
flwr supernode list $name
