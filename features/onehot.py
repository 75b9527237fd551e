"""How does River's logistic regression learn when of each input one bin is on, and the rest off?

The same sums and steps as River's own over a dict of ones, to the last bit (a test holds it to
that): loss, rates and clipping are River's objects. Only the weights lie in one list, by place:
looking a hundred of them up by name, and stepping each by a call of its own, took most of a lesson.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from river import linear_model, optim


class OneHot(linear_model.LogisticRegression):
    """Logistic regression over places that are on, learnt by AdaGrad.

    ``places`` is how many there are; which are on is told as a sequence of them.
    """

    def __init__(self, rate: float, places: int) -> None:
        super().__init__(optimizer=optim.AdaGrad(rate))
        self.values = [0.0] * places
        self.squares = [0.0] * places  # AdaGrad's sums of squared gradients
        self._known: dict[int, None] = {}  # in the order in which they were first learnt

    def weigh(self, places: Sequence[int]) -> list[float]:
        """The weights of these places, in order; 0 of what was never learnt."""
        return list(map(self.values.__getitem__, places))

    def logit(self, weights: Sequence[float]) -> float:
        """Log odds of fraud, where these are the weights of what is on."""
        whole: float = 0.0
        for weight in weights:  # not sum(), which rounds otherwise from Python 3.12 on
            whole += weight
        return whole + float(self.intercept)

    def learn(self, hot: Sequence[int], fraud: bool) -> None:
        """One lesson: these places were on."""
        values, squares, optimizer = self.values, self.squares, self.optimizer
        gradient = self.loss.gradient(y_true=fraud, y_pred=self.logit(self.weigh(hot)))
        gradient = max(-self.clip_gradient, min(self.clip_gradient, gradient))
        self.intercept -= self.intercept_lr.get(optimizer.n_iterations) * gradient
        rate, least, square = optimizer.learning_rate, optimizer.eps, gradient**2
        for at in hot:
            before = squares[at]
            if not before:
                self._known[at] = None
            squares[at] = total = before + square
            values[at] -= rate / (total + least) ** 0.5 * gradient
        optimizer.n_iterations += 1

    def know(self, place: int, weight: float, square: float) -> None:
        """Give it what was known of a place."""
        self._known[place] = None
        self.values[place], self.squares[place] = weight, square

    def knows(self, place: int) -> bool:
        """Whether it ever learnt of a place."""
        return place in self._known

    def known(self) -> Iterator[tuple[int, float, float]]:
        """Place, weight and squares of what it ever learnt of, in the order of learning."""
        for at in self._known:
            yield at, self.values[at], self.squares[at]
