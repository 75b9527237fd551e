"""The floor of the conversation: a bare slixmpp component asks, bare slixmpp clients answer.
By the product's chat server; nothing is decided, kept or proved.
"""

import asyncio
from collections.abc import Sequence
from time import perf_counter as now
from typing import Any

from slixmpp import ClientXMPP, ComponentXMPP

from notifiers.prosody import HOST, ProsodySettings

PLAIN = {"feature_mechanisms": {"unencrypted_scram": True}}


async def round_trips(
    server: ProsodySettings, users: Sequence[tuple[str, str]], rate: float, seconds: float
) -> tuple[dict[str, float], dict[str, float]]:
    """Give the seconds to the client and back by number; ``users`` are names and passwords."""
    make: Any = ComponentXMPP
    bank: Any = make(server.component, server.secret, HOST, server.component_port)
    sender = f"check@{server.component}/bank"
    began, there, back = dict[str, float](), dict[str, float](), dict[str, float]()
    started = asyncio.Semaphore(0)

    def at_client(message: Any) -> None:
        if message["id"] in began:
            there[message["id"]] = now() - began[message["id"]]
            message.reply(message["id"]).send()

    bank.add_event_handler("session_start", lambda _: started.release())
    bank.add_event_handler("message", lambda m: back.update({m["body"]: now() - began[m["body"]]}))
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
    first = now() + 0.5
    for number in range(int(rate * seconds)):
        await asyncio.sleep(max(0.0, first + number / rate - now()))
        began[str(number)] = first + number / rate
        to = f"{users[number % len(users)][0]}@{server.domain}"
        asked = bank.make_message(to, "Did you order this?", mtype="chat", mfrom=sender)
        asked["id"] = str(number)
        asked.send()
    end = now() + 30.0
    while len(back) < len(began) and now() < end:  # noqa: ASYNC110 - others send them
        await asyncio.sleep(0.05)
    await asyncio.gather(*(each.disconnect(wait=0.5) for each in (bank, *clients)))
    return there, back
