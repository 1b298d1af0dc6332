# SPDX-License-Identifier: Apache-2.0
"""``python -m fedpeft`` is ``fedpeft``."""

import sys

from fedpeft.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
