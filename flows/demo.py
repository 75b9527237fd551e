"""What does `ringback run --demo` play? A small bank, customers who answer, and you.

::

    simulate.World --times mapped to now--> POST /v1/events --challenge--> somebody is asked
       of the world:  the page's two buttons, honestly or robbed by the simulator's own truth
       of the cast:   a real chat client each: one confirms, one denies, one stays silent, ...
       you:           your chat client or your page; open for two minutes

The player is a process of its own beside the parts and acts by the same doors as a bank: HTTP and
chat. It ends with the supervisor, and plays for `PLAYS_FOR` at most.
"""

import argparse
import asyncio
import base64
import contextlib
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import aiohttp
import yaml
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from config.settings import HERE, read_yaml
from flows.parts import House, open_house
from flows.simulate import Customer, Happening, World
from flows.supervise import spawn
from notifiers.client import CustomerClient
from notifiers.sealed import public_of
from risk import names
from risk.privacy import Tokens, field_key, web_token

if TYPE_CHECKING:
    from flows.run import Running

log = logging.getLogger("ringback.demo")

YOU = "you"
PLAYS_FOR = timedelta(hours=12)
EVENTS_A_SECOND = 2.5
_POPULATION = 6_000
_DAYS = 28
_FRAUD, _NOISE = 6.0, 4.0  # more happens than in a real bank, or nobody would watch
_FIRST_CAST_S, _NEXT_CAST_S = 3.0, 22.0
_FIRST_YOU_S, _NEXT_YOU_S = 12.0, 75.0
_ANSWER_WITHIN_S = 120.0
_SETTLED_SHARE = 0.12  # of honest payments, those that the bank reports as settled
_STORIES_AT_ONCE = 64
_COMMENT = "# The demo's: as config/policy.yaml, but one customer may be asked again and again.\n"


@dataclass(frozen=True)
class Member:
    """A customer of the cast: how they answer, in which words, and after how many seconds.

    Who has the bank's own ``app`` reads what is sealed to it, and presses a button there.
    """

    name: str
    language: str
    says: str
    thinks: float
    app: bool = False


CAST = (
    Member("anna", "en", "YES {code}", 5.0),
    Member("boris", "en", "NO {code} this was not me", 6.0),
    Member("chen", "zh-CN", "是 {code}", 4.0),
    Member("dora", "en", "", 0.0),
    Member("emil", "en", "yes {code}", 8.0, app=True),
    Member("fatima", "en", "no {code}", 5.0),
)
_WITH_APP = frozenset(member.name for member in CAST if member.app)
_SHOPPING = (
    ("ACME Trading", "ACME-0042", "9800.00"),
    ("Lotus Furniture", "LOTUS-7731", "12650.00"),
    ("Harbour Cycles", "HARBOUR-118", "6420.50"),
    ("Jade Travel", "JADE-5520", "18300.00"),
    ("Old Mill Roofing", "MILL-9004", "27500.00"),
)


def prepare(house: House) -> None:
    """Before the start: give the data directory a policy that can ask one person all day."""
    file = house.data / "policy.yaml"
    if file.exists():
        return
    policy = read_yaml(HERE / "policy.yaml")
    policy["asking"] |= {"per_customer_24h": 500, "unsigned_confirm_limit_24h": "9000000.00"}
    file.write_text(_COMMENT + yaml.safe_dump(policy, sort_keys=False), encoding="utf-8")


def device_key(house: House, user: str) -> X25519PrivateKey:
    """The key of somebody's own client: the same at every start."""
    made = field_key(house.secrets.token_root, house.settings.tenant, f"demo/device/{user}")
    return X25519PrivateKey.from_private_bytes(made)


