"""Control characters made visible: a name out of a file is not to move the cursor or to turn text around."""

import re

# All controls but the line feed, what changes the direction of text or has no width, and other line ends; and
# halves of characters, which no terminal can show.
_HIDDEN = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)


def visible(text: str) -> str:
    """A text for the terminal, in which an escape character reads `\\x1b`; lines stay lines."""
    return _HIDDEN.sub(_escape, text)


def visible_on_one_line(text: str) -> str:
    """The same, with line ends made visible too."""
    return visible(text).replace("\n", "\\n")


def visible_in_json(text: str) -> str:
    """A JSON text with what JSON itself leaves as it is, as JSON escapes it."""
    return _HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
