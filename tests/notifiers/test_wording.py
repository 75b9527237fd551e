"""What the bank says: complete in every language, and refused when it is not."""

import re
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import orjson
import pytest
import yaml
from babel.numbers import format_currency
from hypothesis import given, settings
from hypothesis import strategies as st

from notifiers import bind
from notifiers.errors import BadTemplate
from notifiers.facts import Ask, Closing, Outgoing, Payee
from notifiers.stanzas import message, write
from notifiers.templates_lint import FRAGMENTS, KNOWN, SAYINGS, STATES
from notifiers.wording import House, Wording, amount, read_texts, reference
from tests.notifiers import stage

HOUSE = House("Example Bank", "95588", "http://localhost:8080")
WORDING = Wording.load(stage.TEMPLATES, HOUSE)
LANGUAGES = ("en", "zh-CN")
ASK = Ask.from_stream(
    "1-0",
    stage.make_ask("cus_x")
    | {"created": "2026-11-21T12:40:00Z", "expires": "2026-11-21T12:47:00Z", "id": "ch_abcdefgh1"},
)
PAYEE = Payee("ACME Trading", "6222020200011234")


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_question_names_institution_purpose_reference_and_callback(language: str) -> None:
    body = WORDING.ask(language, "Asia/Shanghai", ASK, PAYEE, "384920", "")
    purpose = {"en": "to protect your account", "zh-CN": "保护您的账户"}[language]
    for part in ("Example Bank", purpose, "R-ABCD-EFGH", "95588", "9,800.00", "ACME", "1234"):
        assert part in body
    assert "20:47" in body, "the deadline, in the customer's own zone"
    assert body.count("384920") == 2, "confirm and deny carry the same weight"
    assert "http" not in body


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    "state", ["confirmed", "denied", "expired", "unreachable", "withdrawn", "x"]
)
def test_a_closing_repeats_the_question_and_holds_no_code(language: str, state: str) -> None:
    closing = Closing(ASK.id, state, "approve", "2026-11-21T12:47:00Z")
    body = WORDING.close(language, "Asia/Shanghai", ASK, PAYEE, closing)
    for part in ("Example Bank", "9,800.00", "ACME", "R-ABCD-EFGH", "20:47", "20:40"):
        assert part in body
    assert not re.search(r"(?<!\d)\d{6}(?!\d)", body)


@pytest.mark.parametrize("language", LANGUAGES)
def test_whatever_is_said_says_who_speaks_and_whom_to_call(language: str) -> None:
    """Every text, filled as it would be: none may be sent without its sender."""
    own = "示例银行" if language == "zh-CN" else "Example Bank"
    wording = Wording.load(
        stage.TEMPLATES, House("Example Bank", "95588", names={"zh-CN": "示例银行"})
    )
    zone, values = "Asia/Shanghai", dict.fromkeys(KNOWN - {"institution"}, "x")
    contacts = [
        wording.ask(language, zone, ASK, PAYEE, "384920", "https://bank.example/c/x"),
        wording.sealed(language, zone, ASK).text,
    ]
    purpose = str(wording.texts(language).raw["purpose"])
    assert all(purpose in text for text in contacts)
    for state in STATES:
        closing = Closing(ASK.id, state, "approve", "2026-11-21T12:47:00Z")
        contacts.append(wording.closed(language, zone, ASK, PAYEE, closing, "ab" * 32).text)
        contacts.append(wording.sealed(language, zone, ASK, closing=closing).text)
    for text in contacts:
        for part in (own, "95588", "R-ABCD-EFGH"):
            assert part in text, text
    replies = set(wording.texts(language).raw["say"]) - FRAGMENTS
    assert replies >= set(SAYINGS) - FRAGMENTS
    for what in sorted(replies):
        assert own in wording.say(language, what, **values), what


def test_an_unknown_language_falls_back() -> None:
    assert WORDING.texts("zh-TW").language == "zh-CN"
    assert WORDING.texts("fr").language == "en"


def test_an_unknown_zone_is_told_in_utc() -> None:
    assert "12:47" in WORDING.ask("en", "Mars/Olympus", ASK, PAYEE, "384920", "")


@pytest.mark.parametrize(
    ("value", "currency", "language", "said"),
    [
        ("9800.00", "CNY", "en", "9,800.00 CNY"),
        ("9800.00", "CNY", "zh-CN", "人民币 9,800.00 元"),
        ("1500000", "JPY", "zh-CN", "1,500,000 日元"),
        ("0.500", "BHD", "en", "0.500 BHD"),
    ],
)
def test_amounts_are_written_as_people_read_them(
    value: str, currency: str, language: str, said: str
) -> None:
    assert amount(WORDING.texts(language), value, currency) == said


