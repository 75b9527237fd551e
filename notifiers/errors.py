"""What can go wrong between the bank and its customer?

::

    NotifierError
    +-- Fenced         another notifier leads; this one writes and sends nothing more
    +-- LeaseLost      the lock could not be kept; stand by again
    +-- NotReady       a channel was asked to send while it had no session
    +-- BadLadder      a file of ladders that can't be used: where, what was needed, what was got
    +-- BadSettings    a channel's settings that can't be used
    +-- NotSealed      a content that can't be sealed to a device, or does not open there
    +-- BadTemplate    a text that may not be sent; the message says which rule it breaks
    +-- OutboxRefused  an outbox that this version can't read, or that another one holds
    +-- ProsodyFailed  the chat server did not start; its own last words are in the message
"""


class NotifierError(Exception):
    """The root of this package's errors."""


class Fenced(NotifierError):
    """Another notifier holds a newer fencing number: nothing was written, nothing goes out."""


class LeaseLost(NotifierError):
    """The leader's lock ran out or was taken over."""


class NotReady(NotifierError):
    """The channel has no session: the row stays claimed and goes again after a reconnect."""


class BadLadder(NotifierError):
    """A file of ladders that can't be used."""


class BadSettings(NotifierError):
    """Settings of a channel that can't be used, or of one that nobody knows."""


class NotSealed(NotifierError):
    """A content that can't be sealed to a device's key, or doesn't open with it."""


class BadTemplate(NotifierError):
    """A template that must not be sent."""


class OutboxRefused(NotifierError):
    """The outbox has a format that this version does not know."""


class ProsodyFailed(NotifierError):
    """Prosody ended, or did not listen in time."""
