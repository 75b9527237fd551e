"""Which text may the bank not send? A file of texts is read, and each broken rule is told.

A *contact* is what the bank sends of its own accord (`ask`, `sealed`, `close`, …): it says who
speaks, why, about what and whom to call. A *reply* (`say.…`) answers the customer, and says who
speaks. No text asks for a secret, links to a foreign host, or makes one answer easier than the
other. What is wrong is told with file and line, all of it at once.
"""

import re
import string
import unicodedata
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import yaml
from babel import Locale, UnknownLocaleError

FORMAT = 2
STATES = ("confirmed", "denied", "expired", "unreachable", "withdrawn", "other")
SAYINGS = (
    "unclear", "unclear_several", "listed", "needs_code", "wrong_code", "locked", "delayed", "late",
    "nothing_open", "not_bound", "changed", "secrets", "received", "freeze", "human", "unsigned",
    "contradicted", "sealed", "fresh", "frozen", "unsigned_page", "bound", "unbound", "what_xmpp",
    "what_web", "what_push", "what_sms", "what_voice", "what_passkey", "what_device",
)  # fmt: skip
PAYEES = ("payee", "payee_without_account", "payee_without_name", "payee_unknown")
CHOICES = ("confirm", "deny")
LABELS = (*CHOICES, "not_me", "cancel")
# Of inquiries: a file has all of them or, where it is older than they are, none.
INQUIRY = ("inquire", "inquired_payment", "inquire_close", "say.which",
           *(f"inquire_results.{one}" for one in STATES))  # fmt: skip

_WHO = {
    "institution": "the text says who speaks",
    "reference": "the customer can name the matter on the telephone",
    "callback": "the customer can call the bank's own number",
}
_ABOUT = {"amount": "the customer sees how much", "payee": "the customer sees to whom"}
_PURPOSE = {"purpose": "the text says why the bank writes"}
_KIND = {"kind": "the text says what it is about"}
CONTACTS: Mapping[str, Mapping[str, str]] = {
    "ask": _WHO | _PURPOSE | _ABOUT | _KIND
    | {"code": "an answer can name its question", "expires": "the customer knows until when"},
    "sealed": _WHO | _PURPOSE | {"expires": "the customer knows until when"},
    "close": _WHO | _ABOUT | _KIND
    | {"asked": "the closing says what it replaces", "result": "the closing says how it ended"},
    "sealed_close": _WHO | {"asked": "the closing says what it replaces",
                            "result": "the closing says how it ended"},
    "inquire": _WHO | _PURPOSE
    | {"list": "the customer sees each payment", "code": "an answer can name its question",
       "expires": "the customer knows until when"},
    "inquire_close": _WHO | {"asked": "the closing says what it replaces",
                             "result": "the closing says how it ended"},
    "inquired_payment": _ABOUT | _KIND
    | {"number": "a payment can be named", "at": "the customer knows when it was"},
}  # fmt: skip
_OPTIONAL = frozenset(INQUIRY)
_NOT_IN = {
    "close": {"code": "the code may not stand in a closing message"},
    "inquire_close": {"code": "the code may not stand in a closing message"},
    "sealed": dict.fromkeys(("amount", "payee", "code", "kind"), "this text is read on the way"),
    "sealed_close": dict.fromkeys(("amount", "payee", "code", "kind"), "it is read on the way"),
}
FRAGMENTS = frozenset({"listed"} | {one for one in SAYINGS if one.startswith("what_")})
KNOWN = frozenset(
    {"institution", "callback", "reference", "purpose", "kind", "amount", "payee", "code",
     "expires", "asked", "result", "link", "list", "answer", "at", "leaf", "name", "tail",
     "channel", "number"}
)  # fmt: skip

