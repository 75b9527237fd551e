"""What can go wrong on the way?

::

    FlowError
    +-- StateError
    |   +-- Fenced        a newer flow was started: this one must end
    |   +-- Behind        the store lost what the cut had: start with --recover-from-ledger
    |   +-- UndoGone      the store is too far ahead of the cut to be put back
    |   +-- WrongVersion  two flows wrote the same shard
    +-- BadSettings       a configuration that can't be used
    +-- Unregistered      a model without a card, or with another recipe than its card's
    +-- NotReady          a part did not come up in time
    +-- HouseTaken        another `ringback run` has the data directory
"""


class FlowError(Exception):
    """Anything of the flow's own that went wrong."""


class StateError(FlowError):
    """The state store and the cut do not fit together."""


class Fenced(StateError):
    """A newer generation of the flow was started; this process must write no more."""


class Behind(StateError):
    """A shard in the store is older than the cut: the store lost acknowledged writes."""


class UndoGone(StateError):
    """A shard in the store is ahead of the cut and its undo log no longer reaches back."""


class WrongVersion(StateError):
    """A shard moved on without us: two flows write to one store."""


class BadSettings(FlowError):
    """A setting that can't be used: where it stands, what was needed, what was got."""


class Unregistered(FlowError):
    """A model without a card, or one whose recipe is not its card's: it is not loaded."""


class NotReady(FlowError):
    """A part that did not come up in the time it had."""


class HouseTaken(FlowError):
    """Another `ringback run` has the data directory: its process, and what to do."""
