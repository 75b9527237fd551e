"""The floor of the conversation: a bare slixmpp component asks, bare slixmpp clients answer.

By the chat server that the product is run with; nothing is decided, kept or proved. Gives the
seconds from each intended moment to the arrival at the client, and to the answer's arrival.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from slixmpp import ClientXMPP, ComponentXMPP

from notifiers.prosody import HOST, ProsodySettings

PLAIN = {"feature_mechanisms": {"unencrypted_scram": True}}


async def round_trips(
    server: ProsodySettings, users: Sequence[tuple[str, str]], rate: float, seconds: float
) -> tuple[list[float], list[float]]:
    """Ask so many a second; ``users`` are names and passwords of accounts."""
    make: Any = ComponentXMPP
    bank: Any = make(server.component, server.secret, HOST, server.component_port)
    began, there, back = dict[str, float](), dict[str, float](), dict[str, float]()
    loop, started = asyncio.get_running_loop(), asyncio.Semaphore(0)

    def at_client(message: Any) -> None:
        if message["id"] in began:
            there[message["id"]] = loop.time()
            message.reply(message["id"]).send()

    bank.add_event_handler("session_start", lambda _: started.release())
    bank.add_event_handler("message", lambda m: back.setdefault(m["body"], loop.time()))
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
    first = loop.time() + 0.5
    for number in range(int(rate * seconds)):
        await asyncio.sleep(max(0.0, first + number / rate - loop.time()))
        began[str(number)] = first + number / rate
        to = f"{users[number % len(users)][0]}@{server.domain}"
        sender = f"check@{server.component}/bank"
        asked = bank.make_message(to, "Did you order this?", mtype="chat", mfrom=sender)
        asked["id"] = str(number)
        asked.send()
    await asyncio.sleep(1.0)
    for each in (bank, *clients):
        await each.disconnect(wait=0.5)
    return [there[n] - began[n] for n in there], [back[n] - began[n] for n in back]
