"""Texts from events on their way to a terminal: nothing in them may do more than be read."""

from __future__ import annotations

from status_grpc.domain.escapes import escaped_character

_SPACES = frozenset("\t\n\r\v\f")


def printable(text: str) -> str:
    """Return the text on one line, with every character that could steer a terminal shown as an escape."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(" " if char in _SPACES else escaped_character(char) for char in text)


def printable_lines(text: str) -> list[str]:
    """Return the lines of a text, each printable; those of a traceback keep their indentation."""
    return [printable(line.expandtabs(4)) for line in text.split("\n")]


def width(text: str) -> int:
    """Return how many columns of a terminal the text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def pad(text: str, columns: int) -> str:
    """Return the text with as many spaces behind it as fill the columns."""
    return text + " " * (columns - width(text))


def message_in(texts: dict[str, str], language: str) -> str:
    """Return the text in this language, or in the nearest to it that there is: a relative, English, any."""
    by_tag = {tag.lower(): text for tag, text in texts.items()}
    for tag in _nearest(language.lower()):
        if tag in by_tag:
            return by_tag[tag]
    primary = language.lower().partition("-")[0]
    relatives = [text for tag, text in by_tag.items() if tag.partition("-")[0] in (primary, "en")]
    return (relatives or list(by_tag.values()) or [""])[0]


def _nearest(language: str) -> list[str]:
    primary = language.partition("-")[0]
    # Whoever reads one of the Norwegian languages reads the others.
    norwegian = ["nb", "nn", "no"] if primary in ("nb", "nn", "no") else []
    return [language, primary, *norwegian, "en"]
