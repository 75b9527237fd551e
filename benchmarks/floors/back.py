"""The other process of the latency floor: whatever comes in by one stream goes back by another."""

import sys
from typing import Any

import redis


def back(url: str) -> None:
    """Send back what comes, one pipeline for all that was read at once."""
    client, last = redis.Redis.from_url(url, protocol=2), b"0"
    while True:
        found: Any = client.xread({"floor:in": last}, block=500, count=200)
        for _, entries in found:
            pipe = client.pipeline(transaction=False)
            for _, fields in entries:
                pipe.xadd("floor:out", fields, maxlen=100_000)
            pipe.execute()
            last = entries[-1][0]


if __name__ == "__main__":
    back(sys.argv[1])
