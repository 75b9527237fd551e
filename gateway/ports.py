"""What is handed to the gateway? Its settings as plain values, and what it needs of others."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

from risk.failing import FailDecision, FailLimits, Spent
from risk.money import Rates

ROLES = ("ingest", "bank", "officer")


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where outcomes are sent, and the secret that signs them (Standard Webhooks)."""

    url: str
    secret: bytes = field(repr=False)
    allow: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """Values that hold as long as the process runs; secrets never show in a repr.

    ``edge_key`` seals what walks on (payee, memo, addresses), ``transport_key`` what goes to the
    ledger's writer, ``web_key`` makes the tokens of challenge pages; 32 bytes each. ``bearers``
    maps a role (`ROLES`) to its token. ``page`` opens the read-only live page to whoever reaches
    the port; ``demo`` adds the page of the customer that is "you". ``push_key`` is the public key
    of pushes, ``push_allow`` the ``host:port`` of push services inside the network; ``replies_key``
    checks what the bank's own gateway for short messages passes on (empty: not set up).
    """

    redis_url: str
    data: Path
    token_root: bytes = field(repr=False)
    edge_key: bytes = field(repr=False)
    transport_key: bytes = field(repr=False)
    web_key: bytes = field(repr=False)
    bearers: Mapping[str, str] = field(repr=False)
    fail_limits: FailLimits
    rates: Rates
    host: str = "127.0.0.1"
    port: int = 0
    tenant: str = "main"
    institution: str = "Example Bank"
    public_url: str | None = None
    wait: timedelta = timedelta(seconds=1)
    longest_wait: timedelta = timedelta(seconds=30)
    idempotency: timedelta = timedelta(days=7)
    label_memory: timedelta = timedelta(days=180)
    binding_wait: timedelta = timedelta(hours=24)
    batch_bytes: int = 16 * 1024 * 1024
    batch_lines: int = 10_000
    policy_sha256: str = ""
    page: bool = False
    demo: bool = False
    inbox: bool = True
    webhook: Webhook | None = None
    push_key: str = ""
    push_allow: frozenset[str] = frozenset()
    replies_key: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        """Refuse keys that are too short and roles that don't exist."""
        for name in ("edge_key", "transport_key", "web_key"):
            if len(getattr(self, name)) != 32:
                raise ValueError(f"gateway settings: {name}: needed 32 bytes")
        for role, bearer in self.bearers.items():
            if role not in ROLES or len(bearer) < 16:
                raise ValueError(
                    f"gateway settings: bearers.{role}: needed a role of {ROLES} and a token of"
                    " at least 16 characters"
                )


class FailPolicy(Protocol):
    """A pure decision in place of the flow's, when time has run out."""

    def __call__(
        self, amount_base: int | None, spent: Spent, limits: FailLimits, /
    ) -> FailDecision: ...


#: The fail policy's limits that count now, and the hash of the set that they are of.
Counts = Callable[[], tuple[FailLimits, str]]


class Ledger(Protocol):
    """What the gateway reads of the evidence; calls may block and are made in a thread."""

    def head(self) -> Mapping[str, Any] | None:
        """The newest signed head: ``{origin, size, root, ts, verified, witnesses}``.

        ``verified`` is the latest review's ``{at, status, size, problem?}``; None before the first.
        """

    def event_records(self, event: str) -> Sequence[Mapping[str, Any]]:
        """The records of one event in order: leaf fields and ``origin``, ``index``, ``leaf``."""

    def proof(self, origin: str, index: int) -> str | None:
        """A C2SP `.tlog-proof` of one record, or None where there is none yet."""

    def leaf_and_proof(self, origin: str, index: int) -> tuple[bytes, str] | None:
        """The stored bytes of one record and its proof."""

    def receipt(self, event: str) -> Mapping[str, Any] | None:
        """Where an event's decision lies, ``{origin, index}``; None until it is durable."""


class Locate(Protocol):
    """Where an IP address is, as ``{country, lat?, lon?}``; None where nobody knows."""

    def __call__(self, ip: str, /) -> Mapping[str, Any] | None: ...


@dataclass(frozen=True, slots=True)
class GatewayPorts:
    """What others lend the gateway.

    ``counts`` gives the fail policy's limits that count now; without it the settings' do.

    ``decide_script`` is the Lua text that writes a decision, the first one wins. ``clock`` gives
    microseconds since 1970. ``words`` says a decision's factor for a person. ``ledger``, ``locate``
    and ``words`` may be missing.
    """

    decide_script: str
    fail_policy: FailPolicy
    clock: Callable[[], int]
    ledger: Ledger | None = None
    counts: Counts | None = None
    locate: Locate | None = None
    words: Callable[[Mapping[str, Any]], str] | None = None
