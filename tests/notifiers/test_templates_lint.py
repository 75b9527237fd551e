"""A text that the bank may not send is refused, and told by file, line and rule."""

from pathlib import Path

import pytest

from notifiers.templates_lint import lint
from notifiers.wording import House, Wording
from tests.notifiers import stage

EN = (stage.TEMPLATES / "en.yaml").read_text(encoding="utf-8")
ZH = (stage.TEMPLATES / "zh-CN.yaml").read_text(encoding="utf-8")
ASK = "{institution} asks, {purpose}: did you just order"
REPLY = "Reply YES {code} to confirm or NO {code} to deny."


def told(text: str, *hosts: str) -> list[str]:
    return [str(one) for one in lint("x.yaml", text.encode(), hosts)]


def changed(old: str, new: str, text: str = EN) -> str:
    assert old in text
    return text.replace(old, new, 1)


def line_of(part: str, text: str) -> int:
    return text[: text.index(part)].count("\n") + 1


@pytest.mark.parametrize("text", [EN, ZH])
def test_the_shipped_texts_may_be_sent(text: str) -> None:
    assert told(text) == []


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("institution", "the text says who speaks"),
        ("purpose", "the text says why the bank writes"),
        ("reference", "the customer can name the matter on the telephone"),
        ("callback", "the customer can call the bank's own number"),
    ],
)
@pytest.mark.parametrize("entry", ["ask", "sealed"])
def test_a_contact_without_one_of_the_four_is_refused(name: str, why: str, entry: str) -> None:
    start = EN.index(f"\n{entry}: |-") + 1
    end = EN.index({"ask": "\nlink:", "sealed": "\nsealed_close:"}[entry], start)
    without = EN[:start] + EN[start:end].replace(f"{{{name}}}", "we") + EN[end:]
    assert f"x.yaml:{line_of(entry + ': |-', EN)}: {entry}: needed {{{name}}}: {why} [{name}]" in (
        told(without)
    )


def test_a_file_without_its_purpose_is_refused() -> None:
    text = changed("purpose: to protect your account\n", "")
    assert any("purpose: needed a text, got nothing" in one for one in told(text))


def test_a_reply_says_who_speaks() -> None:
    text = changed('wrong_code: "{institution}: no open', 'wrong_code: "No open')
    (finding,) = told(text)
    assert finding.startswith(f"x.yaml:{line_of('  wrong_code', EN)}: say.wrong_code: needed {{in")


@pytest.mark.parametrize(
    "link",
    [
        "https://evil.example/login",
        "http://bank.example/x",
        "https://bank.example@evil.example/",
        "https://bank.example.evil.example/",
        "https://bank.example:8443/",
        "https:\\\\bank.example\\@evil.example",
        "//evil.example/x",
        "www.evil.example",
        "evil-bank.com",
        "bank\u200b.com",
        "javascript:alert(1)",
        "mailto:a@b",
        "ｈｔｔｐｓ://evil.example",
        "https://bаnk.example/",
    ],
)
def test_a_link_to_a_foreign_host_is_refused(link: str) -> None:
    text = changed("Questions, or a person", f"See {link} Questions, or a person")
    findings = told(text, "bank.example")
    assert findings
    assert all("a link to" in one for one in findings)
    assert f"x.yaml:{line_of('Questions, or a person', EN)}: ask:" in findings[0]
    assert "(allowed hosts: bank.example; setting institution.hosts)" in findings[0]


def test_a_link_to_the_banks_own_host_may_be_sent() -> None:
    text = changed("Questions, or a person", "See https://bank.example/help Questions, or a person")
    assert told(text, "bank.example") == []
    assert told(text) != []


@pytest.mark.parametrize(
    "asks",
    [
        "Please reply with your password.",
        "Send us the verification code that you got.",
        "Enter your PIN to go on.",
        "What is the CVV on the back?",
        "Tell us your one-time code.",
        "Reply with your OTP",
        "P\u200bI\u200bN please",
        "ｐａｓｓｗｏｒｄ",
        "Never mind, your password is safe with us",
        "Never forget to tell us your password",
        "Do not hesitate to send the PIN",
        "We never ask for your password except now",
        "请回复您的验证码。",
        "请提供密码",
        "请输入支付密 码",
        "告诉我们卡号",
        "请输入PIN码",
        "提供OTP即可",
        "请回复CVV2",
        "不要忘记提供验证码",
        "请发送短信码，我们绝不外传",
        "動態碼",
    ],
)
def test_a_text_that_asks_for_a_secret_is_refused(asks: str) -> None:
    text = changed(
        "  Reference {reference}. Questions", f"  {asks}\n  Reference {{reference}}. Questions"
    )
    findings = told(text)
    assert findings
    assert all(one.endswith("[secret]") for one in findings)
    assert (
        f"x.yaml:{line_of('Reference {reference}. Questions', EN)}: ask: it asks for a secret"
        in (findings[0])
    )


