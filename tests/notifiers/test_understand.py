"""What people type is understood, or asked again; never guessed."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notifiers.understand import Meaning, understand

CODE = "384920"
CORPUS = [
    tuple(line.split("\t", 1))
    for line in (Path(__file__).parent / "answers.tsv").read_text().splitlines()
    if line and not line.startswith("#")
]


def name(meaning: Meaning) -> str:
    if meaning.kind == "deny" and meaning.reason:
        return f"deny_{meaning.reason}"
    return meaning.kind


@pytest.mark.parametrize(("expected", "text"), CORPUS)
def test_the_corpus_is_understood(expected: str, text: str) -> None:
    meaning = understand(text.replace("CODE", CODE))
    assert name(meaning) == expected
    if text.count("CODE") and " 123456" not in text:
        assert meaning.code == CODE


def test_the_corpus_has_no_confusion_between_yes_and_no(record_property: object) -> None:
    table = Counter(
        (expected, name(understand(text.replace("CODE", CODE)))) for expected, text in CORPUS
    )
    assert sum(table.values()) >= 200
    for expected, got in table:
        if got == "confirm":
            assert expected == "confirm"
        if got.startswith("deny"):
            assert expected.startswith("deny")


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
