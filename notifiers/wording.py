"""What does the bank say, in the customer's language? Versioned texts, filled with safe values.

A text names its values in braces, from a fixed list; a value is never read as a text again. How an
amount and a time are written is said by CLDR patterns (Babel). Texts that break a rule of
`notifiers/templates_lint.py` are refused when they are loaded, before anyone could be sent them.

What was said is kept as the parts of the text and their values: `again` makes the same bytes of
them, whatever becomes of the texts, of the zone's rules or of Babel.
"""

import hashlib
import logging
from collections.abc import Collection, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import cache, lru_cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from babel import Locale
from babel.dates import format_datetime
from babel.numbers import (
    NumberPattern,
    format_currency,
    get_currency_precision,
    get_currency_symbol,
    parse_pattern,
)

from notifiers.errors import BadTemplate
from notifiers.facts import Ask, Button, Closing, Payee, parse_time
from notifiers.foreign import quote, tail
from notifiers.templates_lint import lint, locale_of
from risk.privacy import canonical

log = logging.getLogger(__name__)

DEFAULT_LANGUAGE = "en"
_ON_THE_WAY = ("institution", "callback", "purpose", "expires", "asked", "reference")


@dataclass(frozen=True, slots=True)
class House:
    """Who speaks: the institution's name (by language), its number, the address of its pages."""

    institution: str
    callback: str
    page: str = ""
    names: Mapping[str, str] = field(default_factory=dict)

    def name(self, language: str) -> str:
        """The institution's name in a language; the general one where there is none."""
        return self.names.get(language, self.institution)


@dataclass(frozen=True, slots=True)
class Texts:
    """All texts of one language; `sha256` is of the file's bytes and stands in each record."""

    language: str
    version: int
    sha256: str
    raw: Mapping[str, Any]
    source: bytes = b""

    @property
    def id(self) -> str:
        return f"{self.language}/{self.version}"

    @property
    def locale(self) -> Locale:
        return locale_of(self.language)


@dataclass(frozen=True, slots=True)
class Said:
    """One text as it was said: of which parts of the texts it is made, and of which values."""

    text: str
    parts: tuple[str, ...]
    values: Mapping[str, str]


