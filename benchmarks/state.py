"""How many bytes is an entity, after 10, 1,000 and 100,000 events within its windows?

    python -m benchmarks.state [--events 10 1000 100000] [--json]

The events are spread evenly over 30 days (what is declared: over 90), so that all of them are in
the longest window; a customer pays 50 payees, a device has 100 customers, a pair has 50 second
ones. The figures are of stored profiles, the same on each machine; ``docs/semantics.md`` has them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from features.catalogue import DESCRIBERS, catalogue
from features.describer import Describer
from features.moment import DAY, SECOND
from risk.events import Moment
from risk.labels import Known

START = 1_700_000_000 * SECOND
EVENTS = (10, 1_000, 100_000)

#: Of each kind of track one line; the key is one without a past of its own.
DECLARED = {
    "amounts": "count per card in 90d",
    "amounts of a pair": "count per card x payee in 90d",
    "names": "distinct payee per card in 90d",
    "names of a pair": "distinct device per card x payee in 90d",
    "a sequence of 4 steps": "sequence a then b then a then b per card in 90d as chain",
}
FILTERS = "filters: {a: amount <= 500, b: amount > 500}"


def sized(describer: Describer, count: int, days: int, labels: int = 0) -> int:
    """The stored bytes of an entity of this kind after so many events, and so many labels."""
    profile = describer.new()
    step = days * DAY // count
    for at in range(count):
        event = Moment(
            id=f"e{at}",
            type="transaction",
            time_us=START + at * step,
            customer=f"c{at % 100}",
            accepted_us=START + at * step,
            partition=0,
            position=at,
            amount_base=at % 1_000,
            payee=f"p{at % 50}",
            device=f"d{at % 7}",
            ip=f"i{at % 50}",
            card="k",
            country=("CN", "DE")[at % 10 == 0],
            lat=31.0,
            lon=121.0,
        )
        profile.observe(event, {})
    end = START + days * DAY
    about = ("chargeback", end, end, "c", "p", "d", "i", 0, 0, True)
    for at in range(labels):
        profile.hear(Known(f"l{at}", f"e{at}", True, *about, {}))
    return len(profile.dump())


def described(line: str) -> Describer:
    """The describer of one declared line."""
    text = f"version: 1\n{FILTERS}\nfeatures:\n  - {line}\n"
    return catalogue((text, "one line")).describers[-1]


def measured(events: Sequence[int]) -> dict[str, list[int]]:
    """Of each kind of entity, and of each kind of track, the stored bytes after so many events."""
    found = {one.key: [sized(one, count, 30) for count in events] for one in DESCRIBERS}
    for name, line in DECLARED.items():
        found[name] = [sized(described(line), count, 90) for count in events]
    labels = [sized(DESCRIBERS[1], 1, 1, min(count, 5_000)) for count in events]
    found["as many labels of a payee"] = labels
    return found


def main() -> None:
    """Measure, and print a table."""
    ask = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    ask.add_argument("--events", type=int, nargs="+", default=EVENTS)
    ask.add_argument("--json", action="store_true")
    given = ask.parse_args()
    found = measured(given.events)
    if given.json:
        print(json.dumps({"events": given.events, "bytes": found}))
        return
    print("| stored bytes after so many events |", *(f"{count:,} |" for count in given.events))
    print("| --- |", *("---: |" for _ in given.events))
    for name, sizes in found.items():
        print(f"| {name} |", *(f"{size:,} |" for size in sizes))


if __name__ == "__main__":
    main()
