"""What does the bank say, in the customer's language? Versioned texts, filled with safe values.

A text names its values in braces, from a fixed list; a value is never read as a text again. A set
of texts that lacks the institution, the purpose, the reference or the call-back number in a
question is refused when it is loaded, before anyone could be sent it.
"""

import hashlib
import string
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml

from notifiers.errors import BadTemplate
from notifiers.facts import Ask, Button, Closing, Payee, parse_time
from notifiers.foreign import quote, tail

FORMAT = 1
DEFAULT_LANGUAGE = "en"
MUST_ASK = {"institution", "kind", "amount", "payee", "code", "expires", "reference", "callback"}
MUST_CLOSE = {"institution", "amount", "payee", "reference", "asked", "result", "callback"}
STATES = ("confirmed", "denied", "expired", "unreachable", "withdrawn", "other")
SAYINGS = (
    "unclear", "unclear_several", "listed", "needs_code", "wrong_code", "locked", "delayed", "late",
    "nothing_open", "not_bound", "changed", "secrets", "received", "freeze", "human", "unsigned",
)  # fmt: skip
CHOICES = ("confirm", "deny")
PAYEES = ("payee", "payee_without_account", "payee_without_name", "payee_unknown")
_ALLOWED = MUST_ASK | MUST_CLOSE | {"link", "list", "answer", "at"}


@dataclass(frozen=True, slots=True)
class House:
    """Who speaks: the institution's name, its own number, and the address of its pages."""

    institution: str
    callback: str
    page: str = ""


@dataclass(frozen=True, slots=True)
class Texts:
    """All texts of one language; `sha256` is of the file's bytes and stands in each record."""

    language: str
    version: int
    sha256: str
    raw: Mapping[str, Any]

    @property
    def id(self) -> str:
        return f"{self.language}/{self.version}"


class Wording:
    """The texts of every language, by language tag; an unknown tag falls back by its first part."""

    def __init__(self, texts: Mapping[str, Texts], house: House) -> None:
        if DEFAULT_LANGUAGE not in texts:
            raise BadTemplate(f"templates: needed at least {DEFAULT_LANGUAGE}, got {sorted(texts)}")
        self._texts = dict(texts)
        self.house = house

    @classmethod
    def load(cls, directory: Path, house: House) -> "Wording":
        """Read and check every `*.yaml` of a directory; BadTemplate names file and rule."""
        found = [read_texts(path) for path in sorted(directory.glob("*.yaml"))]
        return cls({texts.language: texts for texts in found}, house)

    def texts(self, language: str) -> Texts:
        """Give the texts for a language tag: exact, else by its first part, else the default."""
        if language in self._texts:
            return self._texts[language]
        first = language.split("-", maxsplit=1)[0].lower()
        for tag, texts in self._texts.items():
            if tag.split("-")[0].lower() == first:
                return texts
        return self._texts[DEFAULT_LANGUAGE]

    def ask(self, language: str, zone: str, ask: Ask, payee: Payee, code: str, link: str) -> str:
        """Write the question."""
        texts = self.texts(language)
        values = self._about(texts, zone, ask, payee) | {"code": code}
        body = _fill(texts.raw["ask"], values)
        if link:
            body += "\n" + _fill(texts.raw["link"], {"link": link})
        return body

    def close(self, language: str, zone: str, ask: Ask, payee: Payee, closing: Closing) -> str:
        """Write what stands in the question's place once it is closed. No code is in it."""
        texts = self.texts(language)
        results = texts.raw["results"]
        at = _clock(texts, zone, parse_time(closing.at))
        result = _fill(results.get(closing.state, results["other"]), {"at": at})
        values = self._about(texts, zone, ask, payee) | {"result": result}
        return _fill(texts.raw["close"], values)

    def say(self, language: str, what: str, **values: str) -> str:
        """Write a short reply; `values` are already in the customer's words."""
        texts = self.texts(language)
        house = {"institution": self.house.institution, "callback": self.house.callback}
        return _fill(texts.raw["say"][what], house | {"reference": "-"} | values)

    def about(self, language: str, zone: str, ask: Ask, payee: Payee) -> dict[str, str]:
        """Give amount, payee, reference and the like in the customer's words."""
        return self._about(self.texts(language), zone, ask, payee)

    def buttons(self, language: str, code: str) -> tuple[Button, Button]:
        """Give the two equal choices."""
        raw = self.texts(language).raw
        yes, no = raw["answers"]["confirm"], raw["answers"]["deny"]
        return (
            Button(f"{yes} {code}", raw["labels"]["confirm"]),
            Button(f"{no} {code}", raw["labels"]["deny"]),
        )

    def label(self, language: str, decision: str) -> str:
        """Give the label of a choice."""
        return str(self.texts(language).raw["labels"][decision])

    def _about(self, texts: Texts, zone: str, ask: Ask, payee: Payee) -> dict[str, str]:
        kinds = texts.raw["kinds"]
        return {
            "institution": self.house.institution,
            "callback": self.house.callback,
            "kind": kinds.get(ask.kind, kinds["other"]),
            "amount": amount(texts, ask.amount, ask.currency),
            "payee": payee_words(texts, payee),
            "expires": _time(texts, zone, ask.expires_at),
            "asked": _time(texts, zone, ask.created_at),
            "reference": reference(ask.id),
        }


def reference(challenge: str) -> str:
    """Give the short name that a customer can read out on the telephone."""
    kept = "".join(char for char in challenge.removeprefix("ch_") if char.isalnum())
    return f"R-{kept[:4].upper()}-{kept[4:8].upper()}"