class Wording:
    """The texts of every language, by language tag; an unknown tag falls back by its first part."""

    def __init__(self, texts: Mapping[str, Texts], house: House) -> None:
        if DEFAULT_LANGUAGE not in texts:
            raise BadTemplate(f"templates: needed at least {DEFAULT_LANGUAGE}, got {sorted(texts)}")
        self._texts = dict(texts)
        self.house = house

    @classmethod
    def load(cls, directory: Path, house: House, hosts: Collection[str] = ()) -> "Wording":
        """Read and check every `*.yaml` of a directory; BadTemplate names file, line and rule."""
        found = [read_texts(path, hosts) for path in sorted(directory.glob("*.yaml"))]
        return cls({texts.language: texts for texts in found}, house)

    @classmethod
    def load_good(
        cls, directories: Sequence[Path], house: House, hosts: Collection[str] = ()
    ) -> tuple["Wording", list[str]]:
        """Read what may be sent, later directories over former ones; what may not is told.

        A refused file leaves its language to the directory before, or to the default language.
        BadTemplate only where no good text of the default language is left.
        """
        good: dict[str, Texts] = {}
        refused: list[str] = []
        for path in [one for folder in directories for one in sorted(folder.glob("*.yaml"))]:
            try:
                texts = read_texts(path, hosts)
            except (BadTemplate, OSError) as bad:
                refused.append(f"{path}: {bad}")
            else:
                good[texts.language] = texts
        if DEFAULT_LANGUAGE not in good:
            raise BadTemplate("\n".join(refused) or f"templates: none in {directories}")
        return cls(good, house), refused

    @property
    def all(self) -> Sequence[Texts]:
        """The texts of every language."""
        return tuple(self._texts.values())

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
        return self.asked(language, zone, ask, payee, code, link).text

    def asked(self, language: str, zone: str, ask: Ask, payee: Payee, code: str, link: str) -> Said:
        """Write the question, with what it is made of."""
        return self.asked_in(language, self.about(language, zone, ask, payee), code, link)

    def asked_in(self, language: str, words: Mapping[str, str], code: str, link: str) -> Said:
        """Write the question in words that `about` gave."""
        texts = self.texts(language)
        values = {**words, "code": code}
        if not link:
            return _said(texts, ("ask",), values)
        return _said(texts, ("ask", "link"), values | {"link": link})

    def sealed(self, language: str, zone: str, ask: Ask, *, closing: Closing | None = None) -> Said:
        """Write what may be read on the way where the content is sealed: no amount, no payee."""
        words = self.about(language, zone, ask, Payee("", ""))
        return self.sealed_in(language, zone, words, closing)

    def sealed_in(
        self, language: str, zone: str, words: Mapping[str, str], closing: Closing | None
    ) -> Said:
        """Write that in words that `about` gave: of them, what tells neither amount nor payee."""
        texts = self.texts(language)
        values = {name: words[name] for name in _ON_THE_WAY}
        if closing is None:
            return _said(texts, ("sealed",), values)
        return _said(texts, ("sealed_close",), values | self._result(texts, zone, closing))

    def close(self, language: str, zone: str, ask: Ask, payee: Payee, closing: Closing) -> str:
        """Write what stands in the question's place once it is closed. No code is in it."""
        return self.closed(language, zone, ask, payee, closing).text

    def closed(
        self, language: str, zone: str, ask: Ask, payee: Payee, closing: Closing, leaf: str = ""
    ) -> Said:
        """Write the closing, with what it is made of; `leaf` is the hash of its record (hex)."""
        words = self.about(language, zone, ask, payee)
        return self.closed_in(language, zone, words, closing, leaf)

    def closed_in(
        self, language: str, zone: str, words: Mapping[str, str], closing: Closing, leaf: str
    ) -> Said:
        """Write the closing in words that `about` gave."""
        texts = self.texts(language)
        values = {**words, **self._result(texts, zone, closing)}
        if not leaf:
            return _said(texts, ("close",), values)
        return _said(texts, ("close", "leaf"), values | {"leaf": short_leaf(leaf)})

    def inquiry(
        self, language: str, zone: str, ask: Ask, payees: Sequence[Payee], code: str
    ) -> Said:
        """Write the question about payments made already, a line each."""
        texts = self._inquiring(language)
        lines = []
        for number, (paid, payee) in enumerate(zip(ask.about, payees, strict=True), 1):
            kinds = texts.raw["kinds"]
            values = {
                "number": str(number),
                "kind": kinds.get(paid["kind"], kinds["other"]),
                "amount": amount(texts, paid["amount"], paid["currency"]),
                "payee": payee_words(texts, payee),
                "at": _time(texts, "time", zone, parse_time(paid["time"])),
            }
            lines.append(_fill(str(texts.raw["inquired_payment"]), values))
        values = self._of_inquiry(texts, zone, ask) | {"list": "\n".join(lines), "code": code}
        return _said(texts, ("inquire",), values)

    def inquired(self, language: str, zone: str, ask: Ask, closing: Closing) -> Said:
        """Write what stands in its place once it is closed. No code and no payment is in it."""
        texts = self._inquiring(language)
        results = texts.raw["inquire_results"]
        at = _time(texts, "clock", zone, parse_time(closing.at))
        result = _fill(results.get(closing.state, results["other"]), {"at": at})
        return _said(
            texts, ("inquire_close",), self._of_inquiry(texts, zone, ask) | {"result": result}
        )

    def which(self, language: str, code: str) -> str:
        """Ask again for the number of the payment that is not the customer's."""
        texts = self._inquiring(language)
        values = {"institution": self.house.name(texts.language), "code": code}
        return _said(texts, ("say.which",), values).text

    def _inquiring(self, language: str) -> Texts:
        """The texts for inquiries; a file of before them leaves that to the default language."""
        texts = self.texts(language)
        return texts if "inquire" in texts.raw else self._texts[DEFAULT_LANGUAGE]

    def _of_inquiry(self, texts: Texts, zone: str, ask: Ask) -> dict[str, str]:
        about = self._about(texts, zone, ask, Payee("", ""))
        kept = {"institution", "callback", "purpose", "expires", "asked", "reference"}
        return {name: value for name, value in about.items() if name in kept}

    def say(self, language: str, what: str, **values: str) -> str:
        """Write a short reply; `values` are already in the customer's words."""
        return self.saying(language, what, **values).text

    def saying(self, language: str, what: str, **values: str) -> Said:
        """Write a short reply, with what it is made of."""
        texts = self.texts(language)
        house = {
            "institution": self.house.name(texts.language),
            "callback": self.house.callback,
            "reference": "-",
        }
        return _said(texts, (f"say.{what}",), house | values)

    def time(self, language: str, zone: str, moment: datetime) -> str:
        """Write a time in the customer's words and zone."""
        return _time(self.texts(language), "time", zone, moment)

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
        """Give the label of a choice: `confirm`, `deny`, `not_me`, `cancel`."""
        return str(self.texts(language).raw["labels"][decision])

    def _about(self, texts: Texts, zone: str, ask: Ask, payee: Payee) -> dict[str, str]:
        kinds = texts.raw["kinds"]
        return {
            "institution": self.house.name(texts.language),
            "callback": self.house.callback,
            "purpose": str(texts.raw["purpose"]),
            "kind": kinds.get(ask.kind, kinds["other"]),
            "amount": amount(texts, ask.amount, ask.currency),
            "payee": payee_words(texts, payee),
            "expires": _time(texts, "time", zone, ask.expires_at),
            "asked": _time(texts, "time", zone, ask.created_at),
            "reference": reference(ask.id),
        }

    def _result(self, texts: Texts, zone: str, closing: Closing) -> dict[str, str]:
        results = texts.raw["results"]
        at = _time(texts, "clock", zone, parse_time(closing.at))
        return {"result": _fill(results.get(closing.state, results["other"]), {"at": at})}


