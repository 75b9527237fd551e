"""Who may speak? One notifier at a time, and each term of leadership has a higher number.

The lock lies in Redis and runs out by itself. A term is over for its holder as soon as its *own*
monotonic clock says that the lock could have run out, whatever Redis says: a process that was
stopped for ten seconds and goes on finds its term over before it writes a byte. The term's number
(the fencing number) goes into every claim of the outbox, where an older one is refused.
"""

import asyncio
import os
import socket
import time
from dataclasses import dataclass

import psutil
from redis.asyncio import Redis
from redis.exceptions import RedisError

from notifiers.errors import LeaseLost

LOCK = "rb:leader:notifier"
FENCE = "rb:leader:notifier:fence"
LASTS = 2.2
RENEWED_EVERY = 0.4
SAFETY = 0.4
_MILLISECONDS = str(int(LASTS * 1000))

_TAKE = """
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
local fence = redis.call('INCR', KEYS[2])
if fence <= tonumber(ARGV[3]) then
  fence = tonumber(ARGV[3]) + 1
  redis.call('SET', KEYS[2], fence)
end
redis.call('SET', KEYS[1], fence .. ':' .. ARGV[1], 'PX', ARGV[2])
return fence
"""
_RENEW = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
_LEAVE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
"""


@dataclass(slots=True)
class Lease:
    """One term: its number, who holds it, and until when by the holder's own clock."""

    redis: "Redis"
    holder: str
    fence: int
    until: float

    @property
    def value(self) -> str:
        return f"{self.fence}:{self.holder}"

    def holds(self) -> bool:
        """Say whether this process may still write: asked right before each write."""
        return time.monotonic() < self.until

    async def keep(self) -> None:
        """Renew until it can't be; then raise `LeaseLost`."""
        while True:
            if not self.holds():
                raise LeaseLost(f"leader's lock: term {self.fence} ran out before it was renewed")
            began = time.monotonic()
            try:
                async with asyncio.timeout(LASTS):
                    kept = await self.redis.eval(
                        _RENEW, 1, LOCK, self.value, str(int(LASTS * 1000))
                    )
            except (RedisError, OSError, TimeoutError):
                await asyncio.sleep(0.1)
                continue
            if not kept:
                raise LeaseLost(f"leader's lock: term {self.fence} was taken over")
            self.until = began + LASTS - SAFETY
            await asyncio.sleep(RENEWED_EVERY)

    async def leave(self) -> None:
        """Give the lock back, so that a standby need not wait."""
        self.until = 0.0
        try:
            async with asyncio.timeout(1.0):
                await self.redis.eval(_LEAVE, 1, LOCK, self.value)
        except (RedisError, OSError, TimeoutError):
            return


def this_process() -> str:
    """Name this process so that no later one can be taken for it: host, pid, time of its start."""
    started = psutil.Process().create_time()
    return f"{socket.gethostname()}/{os.getpid()}/{started:.2f}"


def end_frozen(holder: str, own: str) -> bool:
    """End a former leader of this machine that holds a lock beyond its term; False if it isn't.

    Its term is over, so that it may do nothing any more; but a process that froze inside a
    transaction keeps the file locked, and only its end frees it.
    """
    host, _, rest = holder.partition("/")
    pid, _, started = rest.partition("/")
    if (
        holder == own
        or host != socket.gethostname()
        or not pid.isdigit()
        or int(pid) == os.getpid()
    ):
        return False
    try:
        process = psutil.Process(int(pid))
        if f"{process.create_time():.2f}" != started:
            return False
        process.kill()
        for _ in range(100):  # its locks go with it, whether or not its parent has noticed
            if process.status() == psutil.STATUS_ZOMBIE:
                return True
            time.sleep(0.01)
    except psutil.NoSuchProcess:
        return True
    except psutil.AccessDenied:
        return False
    return True


async def take(redis: "Redis", holder: str, above: int = 0) -> Lease | None:
    """Try once to become the leader, with a number above the highest one the outbox has seen."""
    began = time.monotonic()
    fence = await redis.eval(_TAKE, 2, LOCK, FENCE, holder, _MILLISECONDS, above)
    if not fence:
        return None
    return Lease(redis, holder, int(fence), began + LASTS - SAFETY)
