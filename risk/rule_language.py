"""What does an expression say? Reads the analysts' part of CEL into a tree with places.

The language is a part of CEL (Common Expression Language, https://cel.dev): comparisons,
``&& || !``, ``in``, ``+ - * /`` and ``? :``. No loops, no macros, no functions but the few of
`FUNCTIONS`, and a bounded size: what an expression may cost is known before it ever runs. One
thing is read more kindly than CEL reads it: a part of a dotted name may begin with a digit, as in
``customer.count.1h``, so that a feature is written by its own name.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Self

LONGEST = 4_000
LARGEST = 200
DEEPEST = 24
LIST = "list."
FUNCTIONS = ("money", "span")
COMPARISONS = ("==", "!=", "<=", ">=", "<", ">", "in")

_TOKEN = re.compile(
    r"""\s+ | (?P<comment>//[^\n]*)
    | (?P<number>\d+\.\d+(?:[eE][+-]?\d+)? | \d+(?![\w.]) )
    | (?P<text>"(?:[^"\\\n]|\\.)*" | '(?:[^'\\\n]|\\.)*')
    | (?P<quoted>`[^`\n]+`)
    | (?P<name>[A-Za-z_]\w*(?:\.\w+)*)
    | (?P<sign>&&|\|\||[<>=!]=|[-+*/<>!?:()\[\],])
    """,
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands: file, line, column, both from 1."""

    line: int
    column: int
    file: str = ""

    def __str__(self) -> str:
        where = f"line {self.line}, column {self.column}"
        return f"{self.file}: {where}" if self.file else where


class BadExpression(ValueError):
    """An expression that can't be used: where, what was needed, what was got."""

    def __init__(self, place: Place, needed: str) -> None:
        self.place, self.needed = place, needed
        super().__init__(f"{place}: {needed}")


class Source(str):
    """The text of an expression that knows where in a file it stands.

    ``raw`` is the part of the file as it is written, from ``line`` and ``column`` (from 1) on;
    places of errors are places in the file.
    """

    __slots__ = ("column", "file", "line", "raw")

    raw: str
    file: str
    line: int
    column: int

    def __new__(
        cls, text: str, raw: str | None = None, file: str = "", line: int = 1, column: int = 1
    ) -> Self:
        made = super().__new__(cls, text)
        made.raw, made.file, made.line, made.column = raw or text, file, line, column
        return made

    def place(self, offset: int) -> Place:
        """The place of an offset into ``raw``."""
        before = self.raw[:offset]
        line = before.count("\n")
        column = offset - before.rfind("\n") if line else offset + self.column
        return Place(self.line + line, column, self.file)


@dataclass(frozen=True, slots=True)
class Node:
    """A part of an expression; ``place`` is where it begins, and is no part of what it says."""

    place: Place = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Constant(Node):
    """A number, text, true, false, null; ``unit`` is money where it was written as ``money()``."""

    value: int | float | str | bool | None
    unit: str = ""
    written: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Name(Node):
    """A named value."""

    name: str


@dataclass(frozen=True, slots=True)
class Items(Node):
    """``[a, b, c]`` of constants."""

    items: tuple[Constant, ...]


@dataclass(frozen=True, slots=True)
class Not(Node):
    """``!x``"""

    of: Node


@dataclass(frozen=True, slots=True)
class Minus(Node):
    """``-x``"""

    of: Node


@dataclass(frozen=True, slots=True)
class Pair(Node):
    """Two sides and the sign between them: a comparison, ``&&``, ``||`` or arithmetic."""

    sign: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Either(Node):
    """``test ? yes : no``"""

    test: Node
    yes: Node
    no: Node


@dataclass(frozen=True, slots=True)
class Call(Node):
    """One of `FUNCTIONS` with a text; it is read away by the static check."""

    function: str
    argument: str


@dataclass(frozen=True, slots=True)
class Listed(Node):
    """``key in list.name``, as the static check leaves it."""

    key: str
    list: str

    @property
    def name(self) -> str:
        """What it is called among the values: true where the key's value stands on the list."""
        return f"{self.key} in {LIST}{self.list}"


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int


def _tokens(source: Source) -> Iterator[_Token]:
    raw, at = source.raw, 0
    while at < len(raw):
        found = _TOKEN.match(raw, at)
        if found is None or found.end() == at:
            near = raw[at : at + 12].split("\n")[0]
            hint = ""
            if raw[at] == "=":
                hint = "; to compare is =="
            elif raw[at] in "&|":
                hint = "; and is &&, or is ||"
            elif raw[at] in "\"'":
                hint = "; the text does not end on its line"
            elif raw[at].isdigit() or raw[at] == ".":
                hint = "; a number is written as 5 or 0.5"
            raise BadExpression(
                source.place(at), f"needed a name, a number or a sign, got {near!r}{hint}"
            )
        kind = found.lastgroup
        if kind is not None and kind != "comment":
            yield _Token(kind, found.group(), at)
        at = found.end()
    yield _Token("end", "", len(raw))


#: From the weakest to the strongest; signs of one row are read from the left.
_LEVELS = (("||",), ("&&",), COMPARISONS, ("+", "-"), ("*", "/"))


class _Reader:
    def __init__(self, source: Source) -> None:
        if len(source.raw) > LONGEST:
            got = f"needed at most {LONGEST} characters, got {len(source.raw)}"
            raise BadExpression(source.place(0), got)
        self._source = source
        self._tokens = list(_tokens(source))
        self._next = 0
        self._depth = 0
        if len(self._tokens) > LARGEST:
            got = f"needed at most {LARGEST} names, numbers and signs, got {len(self._tokens) - 1}"
            raise BadExpression(source.place(0), f"{got}; split the rule, and use hit.<rule>")

    @property
    def _here(self) -> _Token:
        return self._tokens[self._next]

    def _place(self, token: _Token) -> Place:
        return self._source.place(token.at)

    def _refuse(self, token: _Token, needed: str) -> BadExpression:
        got = repr(token.text) if token.kind != "end" else "the end"
        return BadExpression(self._place(token), f"needed {needed}, got {got}")

    def _take(self) -> _Token:
        token = self._here
        self._next += 1
        return token

    def _is(self, *signs: str) -> bool:
        here = self._here
        return here.text in signs and (here.kind == "sign" or here.text == "in")

    def _need(self, sign: str) -> _Token:
        if not self._is(sign):
            raise self._refuse(self._here, f"{sign!r}")
        return self._take()

    def whole(self) -> Node:
        made = self._either()
        if self._here.kind != "end":
            raise self._refuse(self._here, "a sign such as && or >=, or the end")
        return made

    def _either(self) -> Node:
        self._depth += 1
        if self._depth > DEEPEST:
            raise BadExpression(self._place(self._here), f"needed at most {DEEPEST} brackets deep")
        test = self._level(0)
        if self._is("?"):
            self._take()
            yes = self._either()
            self._need(":")
            test = Either(test.place, test, yes, self._either())
        self._depth -= 1
        return test

    def _level(self, number: int) -> Node:
        if number == len(_LEVELS):
            return self._one()
        left = self._level(number + 1)
        while self._is(*_LEVELS[number]):
            sign = self._take()
            right = self._level(number + 1)
            left = Pair(left.place, sign.text, left, right)
            if sign.text in COMPARISONS and self._is(*COMPARISONS):
                needed = "one comparison at a time: write a < b && b < c"
                raise BadExpression(self._place(self._here), f"needed {needed}")
        return left

    def _one(self) -> Node:
        token = self._take()
        place = self._place(token)
        if token.kind == "number":
            value = float(token.text) if re.search(r"[.eE]", token.text) else int(token.text)
            if isinstance(value, int) and value > 2**53:
                raise BadExpression(place, f"needed a number of at most {2**53}, got {token.text}")
            return Constant(place, value, "", token.text)
        if token.kind == "text":
            return Constant(place, _plain(token.text), "", token.text)
        if token.kind == "quoted":
            return Name(place, token.text[1:-1])
        if token.kind == "name":
            return self._named(token)
        return self._signed(token)

    def _signed(self, token: _Token) -> Node:
        place = self._place(token)
        if token.text == "(":
            made = self._either()
            self._need(")")
            return made
        if token.text in ("!", "-"):
            self._depth += 1
            if self._depth > DEEPEST:
                raise BadExpression(place, f"needed at most {DEEPEST} brackets deep")
            made = self._one()
            self._depth -= 1
            if token.text == "!":
                return Not(place, made)
            if isinstance(made, Constant) and made.value.__class__ in (int, float):
                return Constant(place, -made.value, made.unit, f"-{made.written}")
            return Minus(place, made)
        if token.text == "[":
            return self._items(place)
        raise self._refuse(token, "a name, a number, a text, ( or !")

    def _items(self, place: Place) -> Items:
        items: list[Constant] = []
        while True:
            token = self._here
            one = self._one()
            if isinstance(one, Call):
                one = Constant(
                    one.place, one.argument, one.function, f'{one.function}("{one.argument}")'
                )
            if not isinstance(one, Constant):
                raise self._refuse(token, "a number or a text in [...]")
            items.append(one)
            if self._is(","):
                self._take()
                continue
            self._need("]")
            return Items(place, tuple(items))

    def _named(self, token: _Token) -> Node:
        place, name = self._place(token), token.text
        if name in ("true", "false", "null"):
            value = None if name == "null" else name == "true"
            return Constant(place, value, "", name)
        if name == "in":
            raise self._refuse(token, "a value before 'in'")
        if not self._is("("):
            return Name(place, name)
        if name not in FUNCTIONS:
            known = ", ".join(f'{one}("...")' for one in FUNCTIONS)
            needed = (
                f"needed a known function ({known}), got {name}(); there are no loops and no macros"
            )
            raise BadExpression(place, needed)
        self._take()
        argument = self._take()
        if argument.kind != "text":
            raise self._refuse(argument, f'a text in quotes, as in {name}("{_EXAMPLES[name]}")')
        self._need(")")
        return Call(place, name, _plain(argument.text))


_EXAMPLES = {"money": "5000.00", "span": "24h"}


def _plain(quoted: str) -> str:
    return _ESCAPE.sub(lambda found: {"n": "\n", "t": "\t"}.get(found[1], found[1]), quoted[1:-1])


def read(text: str) -> Node:
    """Read an expression into a tree, or raise `BadExpression` with the place."""
    return _Reader(text if isinstance(text, Source) else Source(text)).whole()


def names_in(node: Node) -> Iterator[Name]:
    """Each name of a tree, in the order in which it is written."""
    if isinstance(node, Name):
        yield node
    for part in parts(node):
        yield from names_in(part)


def parts(node: Node) -> tuple[Any, ...]:
    """The parts that a node is made of."""
    if isinstance(node, Pair):
        return (node.left, node.right)
    if isinstance(node, Not | Minus):
        return (node.of,)
    if isinstance(node, Either):
        return (node.test, node.yes, node.no)
    return ()


def words(node: Node) -> str:
    """A tree in words again: one spelling for all ways to write it."""
    if isinstance(node, Constant):
        return node.written
    if isinstance(node, Name | Listed):
        return node.name
    if isinstance(node, Items):
        return "[" + ", ".join(item.written for item in node.items) + "]"
    if isinstance(node, Not | Minus):
        return ("!" if isinstance(node, Not) else "-") + _bracketed(node.of)
    if isinstance(node, Pair):
        return f"{_bracketed(node.left)} {node.sign} {_bracketed(node.right)}"
    if isinstance(node, Either):
        return f"{_bracketed(node.test)} ? {_bracketed(node.yes)} : {_bracketed(node.no)}"
    if isinstance(node, Call):
        return f'{node.function}("{node.argument}")'
    raise TypeError(f"language: needed a part of an expression, got {type(node).__name__}")


def _bracketed(node: Node) -> str:
    return f"({words(node)})" if isinstance(node, Pair | Either) else words(node)
