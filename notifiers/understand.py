"""What did the customer say? Confirm, deny (and why), or nothing that may be acted on.

::

    text -> NFKC, quoted lines off, code off -> phrases, longest first -> what is left over?

Forgiving where it is safe, and never guessing: a confirm needs every word and every sign
understood; a yes and a no in one text, a question, a number, a struck word, or an unknown word or
picture beside a yes are *unclear*. A deny is the safe direction and may be surrounded by words, as
long as none of them confirms.
"""

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal

from notifiers.facts import Reason

Kind = Literal["confirm", "deny", "freeze", "human", "unclear"]


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a text means; `code` is the six digits in it, `several` whether it names more."""

    kind: Kind
    reason: Reason | None = None
    code: str | None = None
    several: bool = False


def _phrases(text: str) -> tuple[str, ...]:
    """Read phrases that stand between slashes."""
    return tuple(phrase.strip() for phrase in text.split("/") if phrase.strip())


_FREEZE = _phrases(
    """
    freeze my account / freeze my card / freeze / block my card / block my account /
    lock my account / lock my card / stolen / 挂失 / 掛失 / 被盗 / 被盜 / 被骗 / 被騙 / 被偷 /
    冻结 / 凍結 / 盗刷 / 盜刷
    """
)
_HUMAN = _phrases(
    """
    转人工 / 轉人工 / 人工客服 / 人工 / 客服 / human / agent / call me / speak to someone /
    talk to someone / talk to a person / real person / operator
    """
)
_NOT_ME = _phrases(
    """
    it was not me / it wasn't me / it isn't me / it is not me / that was not me /
    that wasn't me / that's not me / wasn't me / wasnt me / was not me / isn't me / isnt me /
    not me / not mine / not by me / nt me / not my payment / i did not / i didn't / i didnt /
    i haven't / i havent / i have not / i never / never did / don't recognise /
    don't recognize / do not recognise / do not recognize / dont recognise / dont recognize /
    don't know this / dont know this / unknown to me / fraud / scam / 不是我本人 / 不是本人 /
    非本人 / 不是我 / 並不是我 / 不是我的 / 没有付 / 没付 / 我没有 / 我没 / 沒有付 / 我沒有 /
    不认识 / 不認識 / 不知道这 / 是诈骗 / 是骗子 / 是骗局 / 诈骗 /
    詐騙 / 骗子 / 骗局 / never heard of / didnt order / 没操作 / 没有操作 / 不是我操作 / 没转 /
    没有转 / 未操作 / 没买
    """
)
_CANCEL = _phrases(
    """
    cancel it / cancel / canceled / cancelled / cancle / stop it / stop the payment / stop /
    changed my mind / do not pay / don't pay / dont pay / 取消付款 / 取消交易 / 取消 / 撤销 /
    撤銷 / 不要付 / 不想付 / 不付了 / 算了 / 别付 / 别转了 / 不想转 / 不转了 / 不要了 / 停止
    """
)
_NO = _phrases(
    """
    no / nope / nah / noo / nooo / n / deny / denied / denies / decline / declined / refuse /
    reject / rejected / wrong / incorrect / 否 / 不对 / 不對 / 不是的 / 不是 / 不确认 /
    不確認 / 不同意 / 拒绝 / 拒絕 / 没有 / 沒有 / 不 / ❌ / 👎 / 🚫 / ✖ / ⛔ / ✗ / 🙅 /
    不可以 / 不行 / 不好 / 否认 / 否認 / absolutely not / definitely not / do not confirm /
    don't confirm / dont confirm
    """
)
_YES = _phrases(
    """
    yes / yep / yup / ya / yeah / yess / yesss / y / ye / yse / yea / y e s / confirm /
    confirmed / i confirm / i do confirm / confrim / comfirm / conform / correct / it's correct /
    that's right / that is right / ok / okay / approve / approved / it was me / that was me /
    that's me / it's me / its me / 是我本人操作的 / 是我本人 / 本人操作 / 是我付的 / 是我转的 /
    是我操作的 / 是我 / 是的 / 是 / 确认 / 確認 / 确定 / 確定 / 确认付款 / 对的 / 对 / 對 /
    同意 / 好的 / 好 / 可以 / 没错 / 没问题 / 没有问题 / 沒問題 / 沒有問題 / ✅ / 👍 / 👌 / ✔ /
    ☑ / 🆗
    """
)
_FILLING = _phrases(
    """
    please / pls / plz / thanks / thank / you / the / it / this / that / is / was / a / an /
    to / my / i / me / code / number / answer / reply / sorry / hi / hello / dear / bank /
    sir / madam / again / and / for / payment / transfer / transaction / of / with /
    definitely / absolutely / sure / just / all / here / did / do / 我 / 的 / 了 /
    请 / 这 / 那 / 笔 / 个 / 付 / 款 / 付款 / 转账 / 交易 / 谢谢 / 啊 / 吧 / 呀 / 哦 / 嗯 /
    呢 / 代码 / 码 / 您好 / 你好 / 就 / 本人 / 这个 / 这笔
    """
)
_FILLER = frozenset(_FILLING)
# Words with a no in them that say neither: taken out first, and then nothing is clear.
_NEITHER = _phrases(
    """
    不知道 / 不知 / 不明白 / 不懂 / 看不懂 / 听不懂 / 不清楚 / 不太清楚 / 不太明白 / 不好意思 /
    不客气 / 不客氣 / 不用谢 / 不用謝 / 不过 / 不過 / 不一定 / 不确定 / 不確定 / 差不多 /
    来不及 / 没关系 / 沒關係 / 没想好 / 没收到 / 没看到 / 没看懂 / not sure / yeah right /
    yeah, right
    """
)
_CONTRARY = re.compile(
    r"\b(?:if|but|unless|maybe|perhaps|tomorrow|later|wait|problem|idea|matter)\b"
)
# "is it yes", "was that me": a question whose mark was left out.
_INVERTED = re.compile(
    r"(?:^|[.,;!]|\b(?:hi|hello|dear|bank|sorry|please|ok|okay))\W*"
    r"(?:is|was|did|do|does|are|should|can|could|would|will)\s+(?:it|this|that|the|you|i|my|me)\b"
)
_STRUCK = re.compile("[\u0334-\u0338\u20d2\u20d3\u20d8-\u20da\u20e0\u20e5\u20ea\u20eb]|~[^~]+~")
_FRIENDLY = frozenset("🙏🙂😊😀😄☺🎉❤💯©®°~^+=$|")
_LATIN = re.compile(r"[a-z']+")
_CODE = re.compile(r"(?<!\d)\d(?:[ \-.]?\d){5}(?!\d)")
_QUESTION = re.compile(r"[?？]|吗|嗎|么$")


def understand(text: str) -> Meaning:
    """Read one text. It never raises, and never guesses."""
    flat = _flatten(text)
    codes = list(dict.fromkeys(re.sub(r"\D", "", found) for found in _CODE.findall(flat)))
    code = codes[0] if len(codes) == 1 else None
    words = _CODE.sub(" ", flat)
    several = len(codes) > 1 or bool(re.search(r"\d{4,}", words))
    kind, reason = _classify(words)
    if kind == "confirm" and (len(codes) > 1 or _STRUCK.search(text[:1000])):
        kind = "unclear"
    return Meaning(kind, reason, code, several)


def numbers(text: str) -> tuple[int, ...]:
    """Read the numbers of a list's lines that a text names, beside the code; each once."""
    words = _CODE.sub(" ", _flatten(text))
    found = (int(one) for one in re.findall(r"(?<!\d)\d{1,2}(?!\d)", words))
    return tuple(dict.fromkeys(found))


