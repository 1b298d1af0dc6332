# SPDX-License-Identifier: Apache-2.0
"""What ``fedpeft.privacy.accountant`` is made of; the home of ``dp_accounting`` and opacus' accountants."""
