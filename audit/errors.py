"""What can go wrong around a ledger, as a tree.

AuditError
├── LedgerRefused           the ledger won't start or go on; each says the remedy
│   ├── LedgerLocked            another writer owns it
│   ├── LedgerFormatUnknown     written by a newer version
│   ├── LedgerDamaged           its own head does not match its own records
│   ├── LedgerFailed            an earlier commit failed, memory and disk may differ
│   ├── RedisBehindLedger       Redis has lost what the ledger holds
│   └── LedgerBehindRedis       the ledger has lost what Redis knows to be durable
├── RecordRefused           a producer's record that can't be a leaf
├── EvidenceMalformed       a note, key, proof, policy or tile that can't be read
├── KeyMissing              a secret or a data key that is not, or no longer, there
├── NotInLedger             a case, record or log that was asked for and isn't there
├── WitnessRefused          a witness would not cosign
└── TimestampRefused        no time stamp was to be had, or none can be checked here
"""

from __future__ import annotations


class AuditError(Exception):
    """Any failure at the boundary of the evidence."""


class LedgerRefused(AuditError):
    """The ledger won't start or go on."""


class LedgerLocked(LedgerRefused):
    """A second writer was started on one ledger; two writers would fork the chain."""


class LedgerFormatUnknown(LedgerRefused):
    """The ledger was written in a format that this version does not know."""


class LedgerDamaged(LedgerRefused):
    """The stored head and the stored records disagree."""


class LedgerFailed(LedgerRefused):
    """A commit failed; what memory holds may be ahead of the disk."""


class RedisBehindLedger(LedgerRefused):
    """The stream in Redis ends before what the ledger has already committed from it."""


class LedgerBehindRedis(LedgerRefused):
    """Redis knows a durable mark that the ledger does not reach."""


class RecordRefused(AuditError):
    """A producer's record that can't become a leaf; `why` is kept on record."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class EvidenceMalformed(AuditError):
    """A note, key, proof, policy or tile that can't be read."""


class KeyMissing(AuditError):
    """A key that is not there; for a destroyed data key that is the wanted end."""


class NotInLedger(AuditError):
    """A case, record or log that was asked for and isn't there."""


class WitnessRefused(AuditError):
    """A witness would not cosign; `status` and `detail` are its answer."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(f"the witness refused with status {status}: {detail}")
        self.status = status
        self.detail = detail


class TimestampRefused(AuditError):
    """No time stamp was to be had, or the package to check one is missing."""
