"""JUDGE: the vocabulary of a payment's way, and what is decided about it.

Everything here is pure: it takes facts and times, and returns facts. No clock, no network,
no storage, no randomness. In the order in which they come about::

    events -> (features) -> rules, policy -> decision -> challenge -> answers -> outcome -> labels
"""
