#!/bin/sh
# The SuperNode, as $courier. It knows the socket and nothing else of the site.
cd "$$(dirname "$$0")" || exit 1
export FLWR_HOME="$$PWD/flower" HOME="$$PWD"
export FLWR_TELEMETRY_ENABLED=0 FLWR_DISABLE_UPDATE_CHECK=1 FLWR_SUPEREXEC_TASK_POLL_INTERVAL=0.1
export PATH="$bin:$$PATH"
umask 077
# What would keep this node out, in a line that says what to mend: Flower has a code for it, or no word at all.
fedpeft node check --superlink $address --certificate ca.crt --key keys/node --wait || exit 1
exec flower-supernode --superlink $address --root-certificates ca.crt \
    --auth-supernode-private-key keys/node --port $node_port --node-config 'site-socket="$socket"'
