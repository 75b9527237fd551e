"""What people type is understood, or asked again; never guessed."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notifiers import understand as words
from notifiers.confusion import CODE, count, drawn, name, precision, read
from notifiers.understand import Meaning, understand

HERE = Path(__file__).parent
CORPUS = read(HERE / "answers.tsv")
UNSEEN = read(HERE / "answers_unseen.tsv")
YES = words._phrases(
    """
    I confirm / it was me / yes / y / yep / ok / confirm / correct / ✅ / 👍 / 是 / 是的 / 是我 /
    对 / 好 / 好的 / 可以 / 确认 / 確認 / 同意 / 没错 / 没问题
    """
)
NOT = words._phrases(
    """
    refuse to / unable to / not / no / don't / didn't / never / cannot / can't / won't / non / un /
    without / nor / neither / hardly / false / nope / 🙅 / ❌ / 👎 / 不 / 没 / 未 / 非 / 无 / 勿 /
    别 / 莫 / 否 / 拒 / 假 / 错 / 不能 / 无法 / 尚未 / 从未 / 并不 / 并非 / 绝不 / 不是 / 不想 /
    拒绝 / 反对 / 取消 / 不敢 / 怎么 / 谁
    """
)
ASKS = ("?", "？", "吗", "么？", " or no", " if", "/no", "还是否", "不对", "不是", "不好")
HARMLESS = ("please", "thanks", "the", "this", "payment", "我", "了", "谢谢", "啊", ",", "!", " ")


@pytest.mark.parametrize(("expected", "text"), CORPUS)
def test_the_corpus_is_understood(expected: str, text: str) -> None:
    meaning = understand(text)
    assert name(meaning) == expected
    if CODE in text and " 123456" not in text:
        assert meaning.code == CODE


@pytest.mark.parametrize("corpus", [CORPUS, UNSEEN], ids=["seen", "unseen"])
def test_no_corpus_has_a_confirm_that_is_none_or_a_yes_for_a_no(
    corpus: list[tuple[str, str]],
) -> None:
    table = count(corpus)
    assert precision(table) == 1.0, drawn(table)
    for expected, got in table:
        assert not (expected == "confirm" and got.startswith(("deny", "freeze"))), drawn(table)


def test_the_corpora_are_large_and_most_unseen_answers_are_understood() -> None:
    assert len(CORPUS) >= 200
    table = count(UNSEEN)
    right = sum(number for (meant, got), number in table.items() if meant == got)
    assert right >= 0.9 * len(UNSEEN), drawn(table)


def test_the_confusion_table_is_printed() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "notifiers.confusion", str(HERE / "answers.tsv")],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert drawn(count(CORPUS)) in done.stdout
    assert f"{len(CORPUS)} of {len(CORPUS)} as meant; precision of confirm 1.000" in done.stdout


@pytest.mark.parametrize("yes", YES)
def test_a_plain_yes_with_its_code_is_a_confirm(yes: str) -> None:
    assert understand(f"{yes} {CODE}") == Meaning("confirm", None, CODE)


@pytest.mark.parametrize("no", NOT)
def test_a_yes_with_a_no_anywhere_is_never_a_confirm(no: str) -> None:
    for text in [text for yes in YES for text in joined(no, yes)]:
        for whole in (f"{text} {CODE}", f"{CODE} {text}", f"{text}{CODE}", f"我{text} {CODE}"):
            assert understand(whole).kind != "confirm", whole


def joined(no: str, yes: str) -> list[str]:
    whole = [f"{no} {yes}", f"{no}{yes}", f"{yes} {no}", f"{yes}，{no}", f"{no}，{yes}"]
    return [text for text in whole if "没错" not in text]  # "no mistake": the one that is a yes


@pytest.mark.parametrize("asks", ASKS)
def test_a_yes_that_asks_is_never_a_confirm(asks: str) -> None:
    for yes in YES:
        for whole in (f"{yes}{asks} {CODE}", f"{CODE} {yes}{asks}", f"{yes} {CODE}{asks}"):
            assert understand(whole).kind != "confirm", whole


@settings(max_examples=2000, deadline=None)
@given(
    st.lists(st.sampled_from((*YES, *HARMLESS)), max_size=5),
    st.sampled_from(NOT),
    st.lists(st.sampled_from((*YES, *HARMLESS)), max_size=5),
    st.sampled_from(("", " ")),
)
def test_no_mixture_with_a_denying_word_is_a_confirm(
    before: list[str], no: str, after: list[str], between: str
) -> None:
    whole = between.join([*before, no, *after])
    if "没错" in whole or "没问题" in whole:
        return
    assert understand(f"{whole} {CODE}").kind != "confirm", whole


KNOWN = frozenset(
    word for group in (words._YES, words._FILLING) for phrase in group for word in phrase.split()
)


@settings(max_examples=1000, deadline=None)
@given(st.sampled_from(YES), st.from_regex(r"[a-z]{2,9}", fullmatch=True), st.booleans())
def test_a_yes_beside_a_word_that_nobody_knows_is_never_a_confirm(
    yes: str, word: str, first: bool
) -> None:
    if word not in KNOWN:
        text = f"{word} {yes} {CODE}" if first else f"{yes} {CODE} {word}"
        assert understand(text).kind != "confirm", text


@pytest.mark.parametrize("text", ["y̶e̶s̶", "~yes~", "~~yes~~", "yes⃠", "yeah, right", "is that yes"])
def test_a_struck_or_ironic_yes_is_no_confirm(text: str) -> None:
    assert understand(f"{text} {CODE}").kind == "unclear"


@pytest.mark.parametrize("text", ["YES 384 920", "yes 384-920", "YES 384.920", "是 ３８４９２０"])
def test_a_code_is_found_however_its_digits_are_written(text: str) -> None:
    assert understand(text) == Meaning("confirm", None, CODE)


def test_a_quoted_question_is_not_an_answer() -> None:
    quoted = "> Reply YES 384920 to confirm or NO 384920 to deny.\n"
    assert understand(quoted).kind == "unclear"
    assert understand(quoted + "no 384920").kind == "deny"


def test_our_own_question_echoed_back_is_no_answer() -> None:
    assert understand("Reply YES 384920 to confirm or NO 384920 to deny.").kind == "unclear"
    assert understand("回复“是 384920”表示确认，回复“否 384920”表示拒绝。").kind == "unclear"


@settings(deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_read_without_an_error(text: str) -> None:
    understand(text)


@settings(deadline=None)
@given(st.text(alphabet=st.characters(categories=["L", "Zs", "P"]), min_size=1, max_size=40))
def test_a_confirm_with_any_denying_word_is_never_a_confirm(text: str) -> None:
    assert understand(f"{text} no").kind != "confirm"
    assert understand(f"否 {text} {CODE}").kind != "confirm"
