"""How is foreign text shown inside the bank's own message? As a quotation that can do nothing.

A payee's name is an attacker's text. What comes out is one line, in quotes, of at most 40
characters, that can't be taken for a code, for YES or NO, for a link, or for the end of the
quotation. What the message means never depends on it.
"""

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache

from notifiers.understand import understand

LONGEST = 40
_OPEN, _CLOSE = "“", "”"
_SPACES = re.compile(r"\s+")
_DIGITS = re.compile(r"\d(?:[\W_]{0,2}\d){3,}")
_COLON = re.compile(r":(?=[/\w])")
_SLASHES = re.compile(r"//+|\bwww\b|(?i:www)(?=\W)")
_DOT = re.compile(r"(?<=\w)[.。．｡․](?=\w)")
_ANSWERS = re.compile(
    r"(?i)(?<![a-zà-ɏ\u0370-\u058f])(?:yes|no|y|n|ok|okay|confirm\w*|deny|denied|cancel\w*|reply|answer|approve\w*"
    r"|refuse\w*|reject\w*|freeze|code|pin|otp)(?![a-zà-ɏ\u0370-\u058f])"
)
_WORDS = ("不是我", "确认", "確認", "取消", "回复", "回覆", "验证码", "密码", "拒绝", "同意")
_ALONE = re.compile(r"(?<![\u3400-\u9fff])[是否对對不](?![\u3400-\u9fff])")
_INVISIBLE = "\u034f\u115f\u1160\u3164\uffa0"
# Letters that look like Latin ones in most fonts: enough for the words above. They are compared as
# what they look like, and shown as they are.
_LOOKALIKE = str.maketrans(
    "асеіјоруѕхԁԛһгпкүҮΥΝΟΕΚΑΒΜΙΡΤΗΖΧТНІЅУЕОСКАМРВХЈԌονιρυϲոօսհցյդՍՕı",
    "aceijopysxdqhrnkyYYNOEKABMIPTHZXTHISYEOCKAMPBXJGovipucnouhgjdUOi",
)
# Letters that are drawn like Latin ones and belong to no name that a bank would show.
_ODD = re.compile(
    "[\u0250-\u02ff\u13a0-\u13ff\u1d00-\u1dbf\u2c80-\u2cff\ua4d0-\ua4ff\ua720-\ua7ff"
    "\uab30-\uabbf\U00010280-\U0001044f\U0001d000-\U0001dfff]"
)
_LEET = str.maketrans("013457$@", "oieastsa")
_TOKEN = re.compile(r"[A-Za-z0-9$@]{2,}")
_SPELT = re.compile(r"(?i)(?<![a-z])(?:[a-z][\W_]{1,2}){1,9}[a-z](?![a-z])")


def quote(text: str) -> str:
    """Give foreign text as a harmless quotation; empty text gives an empty quotation."""
    return f"{_OPEN}{clean(text)}{_CLOSE}"


@lru_cache(maxsize=256)  # one name is said some times over: in the question, its record, its end
def clean(text: str) -> str:
    """Give the inside of the quotation: NFKC, one line, no controls, nothing that can answer."""
    flat = unicodedata.normalize("NFKC", text[: LONGEST * 8])
    flat = "".join(_plain(char) for char in flat)
    flat = unicodedata.normalize("NFKC", flat)
    flat = _SPACES.sub(" ", flat).strip()
    flat = _SLASHES.sub(" ", _COLON.sub(": ", flat))
    flat = _DOT.sub(" . ", flat)
    for word in _WORDS:
        flat = flat.replace(word, "·".join(word))
    flat = _SPACES.sub(" ", _DIGITS.sub(_mask, flat)).strip()
    if len(flat) > LONGEST:
        flat = flat[: LONGEST - 1].rstrip() + "…"
    flat = _ODD.sub("·", flat)
    # From here on nothing gets longer, so that no cut makes a new word.
    flat = _ALONE.sub("·", flat)
    for pattern, reads in ((_TOKEN, _leet), (_SPELT, _spelt), (_ANSWERS, str)):
        flat = _break(flat, pattern, reads)
    if understand(_latin(flat)).kind == "confirm":
        flat = "…"
    while _DIGITS.search(flat):
        flat = _DIGITS.sub(_mask, flat)
    return flat


@lru_cache(maxsize=4096)
def _plain(char: str) -> str:
    category = unicodedata.category(char)
    if category[0] == "Z" or char in "\t\r\n":
        return " "
    if (
        category[0] == "C"
        or category in {"Me", "Sk", "So"}
        or char in "\u034f\u115f\u1160\u3164\uffa0"
    ):
        return ""
    if category == "Nd":
        return str(unicodedata.digit(char, 0))
    if category in {"Pi", "Pf"} or char in "\"'`´<>«»「」『』〝〞＂|{}[]\\@#*_~=":
        return " "
    return char


def _latin(text: str) -> str:
    return text if text.isascii() else text.translate(_LOOKALIKE)


def _mask(match: re.Match[str]) -> str:
    digits = "".join(char for char in match.group() if char.isdigit())
    return f"…{digits[-3:]}"


def _break(text: str, pattern: re.Pattern[str], reads: Callable[[str], str]) -> str:
    """Put dots over each word that reads, or looks, like an answer."""
    looks = _latin(text)
    for match in pattern.finditer(looks):
        if _ANSWERS.fullmatch(reads(match.group())):
            text = text[: match.start()] + "·" * len(match.group()) + text[match.end() :]
    return text


def _leet(word: str) -> str:
    return word.translate(_LEET)


def _spelt(letters: str) -> str:
    return "".join(char for char in letters if char.isalpha())


def tail(account: str) -> str:
    """Give the last four letters or digits of an account, to recognise it by."""
    kept = [char for char in unicodedata.normalize("NFKC", account) if char.isascii()]
    return "".join(char for char in kept if char.isalnum())[-4:]