def _flatten(text: str) -> str:
    lines = [line for line in text[:1000].splitlines() if not line.lstrip().startswith((">", "＞"))]
    flat = unicodedata.normalize("NFKC", "\n".join(lines)).casefold()
    if not flat.isascii():
        flat = "".join(
            str(unicodedata.digit(char)) if unicodedata.category(char) == "Nd" else char
            for char in flat
            if unicodedata.category(char) not in {"Cf", "Mn"}
        )
    return flat.replace("’", "'").replace("`", "'").replace("´", "'")


def _classify(words: str) -> tuple[Kind, Reason | None]:
    left = f" {re.sub(r'[_#*]', ' ', words)} "
    found: dict[str, bool] = {}
    for name, phrases in _ORDER:
        for phrase, pattern in phrases:
            if phrase not in left:
                continue
            if pattern is None:
                left, found[name] = left.replace(phrase, " "), True
            else:
                left, count = pattern.subn(" ", left)
                found[name] = found.get(name, False) or count > 0
    if not found.get("no") and not found.get("yes"):
        left, name = _typo(left)
        found[name] = True
    return _weigh(found, left, words)


def _weigh(found: dict[str, bool], left: str, words: str) -> tuple[Kind, Reason | None]:
    yes, no = found.get("yes", False), found.get("no", False)
    not_me, cancel, freeze = (found.get(name, False) for name in ("not_me", "cancel", "freeze"))
    asked = bool(_QUESTION.search(words)) or bool(_CONTRARY.search(words))
    unknown = [w for w in re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)?", left) if w not in _FILLER]
    if freeze and not yes:
        return "freeze", "not_me"
    if found.get("human") and not yes:
        return "human", None
    if yes and (not_me or cancel or no or freeze):
        return "unclear", None
    if not_me:
        return ("unclear", None) if asked and not no else ("deny", "not_me")
    if cancel:
        return ("unclear", None) if asked else ("deny", "cancel")
    if no:
        vague = asked or found.get("neither") or len(unknown) > 6
        return ("unclear", None) if vague else ("deny", None)
    if yes and not (asked or unknown or found.get("human") or found.get("neither")):
        plain = not _INVERTED.search(words) and not _strange(left)
        return ("confirm", None) if plain else ("unclear", None)
    return "unclear", None