def play(running: "Running", say: Callable[[str], None]) -> None:
    """Start the player beside the parts, and tell where to look and how to answer."""
    house = running.house
    told = house.run
    you = Tokens(house.secrets.token_root, house.settings.tenant).token("customer", YOU)
    running.connect().hset(names.META, "demo_customer", you)  # whose questions /you shows
    line = [sys.executable, "-m", "flows.demo", "--data", str(house.data)]
    line += ["--parent", str(os.getpid())]
    running.supervisor.add("demo", lambda: spawn(line, house.data / "log" / "demo.log"))
    say("")
    say(f"  Watch:      {told['page']}/")
    say(f"  Your page:  {told['page']}/you")
    xmpp = told.get("xmpp")
    if xmpp:
        say(f"  Your chat:  {YOU}@{xmpp['domain']}, password {password(house, YOU)}")
        say(f"              server 127.0.0.1, port {xmpp['client_port']}, without TLS")
    say("")
    say("  In a few seconds a payment of yours is held, and you are asked. You have two minutes;")
    say("  silence is never taken as a yes. Ctrl-C ends everything.")


def password(house: House, user: str) -> str:
    """The chat password of one of the demo's people: the same at every start."""
    key = field_key(house.secrets.token_root, house.settings.tenant, f"demo/{user}")
    return base64.b32encode(key)[:16].decode().lower()


class Doors:
    """The bank's and the customers' side of HTTP."""

    def __init__(self, house: House, http: aiohttp.ClientSession) -> None:
        self._house, self._http = house, http
        self._origin = house.run["http"]

    def _as(self, role: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._house.secrets.bearers[role]}"}

    async def introduce(
        self, customer: str, language: str, zone: str, channels: list[dict[str, Any]]
    ) -> None:
        """Tell the bank's word on how a customer is reached."""
        body = {"language": language, "zone": zone, "channels": channels}
        where = f"{self._origin}/v1/customers/{customer}"
        async with self._http.put(where, json=body, headers=self._as("bank")) as answer:
            if answer.status != 200:
                log.warning("customer %s: %s", customer, await answer.text())

    async def send(self, event: dict[str, Any]) -> dict[str, Any] | None:
        """Post an event; gives its decision, or None where it was refused."""
        headers = {**self._as("ingest"), "Prefer": "wait=5"}
        where = f"{self._origin}/v1/events"
        async with self._http.post(where, json=event, headers=headers) as answer:
            if answer.status != 200:
                log.warning("event refused: %s %s", answer.status, await answer.text())
                return None
            decision: dict[str, Any] = await answer.json()
            return decision

    async def label(self, event: str, *, fraud: bool) -> None:
        """Tell what the back office found out about a payment."""
        body = {"event": event, "fraud": fraud, "time": datetime.now(UTC).isoformat()}
        where = f"{self._origin}/v1/labels"
        async with self._http.post(where, json=body, headers=self._as("bank")) as answer:
            await answer.read()

    async def press(self, challenge: str, decision: str) -> None:
        """Open a challenge's page by its link, and press one of the two buttons."""
        where = f"{self._origin}/v1/challenges/{challenge}"
        own = {"Origin": self._origin, "Sec-Fetch-Site": "same-origin"}
        token = {"token": web_token(self._house.secrets.web_key, challenge)}
        async with self._http.post(f"{where}/session", json=token, headers=own) as opened:
            cookies = {name: kept.value for name, kept in opened.cookies.items()}
        body = {"decision": decision} | ({"reason": "not_me"} if decision == "deny" else {})
        async with self._http.post(
            f"{where}/answer", json=body, headers=own, cookies=cookies
        ) as answer:
            log.info("%s on the page: %s", decision, answer.status)


