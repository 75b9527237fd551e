"""Which names do the parts meet under? Streams and keys of Redis; every name is a promise."""

META = "rb:meta"
GENERATION = "rb:gen"
INBOX = "rb:inbox"
DECISIONS = "rb:decisions"
CHALLENGES = "rb:challenges"
ANSWERS = "rb:answers"
LABELS = "rb:labels"
AUDIT = "rb:audit"
AUDIT_DURABLE = "rb:audit:durable"
AUDIT_MARKS = "rb:audit:marks"
DEAD = "rb:dead"
LATE_EVENTS = "rb:late-events"
ALERTS = "rb:alerts"
TELLINGS = "rb:tellings"
OPEN = "rb:open"
WAITING_LABELS = "rb:labels:waiting"
COUNTERS = "rb:counters"
CATALOGUE = "rb:catalogue"
FLOW_BEAT = "rb:beat:flow"
MODELS = "rb:models"
MODEL_BOARD = "rb:models:board"
MODELS_BESIDE = "rb:models:beside"
MODEL_PROPOSALS = "rb:models:proposals"
HEARD = "rb:heard"
JUDGEMENT = "rb:judgement"
CHANGES = "rb:judgement:changes"
LISTS = "rb:lists"

TIERS = ("customer", "payee")


def events(partition: int) -> str:
    """The stream of accepted events of one partition."""
    return f"rb:events:{partition}"


def accepted(event: str) -> str:
    """The key that makes acceptance idempotent: the keyed hash of the canonical body."""
    return f"rb:id:{event}"


def decision(event: str) -> str:
    """The key of the first written decision."""
    return f"rb:decision:{event}"


def features(event: str) -> str:
    """The key of the features as scored."""
    return f"rb:features:{event}"


def late(event: str) -> str:
    """The key of the flow's decision where the fail policy's was written first."""
    return f"rb:late:{event}"


def outcome(event: str) -> str:
    """The key of the outcome of a challenged event."""
    return f"rb:outcome:{event}"


def fetched(event: str) -> str:
    """The key that says that the outcome of an event was handed out to its caller."""
    return f"rb:fetched:{event}"


def leaf(event: str) -> str:
    """The key of the leaf hash (hex) of an event's outcome, for an hour; the ledger tells it."""
    return f"rb:leaf:{event}"


def challenge(challenge_id: str) -> str:
    """The key of a challenge as it was asked."""
    return f"rb:challenge:{challenge_id}"


def customer(token: str) -> str:
    """The key of a customer's language, zone and channels."""
    return f"rb:customer:{token}"


def jid(token: str) -> str:
    """The key that names the customer bound to a chat address."""
    return f"rb:jid:{token}"


def credential(ident: str) -> str:
    """The key of a passkey or device key: hash of ``data`` (JSON) and ``count``."""
    return f"rb:credential:{ident}"


def credentials(token: str) -> str:
    """The set of a customer's passkeys and device keys."""
    return f"rb:credentials:{token}"


def signed(mark: str) -> str:
    """The key that says that a signature was used."""
    return f"rb:signed:{mark}"


def duress(token: str) -> str:
    """The key of a customer's duress word, as a keyed hash."""
    return f"rb:duress:{token}"


def heard(channel: str) -> str:
    """Where replies of a channel are published: under a seal, and kept by nobody."""
    return f"{HEARD}:{channel}"


def heard_done(reply_id: str) -> str:
    """The key that says that a reply was taken, and what is said to it."""
    return f"{HEARD}:done:{reply_id}"


def notice(challenge_id: str, channel: str) -> str:
    """The key of what a customer was last told, by one channel, of an open question."""
    return f"rb:notice:{challenge_id}:{channel}"


def reply(gateway: str) -> str:
    """The reply stream of one gateway."""
    return f"rb:reply:{gateway}"


def case(event: str) -> str:
    """The case that an event's records belong to."""
    return f"case-{event}"


def lesson(taught: str) -> str:
    """The rid of a lesson's record, by what the model had been taught with it."""
    return f"learn/{taught}"


def scored(event: str, record: str, *, late: bool = False) -> str:
    """The rid of a record that an event's scoring makes; ``late``: after the fail policy's word."""
    return f"event/{event}/{record}{'/late' if late else ''}"