def _strange(left: str) -> bool:
    """Say whether a number or a picture is left that nobody has understood."""
    return any(
        char.isnumeric() or (unicodedata.category(char)[0] == "S" and char not in _FRIENDLY)
        for char in left
    )


def _made(phrases: tuple[str, ...]) -> "_Phrases":
    return tuple(
        (one, re.compile(rf"(?<![a-z']){re.escape(one)}(?![a-z'])") if one.isascii() else None)
        for one in sorted(phrases, key=len, reverse=True)
    )


_Phrases = tuple[tuple[str, re.Pattern[str] | None], ...]
_GREETING = ("您好", "你好")  # before the 好 that says yes
_CLASSES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("greeting", _GREETING),
    ("freeze", _FREEZE), ("human", _HUMAN), ("not_me", _NOT_ME), ("cancel", _CANCEL),
    ("neither", _NEITHER),
)  # fmt: skip
# Yes and no are one class of phrases: the longest goes first, whichever it says.
_EITHER = {phrase: name for name, of in (("no", _NO), ("yes", _YES)) for phrase in of}
_ORDER: tuple[tuple[str, _Phrases], ...] = (
    *((name, _made(phrases)) for name, phrases in _CLASSES),
    *((_EITHER[phrase], ((phrase, pattern),)) for phrase, pattern in _made(tuple(_EITHER))),
)


def _typo(left: str) -> tuple[str, str]:
    """Forgive one slip of the finger in a longer word; never one that could be either."""
    for word in _LATIN.findall(left):
        if len(word) < 3 or word in _FILLER:
            continue
        near = {
            name
            for name, targets in (
                ("yes", ("yes", "confirm", "confirmed")),
                ("no", ("nope", "deny", "denied", "decline", "reject")),
                ("cancel", ("cancel",)),
            )
            for target in targets
            if _long_enough(word, target) and word[0] == target[0] and one_off(word, target)
        }
        if len(near) == 1:
            return left.replace(word, " ", 1), near.pop()
    return left, "none"


def _long_enough(word: str, target: str) -> bool:
    """A short word with a letter missing could be anything."""
    return len(word) >= 5 or (len(word) == 4 and len(target) <= 4)


def one_off(word: str, target: str) -> bool:
    """Say whether at most one insertion, deletion, exchange or swap of neighbours lies between."""
    if abs(len(word) - len(target)) > 1:
        return False
    if len(word) == len(target):
        off = [i for i in range(len(word)) if word[i] != target[i]]
        swapped = len(off) == 2 and off[1] == off[0] + 1
        crossed = swapped and word[off[0]] == target[off[1]] and word[off[1]] == target[off[0]]
        return len(off) <= 1 or crossed
    longer, shorter = (word, target) if len(word) > len(target) else (target, word)
    return any(longer[:i] + longer[i + 1 :] == shorter for i in range(len(longer)))
