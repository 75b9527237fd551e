"""A payee's name can do nothing inside the bank's own message."""

import re
import unicodedata

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from notifiers.facts import Ask, Payee
from notifiers.foreign import LONGEST, clean, quote, tail
from notifiers.understand import understand
from notifiers.wording import House, Wording
from tests.notifiers import stage

ATTACKS = [
    "Reply YES 123456 to confirm",
    "Y\u200bE\u200bS 123456",
    "ＹＥＳ １２３４５６",
    "ҮЕЅ 123456",
    "https://evil.example/login",
    "evil.example",
    "www.evil.example",
    "evil。example",
    "mailto:x@evil.example",
    "tel:+123456789",
    'ACME" confirmed. “Now',
    "ACME\nReference R-0000",
    "ACME\u202egnidaeh",
    "回复是 123456 确认",
    "1 2 3 4 5 6",
    "１２３４５６",
    "1\u20e32\u20e33\u20e34\u20e35\u20e36\u20e3",
    "YE5 384920",
    "N0",
    "0k",
    "C0NFIRM",
    "Y E S",
    "Y-E-S",
    "c.o.n.f.i.r.m",
    "ոօ",
    "ʏᴇꜱ",
    "ᎩᎬᏚ",
    "үeѕ",
    "confirm ed",
    "\u2066YES\u2069",
    "A\u2028B\u2029C\u0085D\vE\fF",
    "‘YES’ “NO” «OK» 「是」",
    "回复“是 384920”",
    "{code} {callback}",
    "x" * 1000,
    "\ud7ff\uffff",
    "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢L̠ͨͧͩ͘G̴̻͈͍͔̹̑͗̎̅͛́Ǫ̵̹̻̝̳͂̌̌͘!͖̬̰̙̗̿̋ͥͥ̂ͣ̐́́͜͞",
]

DANGEROUS = (
    *("YES", "no", "ＮＯ", "https", ":", "//", "evil", ".", "com", "4", "42", "１", "是", "确认"),
    *("“", "”", "-", "_", "YЕS", "\u0301", "℡", "🄽", "\u202e", "\u200b", "\n", "\u2028", " "),
)


def harmless(text: str) -> None:
    inside = clean(text)
    assert len(inside) <= LONGEST
    assert not re.search(r"\d(?:[\W_]{0,2}\d){3,}", inside), "it could be a code"
    assert "\n" not in inside
    assert "\r" not in inside
    for char in inside:
        assert unicodedata.category(char)[0] != "C", f"control {char!r}"
        assert char not in '“”"«»', "it could end the quotation"
    assert not re.search(r"(?i)(?<![^\W_])(yes|no|confirm|deny)(?![^\W_])", inside)
    assert not re.search(r"(?i)[a-z]+:(?=[/\w])|//|\bwww\b|\w\.\w", inside), "it could be a link"
    for word in ("确认", "拒绝"):
        assert word not in inside
    assert not re.search(r"(?<![^\W\d_])[是否](?![^\W\d_])", inside)
    assert understand(f"{inside} 384920").kind != "confirm"
    assert quote(text) == f"“{inside}”"


@pytest.mark.parametrize("text", ATTACKS)
def test_an_attackers_name_is_harmless(text: str) -> None:
    harmless(text)


NAMES = st.one_of(
    st.text(max_size=120),
    st.lists(st.sampled_from(DANGEROUS), max_size=24).map("".join),
    st.tuples(st.sampled_from(ATTACKS), st.text(max_size=20), st.sampled_from(ATTACKS)).map(
        "".join
    ),
)


@settings(max_examples=1000, deadline=None)
@given(NAMES)
@example("Å")
def test_any_name_is_harmless(text: str) -> None:
    harmless(text)


WORDING = Wording.load(stage.TEMPLATES, House("Example Bank", "95588"))
ASK = Ask.from_stream(
    "1-0",
    stage.make_ask("cus_x")
    | {"created": "2026-11-21T12:40:00Z", "expires": "2026-11-21T12:47:00Z", "id": "ch_abcdefgh1"},
)
CODE = "384920"


def said(language: str, name: str) -> str:
    return WORDING.ask(language, "Asia/Shanghai", ASK, Payee(name, "6222020200011234"), CODE, "")


def frame(text: str, name: str) -> tuple[str, str]:
    """The bank's words before and after the quotation."""
    quoted = quote(name)
    before, found, after = text.partition(quoted)
    assert found, f"the name must stand in quotation marks: {quoted}"
    return before, after


FRAMES = {one: frame(said(one, "ACME Trading"), "ACME Trading") for one in ("en", "zh-CN")}


@settings(max_examples=10_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(NAMES.filter(lambda name: bool(name.strip())), st.sampled_from(["en", "zh-CN"]))
def test_ten_thousand_names_never_change_what_the_message_means(name: str, language: str) -> None:
    """The bank's words stand as they are; the name is one line in quotes that can do nothing."""
    text = said(language, name)
    assert frame(text, name) == FRAMES[language]
    assert text.count(CODE) == 2
    assert text.count("\n") == 4
    assert understand(text).kind == "unclear", "echoed back it is no answer"
    harmless(name)


@settings(deadline=None)
@given(st.text(max_size=80))
def test_a_name_alone_never_answers(text: str) -> None:
    assert understand(f"{quote(text)} 384920").kind != "confirm"


def test_an_honest_name_stays_as_it_is() -> None:
    for name in ("Иван Петров", "Νίκος Παπαδόπουλος", "Nokia Oyj", "Yesim Kaya", "Յուրի Հակոբյան"):
        assert clean(name) == name
    for name in ("ACME Trading Ltd", "王小明", "Müller & Söhne GmbH", "Café 21", "张伟（北京）"):
        assert clean(name) == unicodedata.normalize("NFKC", name)


def test_an_account_is_known_by_its_last_four() -> None:
    assert tail("6222 0202 0001 1234") == "1234"
    assert tail("DE89-3704") == "3704"
    assert tail("") == ""
