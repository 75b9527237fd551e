"""Who stands on which of the bank's lists, until when, and what follows from it at once?

A list has entries of a kind of key (customer, payee, card, device, ip, country …). Any name will do
for rules to ask for (``event.payee in list.mules``). A few names act by themselves, in this order:

1. ``final``            declines, whatever else is said; nothing overrides it
2. ``force.<outcome>``  gives that outcome (needs a right of its own)
3. ``block``            declines
4. ``allow``            nothing of rules and score counts against it
5. ``suppress.<rule>``  that rule's hit does not count
6. ``watch``            marks the decision, and changes nothing

``allow``, ``suppress`` and a forced ``approve`` take keys that the bank itself vouches for: never a
device, an address or a country, which anybody can claim.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from risk.events import Moment
from risk.rules import KEYS, OUTCOMES

FINAL, BLOCK, ALLOW, WATCH = "final", "block", "allow", "watch"
FORCE, SUPPRESS = "force.", "suppress."
#: Keys that the bank vouches for: these alone may lower a risk.
VOUCHED = ("customer", "payee", "card", "terminal")
KINDS = tuple(dict.fromkeys(KEYS.values()))


class BadList(ValueError):
    """A change of a list that can't be made: what was needed, what was got."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Why something stands on a list, and until when (microseconds; None: for good)."""

    reason: str
    by: str
    until_us: int | None = None


class Named(NamedTuple):
    """An entry that an event met: the list, the kind of key, the value."""

    list: str
    kind: str
    value: str
    entry: Entry


@dataclass(frozen=True)
class Lists:
    """All lists as of one version; a change gives another `Lists` and leaves this one."""

    version: str = ""
    entries: Mapping[str, Mapping[tuple[str, str], Entry]] = field(default_factory=dict)

    def on_list(self, name: str, kind: str, value: str, at_us: int) -> bool:
        """Whether a value stands on a list at a time."""
        return self.find(name, kind, value, at_us) is not None

    def find(self, name: str, kind: str, value: str, at_us: int) -> Entry | None:
        """The entry of a value, unless it has run out."""
        held = self.entries.get(name)
        entry = None if held is None else held.get((kind, value))
        if entry is None or (entry.until_us is not None and at_us >= entry.until_us):
            return None
        return entry

    def changed(self, changes: Iterable[tuple[str, Mapping[str, Any]]]) -> "Lists":
        """The lists after changes, each with the version that it makes."""
        version, entries = self.version, dict(self.entries)
        copied: set[str] = set()
        for version, change in changes:  # noqa: B007  the last one is the new version
            name = str(change["list"])
            if name not in copied:
                entries[name] = dict(entries.get(name, {}))
                copied.add(name)
            held: Any = entries[name]
            key = (str(change["kind"]), str(change["value"]))
            if change["op"] == "remove":
                held.pop(key, None)
            else:
                held[key] = Entry(str(change["reason"]), str(change["by"]), change.get("until_us"))
            if not held:
                del entries[name]
                copied.discard(name)
        return Lists(version, entries)

    def met(self, moment: Moment) -> list[Named]:
        """Every entry of the lists that act by themselves, of this event, in their order."""
        acting = [name for name in self.entries if rank(name) is not None]
        if not acting:
            return []
        found: list[Named] = []
        keys = _keys(moment)
        for name in sorted(acting, key=lambda one: (rank(one), one)):
            for kind, value in keys:
                entry = self.find(name, kind, value, moment.time_us)
                if entry is not None:
                    found.append(Named(name, kind, value, entry))
        return found


NO_LISTS = Lists()


def rank(name: str) -> int | None:
    """The place of a list among those that act by themselves; None for any other."""
    order = (FINAL, FORCE, BLOCK, ALLOW, SUPPRESS, WATCH)
    for place, one in enumerate(order):
        if name == one or (one.endswith(".") and name.startswith(one)):
            return place
    return None


def _keys(moment: Moment) -> list[tuple[str, str]]:
    said = {
        "customer": moment.customer,
        "payee": moment.payee,
        "card": moment.card,
        "terminal": moment.terminal,
        "device": moment.device,
        "ip": moment.ip,
        "country": moment.country,
        "channel": moment.channel,
        "currency": moment.currency,
    }
    keys = [(kind, value) for kind, value in said.items() if value is not None]
    if moment.payee_country is not None and moment.payee_country != moment.country:
        keys.append(("country", moment.payee_country))
    return keys


def checked_change(change: Mapping[str, Any], rules: Iterable[str]) -> dict[str, Any]:
    """A change as it may be written, or `BadList`.

    ``{op: add|remove, list, kind, value, reason, by, until_us?}``; ``rules`` are the known ids.
    """
    name, kind = str(change.get("list", "")), str(change.get("kind", ""))
    if change.get("op") not in ("add", "remove"):
        raise BadList(f"list {name}: needed add or remove, got {change.get('op')!r}")
    plain = name.replace("_", "a").replace(".", "a")
    if not plain.isalnum() or not plain.isascii() or len(name) > 64:
        raise BadList(f"list: needed a name of letters, digits and _, at most 64, got {name!r}")
    if "." in name and rank(name) is None:
        raise BadList(f"list {name}: needed force.<outcome> or suppress.<rule> before a dot")
    if kind not in KINDS:
        raise BadList(f"list {name}: needed a key of {', '.join(KINDS)}, got {kind!r}")
    if name.startswith(FORCE) and name.removeprefix(FORCE) not in OUTCOMES:
        raise BadList(f"list {name}: needed an outcome of {', '.join(OUTCOMES)} after force.")
    if name.startswith(SUPPRESS) and name.removeprefix(SUPPRESS) not in set(rules):
        raise BadList(f"list {name}: needed a known rule after suppress.")
    milder = name == ALLOW or name.startswith(SUPPRESS) or name == f"{FORCE}approve"
    if milder and kind not in VOUCHED:
        raise BadList(
            f"list {name}: needed a key that the bank vouches for ({', '.join(VOUCHED)}), got "
            f"{kind}: what anybody can claim never lowers a risk"
        )
    for field_name in ("value", "reason", "by"):
        text = change.get(field_name)
        if not isinstance(text, str) or not text.strip() or len(text) > 512:
            raise BadList(f"list {name}: needed a text in {field_name!r}, got {text!r}")
    until = change.get("until_us")
    if until is not None and (isinstance(until, bool) or not isinstance(until, int)):
        raise BadList(f"list {name}: needed microseconds in 'until_us', got {until!r}")
    if until is None and change["op"] == "add" and (milder or name.startswith(FORCE)):
        raise BadList(
            f"list {name}: needed an end: what overrides judgement does not last for good"
        )
    written = ("op", "list", "kind", "value", "reason", "by", "until_us")
    return {key: change[key] for key in written if change.get(key) is not None}