@pytest.mark.parametrize(
    "warns",
    [
        "We never ask for your password.",
        "Please do not send passwords or codes to anyone.",
        "我行绝不会索取您的密码。",
        "请勿告诉任何人验证码",
    ],
)
def test_a_warning_of_secrets_may_be_sent(warns: str) -> None:
    old = "  Reference {reference}. Questions"
    assert told(changed(old, f"  {warns}\n{old}")) == []


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("confirm: Confirm", "confirm: CONFIRM", "of unequal case"),
        ("confirm: Confirm", "confirm: ✅ Confirm", "carries a sign that the other lacks"),
        ("confirm: Confirm", "confirm: Yes go ahead and pay", "of unequal length"),
        ("confirm: Confirm", "confirm: Easy yes", "speaks for itself"),
        (REPLY, "Reply *YES {code}* to confirm or NO {code} to deny.", "is made louder"),
        (REPLY, "Reply YES {code} to confirm.\n  Or NO {code} to deny.", "in one line"),
        (REPLY, "Reply YES {code} to confirm.", "stands in it 1 times, 'NO {code}' 0 times"),
        (
            REPLY,
            "Simply reply YES {code} to confirm or NO {code} to deny.",
            "'Simply' speaks for one",
        ),
        (
            REPLY,
            "Reply YES {code} to confirm (recommended) or NO {code} to deny.",
            "'recommend' speaks for one",
        ),
        (REPLY, REPLY + " Or YES {code}.", "stands in it 2 times"),
        (
            "To deny it, reply NO {code}.",
            "To deny it, call.",
            "'YES {code}' stands in it 1 times, 'NO {code}' 0 times",
        ),
    ],
)
def test_confirm_and_deny_of_unequal_weight_are_refused(old: str, new: str, why: str) -> None:
    findings = told(changed(old, new))
    assert findings
    assert all(one.endswith("[unequal]") for one in findings)
    assert any(why in one for one in findings), findings


def test_a_closing_with_a_code_is_refused() -> None:
    (finding,) = told(changed("Questions: {callback}.\nresults", "{code} {callback}.\nresults"))
    assert "{code} must go: the code may not stand in a closing message" in finding


def test_what_is_read_on_the_way_names_neither_amount_nor_payee() -> None:
    for name in ("amount", "payee", "code"):
        text = changed("please open the app yourself", f"please open the app, {{{name}}},")
        (finding,) = told(text)
        assert f"{{{name}}} must go" in finding


def test_an_unknown_name_and_an_open_brace_are_refused() -> None:
    (finding,) = told(changed("{institution} never asks", "{nonsense} never asks"))
    assert "unknown name {nonsense}" in finding
    assert f"x.yaml:{line_of('{institution} never asks', EN)}:" in finding
    assert any(
        "[braces]" in one for one in told(changed("{institution} never", "{institution never"))
    )
    assert any("unknown" in one for one in told(changed(" never asks", " {amount.x} never asks")))


def test_a_file_that_is_no_yaml_is_refused_with_its_line() -> None:
    (finding,) = told("format: 2\nask: [")
    assert finding.startswith("x.yaml:2: -: needed YAML in UTF-8")
    (finding,) = told(changed("format: 2", "format: 1"))
    assert "needed `format: 2`, got 1" in finding


def test_a_refused_file_leaves_its_language_to_the_shipped_texts(tmp_path: Path) -> None:
    """A bank's own bad text never goes out, and never silences the bank either."""
    (tmp_path / "zh-CN.yaml").write_text(changed("{callback}", "我们", ZH), encoding="utf-8")
    own = changed("version: 3", "version: 7").replace("just order", "order just now")
    (tmp_path / "en.yaml").write_text(own, encoding="utf-8")
    wording, refused = Wording.load_good([stage.TEMPLATES, tmp_path], House("Bank", "1"))
    assert wording.texts("en").id == "en/7"
    assert wording.texts("zh-CN").id == "zh-CN/3"
    (said,) = refused
    assert "zh-CN.yaml:" in said
    assert "needed {callback}" in said
