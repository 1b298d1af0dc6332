#!/bin/sh
# The SuperLink: TLS, and only nodes that were registered. Runs until it is told to stop. It is apart from what
# conducts the run (superexec.sh), so that a run goes on when one of the two died and is started again.
cd "$$(dirname "$$0")" || exit 1
. ./environment.sh
umask 077
exec flower-superlink --host 0.0.0.0 --port $port --database state.db \
    --isolation process --superexec-auth-secret-file superexec.secret \
    --ssl-ca-certfile certificates/ca.crt --ssl-certfile certificates/server.pem \
    --ssl-keyfile certificates/server.key --enable-supernode-auth --disable-runtime-dependency-installation
