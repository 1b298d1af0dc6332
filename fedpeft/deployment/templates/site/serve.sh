#!/bin/sh
# The resident site, as $site_user. SIGTERM lets the request in work end.
cd "$$(dirname "$$0")" || exit 1
export PATH="$bin:$$PATH"
umask 077
exec fedpeft site serve SITE.toml