def amount(texts: Texts, value: str, currency: str) -> str:
    """Write an amount with its thousands apart and its decimal places as they came."""
    number = f"{Decimal(value):,f}"
    pattern = texts.raw["currencies"].get(currency, texts.raw["amount"])
    return str(pattern).format(number=number, currency=currency)


def payee_words(texts: Texts, payee: Payee) -> str:
    """Write whom the money goes to: the name as a quotation, the account by its last four."""
    end = tail(payee.account)
    if payee.name.strip() and end:
        return str(texts.raw["payee"]).format(name=quote(payee.name), tail=end)
    if payee.name.strip():
        return str(texts.raw["payee_without_account"]).format(name=quote(payee.name))
    if end:
        return str(texts.raw["payee_without_name"]).format(tail=end)
    return str(texts.raw["payee_unknown"])


def read_texts(path: Path) -> Texts:
    """Read one language's file and check every rule; BadTemplate names the broken one."""
    raw_bytes = path.read_bytes()
    try:
        raw = yaml.safe_load(raw_bytes)
    except yaml.YAMLError as broken:
        raise BadTemplate(f"{path.name}: needed YAML, got {broken}") from broken
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        raise BadTemplate(f"{path.name}: needed `format: {FORMAT}`")
    try:
        _check(path.name, raw)
    except KeyError as missing:
        raise BadTemplate(f"{path.name}: needed the entry {missing}, got none") from missing
    return Texts(
        language=str(raw["language"]),
        version=int(raw["version"]),
        sha256=hashlib.sha256(raw_bytes).hexdigest(),
        raw=raw,
    )


def _check(name: str, raw: Mapping[str, Any]) -> None:
    _check_places(name, raw)
    _check_words(name, raw)
    for text in _all_texts(raw):
        if "://" in text or "www." in text:
            raise BadTemplate(f"{name}: a link may only come from the settings, got {text!r}")


def _check_places(name: str, raw: Mapping[str, Any]) -> None:
    """Who speaks, why, about what, until when, and whom to call: none may be missing."""
    places = [("ask", raw["ask"], MUST_ASK), ("close", raw["close"], MUST_CLOSE)]
    places += [("link", raw["link"], {"link"})]
    places += [(f"results.{state}", raw["results"][state], {"at"}) for state in STATES]
    places += [(f"say.{saying}", raw["say"][saying], set()) for saying in SAYINGS]
    for entry, text, must in places:
        lacking = must - _names(name, entry, text)
        if lacking:
            raise BadTemplate(f"{name}: {entry}: needed {{{'}, {'.join(sorted(lacking))}}}")
    if "code" in _names(name, "close", raw["close"]):
        raise BadTemplate(f"{name}: close: the code may not stand in a closing message")


def _check_words(name: str, raw: Mapping[str, Any]) -> None:
    words = [raw[entry][choice] for entry in ("labels", "answers") for choice in CHOICES]
    words += [raw[entry] for entry in ("amount", "time", "clock", *PAYEES)]
    if not all(isinstance(word, str) and word.strip() for word in words):
        raise BadTemplate(f"{name}: needed words for labels, answers, amount, time, clock, payees")
    if len(raw["months"]) != 12 or "other" not in raw["kinds"]:
        raise BadTemplate(f"{name}: needed 12 months and the kind `other`")
    if not isinstance(raw["currencies"], dict):
        raise BadTemplate(f"{name}: needed currencies")


def _all_texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for inner in value.values() for text in _all_texts(inner)]
    return [value] if isinstance(value, str) else []


def _names(name: str, entry: str, text: Any) -> set[str]:
    if not isinstance(text, str):
        raise BadTemplate(f"{name}: {entry}: needed a text, got {type(text).__name__}")
    try:
        found = {field for _, field, _, _ in string.Formatter().parse(text) if field is not None}
    except ValueError as broken:
        raise BadTemplate(f"{name}: {entry}: {broken}") from broken
    unknown = found - _ALLOWED
    if unknown:
        raise BadTemplate(f"{name}: {entry}: unknown {sorted(unknown)}, known {sorted(_ALLOWED)}")
    return found


def _fill(text: str, values: Mapping[str, str]) -> str:
    return text.format_map(dict(values))


def _local(zone: str, moment: datetime) -> datetime:
    try:
        return moment.astimezone(ZoneInfo(zone or "UTC"))
    except (ZoneInfoNotFoundError, ValueError):
        return moment.astimezone(ZoneInfo("UTC"))


def _parts(texts: Texts, zone: str, moment: datetime) -> dict[str, str]:
    local = _local(zone, moment)
    minutes = int((local.utcoffset() or local - local).total_seconds() // 60)
    hours, rest = divmod(abs(minutes), 60)
    sign = "-" if minutes < 0 else "+"
    return {
        "hour": f"{local.hour:02d}",
        "minute": f"{local.minute:02d}",
        "day": str(local.day),
        "month": str(texts.raw["months"][local.month - 1]),
        "offset": f"UTC{sign}{hours}" + (f":{rest:02d}" if rest else ""),
    }


def _time(texts: Texts, zone: str, moment: datetime) -> str:
    return str(texts.raw["time"]).format(**_parts(texts, zone, moment))


def _clock(texts: Texts, zone: str, moment: datetime) -> str:
    return str(texts.raw["clock"]).format(**_parts(texts, zone, moment))
