"""Which rules are written in a folder? Files of YAML, read so that errors know their line.

An expression comes out as a `Source`, which knows where it stands; each rule as an object that
knows where each of its fields does.
"""

from pathlib import Path
from typing import Any

import yaml

from config.settings import BadConfig
from risk.rule_language import Place, Source

EXPRESSION = "when"


class Placed(dict[str, Any]):
    """An object of a file; ``places`` says where the value of each field begins."""

    places: dict[str, Place]


class _Loader(yaml.SafeLoader):
    """Safe YAML whose objects know their places."""

    text = ""
    file = ""

    def placed(self, node: yaml.MappingNode) -> Any:
        made = Placed()
        made.places = {}
        yield made
        made.update({str(key): value for key, value in self.construct_mapping(node).items()})
        if len(made) != len(node.value):
            twice = self._twice(node)
            raise yaml.constructor.ConstructorError(
                None, None, f"needed each name once, got {twice.value!r} again", twice.start_mark
            )
        for key, value in node.value:
            mark = value.start_mark
            made.places[key.value] = Place(mark.line + 1, mark.column + 1, self.file)
            if key.value == EXPRESSION and isinstance(value, yaml.ScalarNode):
                made[EXPRESSION] = self._source(value)

    def _twice(self, node: yaml.MappingNode) -> Any:
        seen: set[Any] = set()
        for key, _ in node.value:
            if key.value in seen:
                return key
            seen.add(key.value)
        return node

    def _source(self, node: yaml.ScalarNode) -> Any:
        if node.tag != "tag:yaml.org,2002:str":
            return self.construct_object(node)
        # As it is written, line for line: folded into one, a // would hide all that follows it.
        mark, value = node.start_mark, str(node.value)
        raw = self.text[mark.index : node.end_mark.index]
        if node.style in ("|", ">"):
            raw = raw.partition("\n")[2]
            return Source(_plain(raw), raw, self.file, mark.line + 2)
        if node.style in ('"', "'"):
            plain = raw[1:-1] if "\\" not in raw and "''" not in raw else value
            return Source(_plain(plain), plain, self.file, mark.line + 1, mark.column + 2)
        return Source(_plain(raw), raw, self.file, mark.line + 1, mark.column + 1)


def _plain(raw: str) -> str:
    return "\n".join(line.strip() for line in raw.strip().splitlines())


_Loader.add_constructor("tag:yaml.org,2002:map", _Loader.placed)


def parsed(text: str, file: str = "") -> dict[str, Any]:
    """Parse the text of one rule file to an object, or raise `BadConfig` with line and column."""
    loader = _Loader(text)
    loader.text, loader.file = text, file
    try:
        document = loader.get_single_data()
    except (yaml.YAMLError, ValueError) as wrong:  # such as the 30th of February
        raise BadConfig(f"{file or 'rules'}: not YAML: {wrong}") from wrong
    finally:
        loader.dispose()
    if not isinstance(document, dict):
        raise BadConfig(f"{file or 'rules'}: needed an object, got {type(document).__name__}")
    return document


def read_rule_file(path: Path) -> dict[str, Any]:
    """Parse one rule file, or raise `BadConfig` with line and column."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as wrong:
        raise BadConfig(f"{path.name}: not YAML: {wrong}") from wrong
    return parsed(text, path.name)


def rule_files(place: Path) -> list[Path]:
    """The rule files of a folder in the order of their names, or a file itself."""
    if place.is_dir():
        return sorted(path for path in place.iterdir() if path.suffix in (".yaml", ".yml"))
    return [place]
