"""A terminal's screen as a picture, for whoever wants to look at it."""

import re
from pathlib import Path

_COLOURS = {
    30: "#3b4252", 31: "#e06c75", 32: "#98c379", 33: "#e5c07b", 34: "#61afef", 35: "#c678dd",
    36: "#56b6c2", 37: "#d8dee9", 90: "#7f848e", 91: "#e06c75", 92: "#98c379", 93: "#e5c07b",
    94: "#61afef", 95: "#c678dd", 96: "#56b6c2", 97: "#ffffff",
}  # fmt: skip
_PLAIN, _GROUND, _BAR = "#d8dee9", "#1e222a", "#2e4a6b"
_STEP = re.compile(r"\x1b\[([\d;]*)m|\x1b[()][A-Z0-9]|[\x0e\x0f]|([^\x1b\x0e\x0f]+)")
_FONT = "/usr/share/fonts/truetype/dejavu/DejaVuSansMono.ttf"


def draw(screen: str, file: Path, columns: int = 110) -> None:
    """Draw what `tmux capture-pane -e` gave; empty lines at the edges are left out."""
    from PIL import Image, ImageDraw, ImageFont

    lines = screen.splitlines()
    font = ImageFont.truetype(_FONT, 15)
    wide, high = font.getlength("x"), 20
    size = (int(wide * columns) + 20, high * len(lines) + 20)
    picture = Image.new("RGB", size, _GROUND)
    pen = ImageDraw.Draw(picture)
    for number, line in enumerate(lines):
        x, y, colour, ground = 10.0, 10 + number * high, _PLAIN, ""
        for codes, text in _STEP.findall(line):
            if codes or not text:
                colour, ground = _shade(codes, colour, ground)
                continue
            if ground:
                pen.rectangle((x, y, x + wide * len(text), y + high), fill=ground)
            pen.text((x, y), text, font=font, fill=colour)
            x += wide * len(text)
    file.parent.mkdir(parents=True, exist_ok=True)
    picture.save(file, optimize=True)


def _shade(codes: str, colour: str, ground: str) -> tuple[str, str]:
    for code in [int(one or 0) for one in codes.split(";")]:
        if code in {0, 39}:
            colour = _PLAIN
        if code in {0, 49}:
            ground = ""
        if code in _COLOURS:
            colour = _COLOURS[code]
        if 40 <= code <= 47:
            ground = _BAR if code == 44 else ground
    return colour, ground
