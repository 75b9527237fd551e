"""What nobody should have sent is cut out, and only that."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notifiers.scrub import Cut, scrub


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("我的验证码是 384920", "384920"),
        ("my code is 384920", "384920"),
        ("384-920", "384-920"),
        ("3 8 4 9 2 0", "3 8 4 9 2 0"),
        ("３８４９２０", "３８４９２０"),
        ("三八四九二零", "三八四九二零"),
        ("③⑧④⑨②⓪", "③⑧④⑨②"),
        ("3\u200b8\u200b4\u200b9\u200b2\u200b0", "4\u200b9"),
        ("three eight four nine two zero", "eight four"),
        ("PIN 1234", "1234"),
        ("4111 1111 1111 1111", "1111"),
        ("my password is hunter2", "hunter2"),
        ("Password: correcthorse", "correcthorse"),
        ("密码是abc123xyz", "abc123xyz"),
        ("otp=77a21", "77a21"),
        ("call +86 138 0013 8000", "8000"),
        ("three 8 four 9 two zero", "four 9"),
        ("我的验证码是 384920，密码是 abcdwxyz", "abcdwxyz"),
        ("我的验证码是384920，密码是abcdwxyz", "abcdwxyz"),
        ("my PIN is 1234,password: wxyzabcd", "wxyzabcd"),
        ("pin:1234;otp:zzzzyyyy and my password is correcthorse", "correcthorse"),
        ("我的密碼是abc123xyz", "abc123xyz"),
        ("hunter2 is my password", "hunter2"),
        ("abc123xyz是我的密码", "abc123xyz"),
        ("動態碼 77a21b", "77a21b"),
    ],
)
def test_a_secret_is_cut(text: str, secret: str) -> None:
    kept, cuts = scrub(text)
    assert secret not in kept
    assert cuts


def test_the_questions_own_code_stays_and_another_one_goes() -> None:
    assert scrub("YES 384920", {"384920"}) == ("YES 384920", ())
    for spelt in ("3 8 4 9 2 0", "384-920", "otp 384920", "３８４９２０"):
        assert scrub(f"YES {spelt}", {"384920"}) == (f"YES {spelt}", ())
    assert "abcd" not in scrub("my password is 384920abcd", {"384920"})[0]
    kept, cuts = scrub("YES 384920 and my otp 551234", {"384920"})
    assert kept == "YES 384920 and my otp [otp]"
    assert cuts == (Cut("otp", 22, 6),)
    kept, _ = scrub("YES 384920 551234", {"384920"})
    assert "551234" not in kept
    assert "384920" in kept


def test_a_card_number_is_named_as_one() -> None:
    _, cuts = scrub("card 4111 1111 1111 1111 please")
    assert [cut.type for cut in cuts] == ["pan"]


def test_cuts_say_where_they_stood_in_the_text_as_it_came() -> None:
    text = "a 1234 b 567890 c"
    _, cuts = scrub(text)
    assert [text[cut.offset : cut.offset + cut.length] for cut in cuts] == ["1234", "567890"]


def test_ordinary_words_and_small_numbers_stay() -> None:
    for text in (
        "NO",
        "yes it is my payment",
        "yes I paid 50 to 3 people",
        "不是我",
        "cancel it, 我没付",
    ):
        assert scrub(text) == (text, ())


@settings(deadline=None)
@given(st.text(max_size=60), st.from_regex(r"[0-9]{4,19}", fullmatch=True), st.text(max_size=60))
def test_no_run_of_four_digits_survives(before: str, digits: str, after: str) -> None:
    kept, cuts = scrub(f"{before} {digits} {after}")
    assert digits not in kept
    assert cuts == tuple(sorted(cuts, key=lambda cut: cut.offset))


@settings(deadline=None)
@given(st.text(max_size=300))
def test_cuts_never_overlap_and_lie_within_the_text(text: str) -> None:
    _, cuts = scrub(text)
    end = 0
    for cut in cuts:
        assert cut.offset >= end
        end = cut.offset + cut.length
    assert end <= len(text)


NAMES = (
    "password",
    "Password",
    "PIN",
    "passcode",
    "otp",
    "密码",
    "验证码",
    "驗證碼",
    "口令",
    "动态码",
)
LINKS = (" is ", ": ", "=", " ", "是", "：", " - ", " 是 ", " was: ", "为")
AROUND = st.text(alphabet="ab 我的是，。,.;:!?\n“”()密码12", max_size=12)


@settings(max_examples=1500, deadline=None)
@given(
    AROUND,
    st.sampled_from(NAMES),
    st.sampled_from(LINKS),
    st.from_regex(r"[a-z][a-z0-9]{5,12}", fullmatch=True),
    AROUND,
)
def test_what_is_named_a_secret_is_cut_whatever_stands_around_it(
    before: str, name: str, link: str, value: str, after: str
) -> None:
    kept, _ = scrub(f"{before} {name}{link}{value} {after}", {"384920"})
    assert value not in kept
