# Flower's own folder, and nothing that is reported, looked up or installed at run time.
export FLWR_HOME="$$PWD/flower"
export FLWR_TELEMETRY_ENABLED=0 FLWR_DISABLE_UPDATE_CHECK=1 RAY_USAGE_STATS_ENABLED=0
export FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION=1
# How often superexec.sh looks whether a run begins. Every look costs the SuperLink; a round has none of them.
export FLWR_SUPEREXEC_TASK_POLL_INTERVAL=1
# Where signed bundles would come from: nobody but `fedpeft bundle serve` on this machine.
export FLWR_SUPERGRID_API_URL="http://127.0.0.1:$hub_port"
export PATH="$bin:$$PATH"
