"""What is usual for this customer, payee, device; and the models that rank an event by it.

    event -> describe (what is known *before* it) -> score -> ... -> observe (now it is history)
    label -> hear (when it became known)                     -> learn

Everything here is plain Python: no engine, no storage, no clock. What a window, a null, a late
event mean is written down in ``docs/semantics.md``; what there is stands in ``catalogue.py``.
"""
