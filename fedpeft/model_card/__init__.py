# SPDX-License-Identifier: Apache-2.0
"""The ``README.md`` of an exported adapter, in the format of the Hugging Face Hub.

It goes where the adapter goes, so it says nothing about the machine: no path, and no name of an organization.
A run writes one in the coordinator's words; an organization that is delivered an adapter, in its own.
"""

from fedpeft.model_card.card import CARD_FILE, make_card, write_card
from fedpeft.model_card.delivered import make_delivered_card

__all__ = ["CARD_FILE", "make_card", "make_delivered_card", "write_card"]
