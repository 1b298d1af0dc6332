# SPDX-License-Identifier: Apache-2.0
"""The ``README.md`` of an exported adapter, in the format of the Hugging Face Hub.

It goes where the adapter goes, so it says nothing about the machine: no path, and no name of an organization.
"""

from fedpeft.model_card.card import CARD_FILE, make_card, write_card

__all__ = ["CARD_FILE", "make_card", "write_card"]
