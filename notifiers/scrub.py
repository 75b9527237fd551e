"""What of a customer's text may be kept? Everything but what nobody should have sent.

Passwords, one-time codes, PINs and card numbers are cut out *before* anything durable sees the
text. Each cut leaves its kind behind, and its place and length in the text as it came (counted in
Unicode code points); no hash of the original is kept, for six digits fall to a loop in no time.
"""

import re
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass

from risk.privacy import luhn

LONGEST = 1000
_NUMERALS = {
    "零": "0", "〇": "0", "○": "0", "一": "1", "二": "2", "三": "3", "四": "4", "五": "5",
    "六": "6", "七": "7", "八": "8", "九": "9", "两": "2", "幺": "1", "壹": "1", "贰": "2",
    "叁": "3", "肆": "4", "伍": "5", "陆": "6", "柒": "7", "捌": "8", "玖": "9",
}  # fmt: skip
_ENGLISH = ["zero", "oh", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
_NUMBER = r"(?:" + "|".join(_ENGLISH) + r"|\d)"
_SPOKEN = re.compile(rf"(?i)\b{_NUMBER}(?:[^\w\n]+{_NUMBER}\b){{3,}}")
_SECRET = re.compile(
    r"(?i)(?P<name>pass\s?(?:word|code|phrase)|pwd"
    r"|(?<![a-z])(?:pin|otp|cv[vc]2?)(?![a-z])(?:\s?code)?"
    r"|security\s?code|密\s?[码碼]|口\s?令|[验驗][证證]\s?[码碼]|校[验驗][码碼]|[动動][态態]\s?[码碼]"
    r"|短信[码碼]|安全[码碼])"
    r"(?P<link>\s*(?:(?:is|was|are|equals|number|no\.?|code|是|为|為|[:：=＝\-,，“\"'])\s*)*)(?P<value>\S{2,64})"
)

# "hunter2 is my password", "abc123是我的密码"
_NAMED_AFTER = re.compile(
    r"(?i)(?P<value>[^\s，。,;；]{3,64}?)\s*(?:is|was|=|是|就是)\s*(?:my|the|our|我的|我|您的)?\s*(?:new\s+)?"
    r"(?:pass\s?(?:word|code|phrase)|(?<![a-z])(?:pin|otp)(?![a-z])|密\s?[码碼]|口\s?令|[验驗][证證]\s?[码碼])"
)


@dataclass(frozen=True, slots=True)
class Cut:
    """One thing that was cut out: its kind, and where it stood in the text as it came."""

    type: str
    offset: int
    length: int

    def as_record(self) -> dict[str, str | int]:
        """Give it as the ledger keeps it."""
        return {"type": self.type, "offset": self.offset, "length": self.length}


def scrub(text: str, keep: Collection[str] = ()) -> tuple[str, tuple[Cut, ...]]:
    """Give the text without secrets, and its cuts; only the codes in `keep` may stay."""
    text = text[:LONGEST]
    cuts = _runs(text, frozenset(keep))
    for pattern, kind, group in (
        (_SPOKEN, "otp", 0),
        (_SECRET, "password", "value"),
        (_NAMED_AFTER, "password", "value"),
    ):
        match = pattern.search(text)
        while match is not None:
            start, end = match.span(group)
            kept = _is_kept(match.group(group), keep)
            if not kept:
                cuts.append(Cut(kind, start, end - start))
            # The value of one may hold the name of the next: "my PIN is 1234,password:abcd".
            named = group == "value" and not kept
            match = pattern.search(text, max(start, match.start() + 1) if named else end)
    merged = _merge(cuts)
    pieces, at = [], 0
    for cut in merged:
        pieces += [text[at : cut.offset], f"[{cut.type}]"]
        at = cut.offset + cut.length
    pieces.append(text[at:])
    return "".join(pieces), merged


def _is_kept(value: str, keep: Collection[str]) -> bool:
    """Whether a value is the question's own code, however it is spelt, and nothing beside it."""
    beside = any(char.isalpha() and not _digit(char) for char in value)
    return not beside and _digits(value) in keep


def _digit(char: str) -> str:
    value = unicodedata.digit(char, None)
    if value is not None:
        return str(value)
    folded = unicodedata.normalize("NFKC", char).strip("().")
    if folded.isdecimal() and folded.isascii():
        return folded
    return _NUMERALS.get(char, "")


def _digits(text: str) -> str:
    return "".join(_digit(char) for char in text)


def _runs(text: str, keep: frozenset[str]) -> list[Cut]:
    """Find runs of four and more digits, with up to three other signs (no letters) between."""
    cuts: list[Cut] = []
    start, end, digits = -1, -1, ""
    for place, char in enumerate(text):
        digit = _digit(char)
        if digit:
            if start < 0 or place - end > 3:
                cuts += _cut(start, end, digits, text, keep)
                start, digits = place, ""
            end, digits = place + 1, digits + digit
        elif start >= 0 and (char.isalpha() or char == "\n"):
            cuts += _cut(start, end, digits, text, keep)
            start, end, digits = -1, -1, ""
    return cuts + _cut(start, end, digits, text, keep)


def _cut(start: int, end: int, digits: str, text: str, keep: frozenset[str]) -> list[Cut]:
    if start < 0 or len(digits) < 4:
        return []
    if digits in keep:
        return []
    for code in keep:  # "YES 384920 4711": the code stays, what stands beside it goes
        place = text.find(code, start, end)
        if place >= 0:
            return [
                *_cut_plain(start, place, _digits(text[start:place])),
                *_cut_plain(place + len(code), end, _digits(text[place + len(code) : end])),
            ]
    return _cut_plain(start, end, digits)


def _cut_plain(start: int, end: int, digits: str) -> list[Cut]:
    if not digits or end <= start:
        return []
    if 13 <= len(digits) <= 19 and luhn(digits):
        kind = "pan"
    elif len(digits) <= 8:
        kind = "otp"
    else:
        kind = "number"
    return [Cut(kind, start, end - start)]


def _merge(cuts: list[Cut]) -> tuple[Cut, ...]:
    merged: list[Cut] = []
    for cut in sorted(cuts, key=lambda c: (c.offset, -c.length)):
        if merged and cut.offset < merged[-1].offset + merged[-1].length:
            last = merged[-1]
            end = max(last.offset + last.length, cut.offset + cut.length)
            merged[-1] = Cut(last.type, last.offset, end - last.offset)
        else:
            merged.append(cut)
    return tuple(merged)