@pytest.mark.parametrize(
    "pattern", ["#,##0.00 ¤¤", "¤#,##0.00;(¤#,##0.00)", "0.00# 'it''s' ¤", "¤¤¤ 0"]
)
@pytest.mark.parametrize("currency", ["CNY", "JPY", "KWD", "XAU"])
@pytest.mark.parametrize("value", ["0", "1", "1234567", "-3"])
def test_an_amount_is_written_as_cldr_writes_it(pattern: str, currency: str, value: str) -> None:
    for texts in WORDING.all:
        told = replace(texts, raw={**texts.raw, "currencies": {}, "amount": pattern})
        usual = format_currency(Decimal(value), currency, pattern, locale=texts.locale)
        assert amount(told, value, currency) == usual


@settings(deadline=None)
@given(st.text(max_size=60), st.text(max_size=30))
def test_a_payees_name_never_changes_the_frame_of_the_question(name: str, account: str) -> None:
    body = WORDING.ask("en", "UTC", ASK, Payee(name, account), "384920", "")
    lines = body.split("\n")
    assert len(lines) == 5
    assert lines[1] == "Reply YES 384920 to confirm or NO 384920 to deny."
    assert body.count("384920") == 2


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda raw: raw.update(ask=raw["ask"].replace("{institution}", "We")), "institution"),
        (lambda raw: raw.update(ask=raw["ask"].replace("{callback}", "us")), "callback"),
        (lambda raw: raw.update(ask=raw["ask"].replace("{reference}", "")), "reference"),
        (lambda raw: raw.update(ask=raw["ask"] + " {password}"), "unknown"),
        (lambda raw: raw.update(ask=raw["ask"] + " https://evil.example"), "link"),
        (lambda raw: raw.update(close=raw["close"] + " {code}"), "code"),
        (lambda raw: raw["labels"].pop("deny"), "deny"),
        (lambda raw: raw["say"].pop("unclear"), "unclear"),
        (lambda raw: raw.update(ask=raw["ask"] + " {0.__class__}"), "unknown"),
        (lambda raw: raw.update(format=1), "format"),
    ],
)
def test_a_bad_text_is_refused_with_its_rule(change: object, rule: str, tmp_path: Path) -> None:
    raw = yaml.safe_load((stage.TEMPLATES / "en.yaml").read_text())
    change(raw)  # type: ignore[operator]
    path = tmp_path / "en.yaml"
    path.write_text(yaml.safe_dump(raw, allow_unicode=True))
    with pytest.raises(BadTemplate, match=rule):
        read_texts(path)


def test_a_reference_is_short_and_no_code() -> None:
    assert reference("ch_abcdefgh1") == "R-ABCD-EFGH"
    assert not re.search(r"\d{6}", reference("ch_12345678901234"))


def test_a_changed_amount_or_payee_changes_code_and_digest() -> None:
    asked = bind.question(ASK, PAYEE)
    other = orjson.loads(asked) | {"amount": "9800.01"}
    changed = orjson.dumps(other, option=orjson.OPT_SORT_KEYS)
    assert bind.digest(asked) != bind.digest(changed)
    assert bind.code(b"k" * 32, asked) != bind.code(b"k" * 32, changed)
    assert bind.digest(asked) != bind.digest(bind.question(ASK, Payee("ACME Trading", "1")))


@settings(deadline=None)
@given(st.integers(min_value=1, max_value=200))
def test_codes_are_redrawn_until_they_are_free(number: int) -> None:
    asked = bind.question(ASK, PAYEE)
    taken = {bind.code(b"k" * 32, asked, draw) for draw in range(number)}
    draw, code = bind.draw_code(b"k" * 32, asked, taken)
    assert code not in taken
    assert bind.code(b"k" * 32, asked, draw) == code
    assert re.fullmatch(r"\d{6}", code)


@settings(deadline=None)
@given(st.text(max_size=200), st.text(max_size=40))
def test_any_body_makes_a_well_formed_stanza(body: str, payee: str) -> None:
    import xml.etree.ElementTree as ET

    outgoing = Outgoing(
        "k", "ch_1", "ask", "ann@bank.example", body, "1.00", "CNY", payee, "2026", "b"
    )
    text = write(message(outgoing, stage.BOT_FULL, stage.BOT_FULL))
    parsed = ET.fromstring(text)
    assert parsed.get("from") == stage.BOT_FULL
    assert "jabber:x:data" not in text
