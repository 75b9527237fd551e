"""The floor of the conversation: a bare slixmpp component asks, bare slixmpp clients answer.

By the chat server that the product is run with; nothing is decided, kept or proved.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from slixmpp import ClientXMPP, ComponentXMPP

from notifiers.prosody import HOST, ProsodySettings

PLAIN = {"feature_mechanisms": {"unencrypted_scram": True}}


async def round_trips(
    server: ProsodySettings, users: Sequence[tuple[str, str]], rate: float, seconds: float
) -> tuple[dict[int, float], dict[int, float]]:
    """Ask so many a second; ``users`` are names and passwords of accounts.

    Gives the seconds from each intended moment to client and back, by number of what came so far.
    """
    make: Any = ComponentXMPP
    bank: Any = make(server.component, server.secret, HOST, server.component_port)
    began, there, back = dict[str, float](), dict[str, float](), dict[str, float]()
    started = asyncio.Semaphore(0)

    def at_client(message: Any) -> None:
        if message["id"] in began:
            there[message["id"]] = time.perf_counter()
            message.reply(message["id"]).send()

    bank.add_event_handler("session_start", lambda _: started.release())
    bank.add_event_handler("message", lambda m: back.setdefault(m["body"], time.perf_counter()))
    clients: list[Any] = [
        ClientXMPP(f"{who}@{server.domain}/floor", word, plugin_config=PLAIN) for who, word in users
    ]
    for client in clients:
        client.enable_plaintext = True
        client.enable_starttls = client.enable_direct_tls = False
        client.add_event_handler("session_start", lambda _, client=client: client.send_presence())
        client.add_event_handler("session_start", lambda _: started.release())
        client.add_event_handler("message", at_client)
        client.connect(HOST, server.client_port)
    bank.connect(HOST, server.component_port)
    for _ in (bank, *clients):
        await asyncio.wait_for(started.acquire(), 20)
    first = time.perf_counter() + 0.5
    for number in range(int(rate * seconds)):
        await asyncio.sleep(max(0.0, first + number / rate - time.perf_counter()))
        began[str(number)] = first + number / rate
        to = f"{users[number % len(users)][0]}@{server.domain}"
        sender = f"check@{server.component}/bank"
        asked = bank.make_message(to, "Did you order this?", mtype="chat", mfrom=sender)
        asked["id"] = str(number)
        asked.send()
    end = time.perf_counter() + 30.0
    while len(back) < len(began) and time.perf_counter() < end:  # noqa: ASYNC110 - others send them
        await asyncio.sleep(0.05)
    for each in (bank, *clients):
        await each.disconnect(wait=0.5)
    one_way, both = ({int(n): at - began[n] for n, at in came.items()} for came in (there, back))
    return one_way, both