_SECRET = re.compile(
    r"pass\s?(?:word|code|phrase)s?|passwd|(?<![a-z])(?:pwd|pins?|otps?|cv[vcn]2?)(?![a-z])"
    r"|(?<![a-z])(?:security|verification|verify|one[\s-]?time|sms|text|auth\w*|activation|log\s?in|dynamic)"
    r"\s?-?(?:codes?|pass\w*|tokens?)|card\s?numbers?|密\s*[码碼]|口\s*令|[验驗]\s*[证證]\s*[码碼]"
    r"|校\s*验\s*[码碼]|[动動]\s*[态態]\s*[码碼]|短信\s*[码碼]|安全\s*[码碼]|卡\s*号|身份证|令\s*牌|u\s?盾"
)
_WARNS = re.compile(
    r"\bnever\b|\bdo not\b|\bdon't\b|\bwe removed\b|绝不|切勿|请勿|不要|從不|从不|请不|不会|勿"
)
_UNWARNS = re.compile(
    r"forget|hesitat|fail\b|unless|except|until|without|忘|犹豫|除非|除了|只能|以外|之外|否则|直到|吝"
)
_CLAUSE = re.compile(r"[.!?;:,，。！？；：、\n]")
_LINK = re.compile(
    r"(?i)(?:[a-z][a-z0-9+.-]*:)?[/\\]{2}[^\s，。、；）)”\"'<>]*|\bwww\.[^\s，。、；）)”\"'<>]*"
)
_SCHEME = re.compile(r"(?i)\b(?:javascript|data|mailto|tel|sms|smsto|xmpp|intent|file):[^\s]")
_BARE_HOST = re.compile(
    r"(?i)(?<![\w@.{/-])(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+"
    r"(?:com|cn|net|org|example|io|app|bank|info|top|xyz|cc|me|co|ly|gov|edu|shop|site|link|test)\b"
)
_LOUD = re.compile(r"[*_~`!！<>«»【】\[\]→➡👉⬅✓✔✅❌✖⭐★☆🔴🟢✗☑]")
_NUDGES = re.compile(
    r"(?i)recommend|preferr?ed|\beas(?:y|ily)\b|\bsimply\b|\bjust\s+reply\b|\bfast(?:er|est)?\b"
    r"|\bbest\b|推荐|建议|只需|简单|快捷|优先|默认|\bdefault\b"
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One broken rule: where, which, what is needed and what was got."""

    file: str
    line: int
    entry: str
    rule: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.entry}: {self.message} [{self.rule}]"

    def as_json(self) -> dict[str, str | int]:
        return asdict(self)


@cache
def locale_of(language: str) -> Locale:
    """Give Babel's locale of a language tag; ValueError where it has none."""
    try:
        return Locale.parse(language.replace("-", "_"))
    except UnknownLocaleError as unknown:
        raise ValueError(str(unknown)) from unknown


def lint(name: str, source: bytes, hosts: Collection[str] = ()) -> list[Finding]:
    """Check one file of texts; an empty list means that it may be sent.

    `hosts` are those (``host`` or ``host:port``) that a text may link to: the bank's own.
    """
    try:
        root = yaml.compose(source.decode("utf-8"), Loader=yaml.SafeLoader)
        raw = yaml.safe_load(source)
    except (yaml.YAMLError, UnicodeDecodeError) as broken:
        mark = getattr(broken, "problem_mark", None)
        line = mark.line + 1 if mark is not None else 1
        return [Finding(name, line, "-", "yaml", f"needed YAML in UTF-8, got {_short(broken)}")]
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        got = raw.get("format") if isinstance(raw, dict) else type(raw).__name__
        return [
            Finding(name, 1, "format", "format", f"needed `format: {FORMAT}`, got {got!r}; {_MEND}")
        ]
    return sorted(_Check(name, raw, _lines(root), frozenset(hosts)).all(), key=lambda one: one.line)


_MEND = "compare with config/templates/en.yaml, and give the changed text a new `version`"


class _Check:
    """All rules over one file."""

    def __init__(
        self, name: str, raw: dict[str, Any], lines: dict[str, "_Place"], hosts: frozenset[str]
    ) -> None:
        self._name, self._raw, self._lines, self._hosts = name, raw, lines, hosts

    def all(self) -> Iterator[Finding]:
        yield from self._shape()
        for entry, text in _texts(self._raw):
            yield from self._places(entry, text)
            yield from self._links(entry, text)
            yield from self._secrets(entry, text)
        yield from self._contacts()
        yield from self._weights()

    def _at(
        self, entry: str, rule: str, message: str, offset: int | None = None, text: str = ""
    ) -> Finding:
        place = self._lines.get(entry) or self._lines.get(entry.rpartition(".")[0])
        line = place.line if place else 1
        if place is not None and place.block and offset is not None:
            line = place.text_line + text.count("\n", 0, offset)
        return Finding(self._name, line, entry, rule, message)

    # -- shape: everything that the program will ask for is there --------------------------

    def _shape(self) -> Iterator[Finding]:
        wanted = ["language", "purpose", "amount", "time", "clock", *PAYEES, "link", "leaf"]
        wanted += [entry for entry in CONTACTS if entry not in _OPTIONAL] + ["kinds.other"]
        if any(_find(self._raw, entry) is not None for entry in INQUIRY):
            wanted += INQUIRY
        wanted += [f"labels.{one}" for one in LABELS] + [f"answers.{one}" for one in CHOICES]
        wanted += [f"results.{one}" for one in STATES] + [f"say.{one}" for one in SAYINGS]
        for entry in wanted:
            found = _find(self._raw, entry)
            if not isinstance(found, str) or not found.strip():
                got = "nothing" if found is None else repr(found)
                yield self._at(entry, _rule_of(entry), f"needed a text, got {got}; {_MEND}")
        if not isinstance(self._raw.get("version"), int):
            yield self._at("version", "missing", "needed a whole number, got no such; count it up")
        if not isinstance(self._raw.get("currencies"), dict):
            yield self._at("currencies", "missing", "needed patterns by currency, or {}")
        language = self._raw.get("language")
        if isinstance(language, str):
            try:
                locale_of(language)
            except ValueError as unknown:
                yield self._at("language", "language", f"needed a language tag: {unknown}")
        yield from self._results()
        for entry, must in (("link", "{link}"), ("leaf", "{leaf}")):
            if must not in str(self._raw.get(entry) or ""):
                yield self._at(entry, "missing", f"needed {must}")

    def _results(self) -> Iterator[Finding]:
        entries = [f"results.{one}" for one in STATES]
        if "inquire_results" in self._raw:
            entries += [f"inquire_{one}" for one in entries]
        for entry in entries:
            if "{at}" not in str(_find(self._raw, entry) or ""):
                yield self._at(entry, "time", "needed {at}: the customer sees when it ended")

    # -- places: only names that are known -------------------------------------------------

    def _places(self, entry: str, text: str) -> Iterator[Finding]:
        if entry in {"amount", "time", "clock"} or entry.startswith("currencies."):
            return
        try:
            found = _names(text)
        except ValueError as broken:
            yield self._at(entry, "braces", f"needed names in braces such as {{amount}}: {broken}")
            return
        for unknown in sorted(found - KNOWN):
            at = text.find("{" + unknown)
            needed = f"unknown name {{{unknown}}}; known are {', '.join(sorted(KNOWN))}"
            yield self._at(entry, "unknown-name", needed, at, text)

    # -- contacts: who, why, about what, whom to call --------------------------------------

    def _contacts(self) -> Iterator[Finding]:
        for entry, must in CONTACTS.items():
            text = _find(self._raw, entry)
            if not isinstance(text, str):
                continue
            found = _safe_names(text)
            for one, why in must.items():
                if one not in found:
                    yield self._at(entry, _rule_of(one), f"needed {{{one}}}: {why}")
            for one, why in _NOT_IN.get(entry, {}).items():
                if one in found:
                    at = text.find("{" + one)
                    yield self._at(entry, f"no-{one}", f"{{{one}}} must go: {why}", at, text)
        says = self._raw.get("say")
        for what, text in (says if isinstance(says, dict) else {}).items():
            if what in FRAGMENTS or not isinstance(text, str):
                continue
            if "institution" not in _safe_names(text):
                why = f"needed {{institution}}: {_WHO['institution']}"
                yield self._at(f"say.{what}", "institution", why)

    # -- links: to the bank's own hosts alone ----------------------------------------------

    def _links(self, entry: str, text: str) -> Iterator[Finding]:
        flat = _flat(text)
        for match in _LINK.finditer(flat):
            host = _host(match.group())
            if host is None or host not in self._hosts:
                yield self._link(entry, text, match, host)
        for pattern in (_SCHEME, _BARE_HOST):
            for match in pattern.finditer(_LINK.sub(lambda m: " " * len(m.group()), flat)):
                got = match.group()
                if pattern is _SCHEME or got.lower() not in self._hosts:
                    yield self._link(entry, text, match, None)

    def _link(self, entry: str, text: str, match: "re.Match[str]", host: str | None) -> Finding:
        allowed = ", ".join(sorted(self._hosts)) or "none"
        got = host or match.group()
        return self._at(
            entry, "link",
            f"a link to {got!r}: only {{link}} or a host of the bank's own may be linked to"
            f" (allowed hosts: {allowed}; setting institution.hosts)",
            match.start(), text,
        )  # fmt: skip

    # -- secrets: nobody is asked for one --------------------------------------------------

    def _secrets(self, entry: str, text: str) -> Iterator[Finding]:
        flat = _flat(text).casefold()
        start = 0
        for end in [*(m.start() for m in _CLAUSE.finditer(flat)), len(flat)]:
            clause = flat[start:end]
            match = _SECRET.search(clause)
            if match is not None and not _warns(clause, match):
                yield self._at(
                    entry, "secret",
                    f"it asks for a secret ({match.group()!r} in {clause.strip()!r}): name one"
                    " only to say, in the same clause, that it must never be told",
                    start + match.start(), text,
                )  # fmt: skip
            start = end + 1

    # -- weights: confirm and deny are equally easy to see and to give ---------------------

    def _weights(self) -> Iterator[Finding]:
        for group in ("labels", "answers"):
            words = [_find(self._raw, f"{group}.{choice}") for choice in CHOICES]
            if all(isinstance(word, str) and word for word in words):
                for why in _unequal(str(words[0]), str(words[1])):
                    yield self._at(f"{group}.confirm", "unequal", why)
        answers = [_find(self._raw, f"answers.{choice}") for choice in CHOICES]
        if not all(isinstance(word, str) and word for word in answers):
            return
        yes, no = (f"{word} {{code}}" for word in answers)
        for entry, text in _texts(self._raw):
            if text.count(yes) != text.count(no):
                why = f"{yes!r} stands in it {text.count(yes)} times, {no!r} {text.count(no)} times"
                yield self._at(
                    entry, "unequal", f"{why}: both, equally often", text.find(yes), text
                )
        for entry in ("ask", "inquire"):
            ask = _find(self._raw, entry)
            if isinstance(ask, str):
                yield from self._weigh_ask(entry, ask, yes, no)

    def _weigh_ask(self, entry: str, ask: str, yes: str, no: str) -> Iterator[Finding]:
        if not ask.count(yes) == ask.count(no) == 1 or ask.count("{code}") != 2:
            needed = f"needed {yes!r} and {no!r} once each, and no other {{code}}"
            yield self._at(entry, "unequal", needed, max(ask.find("{code}"), 0), ask)
            return
        lines = [line for line in ask.split("\n") if yes in line or no in line]
        at = ask.find(yes)
        if len(lines) != 1:
            yield self._at(entry, "unequal", f"needed {yes!r} and {no!r} in one line", at, ask)
            return
        line = lines[0]
        loud = [_LOUD.findall(_around(line, one)) for one in (yes, no)]
        if loud[0] != loud[1]:
            yield self._at(entry, "unequal", "one of the two answers is made louder", at, ask)
        nudge = _NUDGES.search(line)
        if nudge is not None:
            why = f"{nudge.group()!r} speaks for one of the two answers"
            yield self._at(entry, "unequal", why, ask.find(line) + nudge.start(), ask)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an entry stands: its line, and the line of its text where it is a block."""

    line: int
    text_line: int
    block: bool


def _lines(node: Any, at: str = "") -> dict[str, _Place]:
    found: dict[str, _Place] = {}
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            entry = f"{at}.{key.value}" if at else str(key.value)
            block = isinstance(value, yaml.ScalarNode) and value.style == "|"
            mark = value.start_mark.line + 1
            found[entry] = _Place(key.start_mark.line + 1, mark + (1 if block else 0), block)
            found |= _lines(value, entry)
    return found


def _texts(value: Any, at: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _texts(inner, f"{at}.{key}" if at else str(key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _texts(inner, f"{at}.{number}")
    elif isinstance(value, str):
        yield at, value


def _find(raw: Mapping[str, Any], entry: str) -> Any:
    found: Any = raw
    for name in entry.split("."):
        if not isinstance(found, dict):
            return None
        found = found.get(name)
    return found


def _names(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def _safe_names(text: str) -> set[str]:
    try:
        return _names(text)
    except ValueError:
        return set()


def _flat(text: str) -> str:
    """Give a text of the same length in which look-alikes are what they look like."""
    flat = []
    for char in text:
        plain = unicodedata.normalize("NFKC", char)
        hidden = unicodedata.category(char) == "Cf"
        flat.append("\u2060" if hidden else plain if len(plain) == 1 else char)
    return _closed_up("".join(flat))


def _closed_up(text: str) -> str:
    """Move what nobody sees behind the word it was hidden in, so that the length stays."""
    return re.sub(
        r"\S*\u2060\S*",
        lambda match: match.group().replace("\u2060", "") + " " * match.group().count("\u2060"),
        text,
    )


def _warns(clause: str, secret: "re.Match[str]") -> bool:
    warned = _WARNS.search(clause)
    return (
        warned is not None and warned.start() < secret.start() and _UNWARNS.search(clause) is None
    )


def _host(link: str) -> str | None:
    """The host of a link; None where it isn't a plain https link (http to localhost passes)."""
    whole = link if "//" in link else f"https://{link}"
    try:
        parts = urlsplit(whole)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    plain = parts.scheme == "https" or (parts.scheme == "http" and host == "localhost")
    if not host or not plain or parts.username is not None or "\\" in link or not host.isascii():
        return None
    return host if port is None else f"{host}:{port}"


def _unequal(confirm: str, deny: str) -> Iterator[str]:
    longer, shorter = max(len(confirm), len(deny)), max(1, min(len(confirm), len(deny)))
    if longer > 2 * shorter + 1:
        yield f"{confirm!r} and {deny!r} are of unequal length: at most twice as long and one more"
    if bool(_LOUD.search(confirm)) != bool(_LOUD.search(deny)):
        yield f"one of {confirm!r} and {deny!r} carries a sign that the other lacks"
    if _case(confirm) != _case(deny):
        yield f"{confirm!r} and {deny!r} are of unequal case"
    if _NUDGES.search(confirm) or _NUDGES.search(deny):
        yield f"{confirm!r} or {deny!r} speaks for itself"


def _case(word: str) -> str:
    if word.isupper():
        return "upper"
    return "title" if word[:1].isupper() else "lower"


def _around(line: str, part: str) -> str:
    at = line.find(part)
    return line[max(0, at - 3) : at + len(part) + 3]


def _rule_of(entry: str) -> str:
    return entry if entry in {"institution", "purpose", "reference", "callback"} else "missing"


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:120]
