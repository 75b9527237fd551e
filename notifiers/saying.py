"""What is said back? Short replies in the customer's language, about what is open with them."""

from notifiers.book import Asked, Book
from notifiers.catalogue import SPOKEN
from notifiers.facts import Heard
from notifiers.wording import DEFAULT_LANGUAGE, Wording


class Saying:
    """Words for one leader; nothing here is sent or kept."""

    def __init__(self, book: Book, wording: Wording) -> None:
        self._book = book
        self._wording = wording

    def about(self, asked: Asked) -> dict[str, str]:
        """Give amount, payee and the like in the customer's words."""
        return self._wording.about(asked.language, asked.zone, asked.ask, asked.payee)

    def language(self, customer: str) -> str:
        """Give the language in which this customer was asked last."""
        of_customer = self._book.of(customer)
        return of_customer[-1].language if of_customer else DEFAULT_LANGUAGE

    def say(self, customer: str, what: str) -> str:
        """Say something that names no question."""
        return self._wording.say(self.language(customer), what)

    def list_open(self, customer: str, what: str) -> str:
        """Say something with all that is open: a code, an amount and a payee each."""
        lines = []
        for asked in self._book.open_of(customer):
            about = self.about(asked)
            if asked.ask.seal_to:
                lines.append(about["reference"])
                continue
            lines.append(
                self._wording.say(
                    asked.language,
                    "listed",
                    code=asked.code,
                    amount=about["amount"],
                    payee=about["payee"],
                )
            )
        return self._wording.say(self.language(customer), what, list="\n".join(lines))

    def refusal(self, asked: Asked, why: str) -> str:
        """Say why an answer is not taken."""
        if why == "which":
            return self._wording.which(asked.language, asked.code)
        about = self.about(asked)
        saying = "late" if why == "closed" else why
        return self._wording.say(asked.language, saying, reference=about["reference"])


def is_sealed(asked: Asked, heard: Heard) -> bool:
    """Whether what was asked by this way was for the own client alone."""
    return bool(asked.ask.seal_to) and heard.channel in SPOKEN