def again(source: bytes, parts: Sequence[str], values: Mapping[str, str]) -> str:
    """Make a text once more from the file's bytes, its parts and the recorded values."""
    raw = yaml.safe_load(source)
    return "\n".join(_fill(_part(raw, part), values) for part in parts)


def fingerprint(salt: str, said: Said) -> dict[str, str]:
    """Give the hashes that a record keeps of what was said.

    Both are salted, and the salt lies under the same seal as the values: once that is destroyed,
    nobody can try amounts and names until a hash fits.
    """
    return {
        "variables": hashlib.sha256(variables(salt, said)).hexdigest(),
        "text": hashlib.sha256(f"{salt}\0{said.text}".encode()).hexdigest(),
    }


def variables(salt: str, said: Said) -> bytes:
    """Give the values with their salt, as canonical JSON: what `fingerprint` is of."""
    return canonical({"salt": salt, "values": dict(said.values)})


def reference(challenge: str) -> str:
    """Give the short name that a customer can read out on the telephone."""
    kept = "".join(char for char in challenge.removeprefix("ch_") if char.isalnum())
    return f"R-{kept[:4].upper()}-{kept[4:8].upper()}"


def short_leaf(leaf: str) -> str:
    """Give the first half of a leaf hash, in groups of four: enough to find the record by."""
    return " ".join(leaf[at : at + 4] for at in range(0, 32, 4))


def amount(texts: Texts, value: str, currency: str) -> str:
    """Write an amount by the CLDR pattern of its language, in the currency's own minor units."""
    number = Decimal(value)
    if number != round(number, get_currency_precision(currency)):
        return f"{number:,f} {currency}"  # what would be rounded is told as it came
    pattern = str(texts.raw["currencies"].get(currency, texts.raw["amount"]))
    if "¤¤¤" in pattern:  # the currency's name depends on the number
        return str(format_currency(number, currency, pattern, locale=texts.locale))
    return str(_pattern(pattern, currency, texts.language).apply(number, texts.locale))


@cache
def _pattern(pattern: str, currency: str, language: str) -> NumberPattern:
    """Read a CLDR pattern once for a currency; its signs are put in, its digits are set."""
    read = parse_pattern(pattern)
    code, symbol = currency.upper(), get_currency_symbol(currency, locale_of(language))

    def signed(text: str) -> str:
        return text.replace("¤¤", code).replace("¤", symbol)

    digits = get_currency_precision(currency)
    made = copy(read)
    made.prefix = (signed(read.prefix[0]), signed(read.prefix[1]))
    made.suffix = (signed(read.suffix[0]), signed(read.suffix[1]))
    made.frac_prec = (digits, digits)
    return made


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


def read_texts(path: Path, hosts: Collection[str] = ()) -> Texts:
    """Read one language's file and check every rule; BadTemplate names each broken one."""
    source = path.read_bytes()
    findings = lint(path.name, source, hosts)
    if findings:
        raise BadTemplate("\n".join(str(finding) for finding in findings))
    raw = yaml.safe_load(source)
    return Texts(
        language=str(raw["language"]),
        version=int(raw["version"]),
        sha256=hashlib.sha256(source).hexdigest(),
        raw=raw,
        source=source,
    )


def keep_sources(wording: Wording, directory: Path) -> None:
    """Keep each file of texts under its hash, so that old records can be written again."""
    directory.mkdir(parents=True, exist_ok=True)
    for texts in wording.all:
        path = directory / f"{texts.sha256}.yaml"
        if not path.exists():
            fresh = path.with_suffix(".new")
            fresh.write_bytes(texts.source)
            fresh.replace(path)


def _said(texts: Texts, parts: tuple[str, ...], values: Mapping[str, str]) -> Said:
    text = "\n".join(_fill(_part(texts.raw, part), values) for part in parts)
    return Said(text, parts, dict(values))


def _part(raw: Mapping[str, Any], part: str) -> str:
    found: Any = raw
    for name in part.split("."):
        found = found[name]
    return str(found)


def _fill(text: str, values: Mapping[str, str]) -> str:
    return text.format_map(dict(values))


def _zone(zone: str) -> ZoneInfo:
    try:
        return ZoneInfo(zone or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo("UTC")


def _time(texts: Texts, entry: str, zone: str, moment: datetime) -> str:
    pattern = str(texts.raw[entry])
    if "S" not in pattern and "A" not in pattern:  # it shows nothing below a second
        moment = moment.replace(microsecond=0)
    return _written_time(pattern, texts.language, zone, moment)


@lru_cache(maxsize=1024)  # one second is said of many questions
def _written_time(pattern: str, language: str, zone: str, moment: datetime) -> str:
    tzinfo, locale = _zone(zone), locale_of(language)
    return str(format_datetime(moment, pattern, tzinfo=tzinfo, locale=locale))
