# SPDX-License-Identifier: Apache-2.0
"""A deployment of real processes on the loopback interface, for programs and tests that try one."""