class Player:
    """Plays the bank: its world, its cast, and you."""

    def __init__(self, house: House, doors: Doors) -> None:
        self._house, self._doors = house, doors
        self._chat = house.run.get("xmpp")
        began = datetime.now(UTC)
        self._run = _letters(int(began.timestamp()))
        self._day = int(began.timestamp()) // 3600 % _DAYS
        midnight = began.replace(hour=0, minute=0, second=0, microsecond=0)
        self._world = World("demo", _POPULATION, _DAYS, midnight, fraud=_FRAUD, noise=_NOISE)
        self._chance = Random(self._run)
        self._known: set[str] = set()
        self._stories: set[asyncio.Task[None]] = set()
        self._numbers = 0

    async def play(self) -> None:
        """Play until cancelled."""
        await self._enter()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._play_cast())
            group.create_task(self._play_you())
            group.create_task(self._play_world())

    async def _enter(self) -> None:
        people = [(YOU, "en"), *((member.name, member.language) for member in CAST)]
        for user, language in people:
            channels: list[dict[str, Any]] = [{"kind": "web", "verified": True}]
            if self._chat:
                address = f"{user}@{self._chat['domain']}"
                chat: dict[str, Any] = {"kind": "xmpp", "address": address, "verified": True}
                if user in _WITH_APP:
                    chat["seal_to"] = public_of(device_key(self._house, user))
                channels.insert(0, chat)
            await self._doors.introduce(user, language, "Asia/Shanghai", channels)
        if self._chat:
            for user, _ in people[:2]:
                await asyncio.to_thread(self._register, user)

    def _register(self, user: str) -> None:
        from notifiers import prosody

        told = self._chat or {}
        made = prosody.ProsodySettings(
            directory=self._house.data / "prosody",
            domain=told["domain"],
            secret=self._house.secrets.component_secret,
            client_port=told["client_port"],
            component_port=told["component_port"],
            web_port=0,
        )
        prosody.Prosody(made).register(user, password(self._house, user))

    # -- the world -------------------------------------------------------------------------

    async def _play_world(self) -> None:
        for happening, customer in self._happenings():
            if len(self._stories) < _STORIES_AT_ONCE:
                self._begin(self._happen(happening, customer))
            await asyncio.sleep(min(2.0, self._chance.expovariate(EVENTS_A_SECOND)))

    def _happenings(self) -> Iterator[tuple[Happening, Customer]]:
        while True:
            today = [
                row for index in range(_POPULATION) for row in self._world.day(self._day, index)
            ]
            for _, index, _, happening in sorted(today, key=lambda row: row[:3]):
                yield happening, self._world.customer(index)
            self._day = (self._day + 1) % _DAYS

    async def _happen(self, happening: Happening, customer: Customer) -> None:
        if customer.id not in self._known:
            self._known.add(customer.id)
            reached = self._chance.random() > 0.04  # for the others no question finds its way
            channels: list[dict[str, Any]] = [{"kind": "web", "verified": True}] if reached else []
            zone = customer.home.zone
            await self._doors.introduce(customer.id, customer.language, zone, channels)
        own = self._id(str(happening.event.get("kind", happening.event["type"])))
        event = {**happening.event, "id": own, "time": _now()}
        decision = await self._doors.send(event)
        if decision is None:
            return
        fraud = happening.truth is not None and happening.truth.fraud
        if decision["decision"] == "challenge":
            await self._answer(decision["challenge"]["id"], fraud=fraud)
        elif event["type"] == "transaction" and decision["decision"] == "approve":
            if fraud:
                await asyncio.sleep(self._chance.uniform(30.0, 120.0))
                await self._doors.label(own, fraud=True)
            elif self._chance.random() < _SETTLED_SHARE:
                await self._doors.label(own, fraud=False)

    async def _answer(self, challenge: str, *, fraud: bool) -> None:
        if self._chance.random() < 0.12:
            return  # busy, asleep, or the phone is in the other coat
        await asyncio.sleep(self._chance.uniform(3.0, 20.0))
        await self._doors.press(challenge, "deny" if fraud else "confirm")

    # -- the cast --------------------------------------------------------------------------

    async def _play_cast(self) -> None:
        await asyncio.sleep(_FIRST_CAST_S)
        entered = {CAST[0].name}
        while True:
            for member in CAST:
                if self._chat and member.name not in entered:
                    entered.add(member.name)
                    await asyncio.to_thread(self._register, member.name)
                self._begin(self._perform(member))
                await asyncio.sleep(_NEXT_CAST_S * self._chance.uniform(0.8, 1.4))

    async def _perform(self, member: Member) -> None:
        if not self._chat:
            decision = await self._doors.send(self._payment(member.name))
            if decision is not None and decision["decision"] == "challenge" and member.says:
                await asyncio.sleep(member.thinks)
                deny = member.says.lower().startswith("no")
                await self._doors.press(decision["challenge"]["id"], "deny" if deny else "confirm")
            return
        async with self._client(member.name) as client:
            decision = await self._doors.send(self._payment(member.name))
            if decision is None or decision["decision"] != "challenge":
                return
            asked = decision["challenge"]["id"]
            question = await client.wait_for(lambda m: m.challenge == asked, 60.0)
            await asyncio.sleep(member.thinks)
            if member.says and member.app:
                said = "deny" if member.says.lower().startswith("no") else "confirm"
                client.answer(question.sender, asked, said, question.tied(said))
            elif member.says:
                code = next(iter(question.buttons.values())).split()[-1]
                client.say(question.sender, member.says.format(code=code))
            await client.wait_for(lambda m: m.replaces == asked, _ANSWER_WITHIN_S + 20.0)

    @contextlib.asynccontextmanager
    async def _client(self, user: str) -> AsyncIterator[CustomerClient]:
        told = self._chat or {}
        client = CustomerClient(
            f"{user}@{told['domain']}/phone",
            password(self._house, user),
            "127.0.0.1",
            told["client_port"],
            device_key=device_key(self._house, user) if user in _WITH_APP else None,
        )
        try:
            await client.connect(20.0)
            yield client
        finally:
            await client.disconnect()

    # -- you -------------------------------------------------------------------------------

    async def _play_you(self) -> None:
        await asyncio.sleep(_FIRST_YOU_S)
        while True:
            try:
                await self._doors.send(self._payment(YOU))
            except (aiohttp.ClientError, TimeoutError) as away:
                log.warning("your payment waits: %s", away)
                await asyncio.sleep(2.0)
                continue
            await asyncio.sleep(_ANSWER_WITHIN_S + _NEXT_YOU_S)

    # -- small things ----------------------------------------------------------------------

    def _payment(self, customer: str) -> dict[str, Any]:
        """A large payment to somebody new, which the shipped rules ask about."""
        name, account, amount = self._chance.choice(_SHOPPING)
        return {
            "id": self._id(customer),
            "type": "transaction",
            "time": _now(),
            "customer": customer,
            "channel": "app",
            "amount": amount,
            "currency": "CNY",
            # A new account each time: whoever is paid again is no new payee.
            "payee": {
                "account": f"{account}-{self._run}-{self._numbers}",
                "name": name,
                "country": "CN",
            },
            "kind": "transfer",
        }

    def _id(self, what: str) -> str:
        """A new event's id: what it is, and a number that no former start has used."""
        self._numbers += 1
        return f"{what}-{self._run}-{self._numbers}"

    def _begin(self, story: Coroutine[Any, Any, None]) -> None:
        async def bounded() -> None:
            try:
                async with asyncio.timeout(300.0):
                    await story
            except (aiohttp.ClientError, TimeoutError, OSError) as away:
                log.warning("a story broke off: %s: %s", type(away).__name__, away)

        task = asyncio.create_task(bounded())
        self._stories.add(task)
        task.add_done_callback(self._stories.discard)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _letters(number: int) -> str:
    """A number in letters: an id of digits may be taken for a card or a phone."""
    text = ""
    while number or not text:
        number, digit = divmod(number, 20)
        text = "bcdfghjkmnpqrstvwxyz"[digit] + text
    return text


async def _main(house: House, parent: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    timeout = aiohttp.ClientTimeout(total=20.0)
    async with aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as http:
        playing = asyncio.create_task(Player(house, Doors(house, http)).play())
        ends = loop.time() + PLAYS_FOR.total_seconds()
        while not stop.is_set() and os.getppid() == parent:
            if playing.done():
                playing.result()
            if loop.time() > ends and not playing.cancelled():
                log.info("the play is over; what runs goes on")
                playing.cancel()
                await asyncio.wait({playing})
                await stop.wait()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await stop.wait()
        playing.cancel()
        await asyncio.wait({playing}, timeout=3.0)


def main() -> None:
    """Play over a data directory whose parts run; ends with the process ``--parent``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--parent", type=int, required=True)
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    logging.getLogger("slixmpp").setLevel(logging.CRITICAL)
    os.nice(10)  # the play never takes the time that a decision needs
    asyncio.run(_main(open_house(chosen.data), chosen.parent))


if __name__ == "__main__":
    main()
