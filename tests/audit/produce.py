"""A producer for the kill test: puts stories on rb:audit as fast as Redis acknowledges them.

Prints the number of stories acknowledged when it ends. Run as a program: produce.py URL COUNT.
"""

from __future__ import annotations

import sys

import orjson
import redis

from tests.audit.records import story


def main() -> None:
    client = redis.Redis.from_url(sys.argv[1])
    for n in range(int(sys.argv[2])):
        records = story(f"e{n}", personal=n % 10 == 0)
        bundle, rest = records[:5], records[5:]
        client.xadd("rb:audit", {"records": orjson.dumps(bundle)})
        client.xadd("rb:audit", {"records": orjson.dumps(rest)})
        if n % 7 == 0:
            client.xadd("rb:audit", {"records": orjson.dumps(bundle)})
    sys.stdout.write(f"{n + 1}\n")


if __name__ == "__main__":
    main()
