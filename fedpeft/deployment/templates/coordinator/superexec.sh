#!/bin/sh
# What conducts runs, beside the SuperLink: on the same machine, as the same user. Runs until it is told to stop.
cd "$$(dirname "$$0")" || exit 1
. ./environment.sh
umask 077
exec flower-superexec --runtime-api-address $address --root-certificates certificates/ca.crt \
    --superexec-auth-secret-file superexec.secret
