"""Text that LaTeX typesets as it reads, with no package but booktabs."""

from __future__ import annotations

import re
import unicodedata

SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",  # the upright quote needs another font encoding
    "`": "{`}",
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",  # after the end of a row it would be a part of that
}

GREEK = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau phi chi psi omega"
"""Letters with a command of their own name."""

SYMBOLS = {
    **{high: f"$^{low}$" for high, low in zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-", strict=True)},
    **{low: f"$_{high}$" for low, high in zip("₀₁₂₃₄₅₆₇₈₉₊₋", "0123456789+-", strict=True)},
    **{
        unicodedata.lookup(f"GREEK SMALL LETTER {name.replace('lambda', 'lamda')}"): rf"$\{name}$"
        for name in GREEK.split()
    },
    "·": r"$\cdot$", "±": r"$\pm$", "×": r"$\times$", "µ": r"$\mu$", "½": r"$\frac12$", "¼": r"$\frac14$",
    "¾": r"$\frac34$", "−": "$-$", "–": "--", "—": "---", "≤": r"$\le$", "≥": r"$\ge$", "≠": r"$\ne$",
    "≈": r"$\approx$", "†": r"$^\dagger$", "√": r"$\surd$", "↓": r"$\downarrow$", "↑": r"$\uparrow$",
    "→": r"$\to$", "∞": r"$\infty$", "’": "'", "‘": "`", "…": r"\dots{}", "“": "``", "”": "''", "\u00a0": "~",
}  # fmt: skip

BARE = "ÆæŒœØøßŁłı"
ACCENTS = "\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030b\u030c\u0327"
LAST = 0x180
"""Letters beyond ASCII that LaTeX's first font encoding has: these, and below LAST those of ASCII with an accent."""

SPAN = re.compile(r"(O\((?:1|n|n²)\)|`[^`]*`)")
"""What is set as a whole: a complexity class as the ledger and the fit write it, and code between backticks."""


def escape(text: str) -> str:
    """`text` with every special character made harmless; O(n) and O(n²) are set as the paper sets them."""
    return "".join(_span(part) if SPAN.fullmatch(part) else _characters(part) for part in SPAN.split(text))


def _span(part: str) -> str:
    if part.startswith("`"):
        return rf"\texttt{{{_characters(part[1:-1])}}}"
    return rf"$\mathcal{{O}}({part[2:-1].replace('²', '^2')})$"


def _characters(text: str) -> str:
    return "".join(_character(character) for character in text)


def _character(character: str) -> str:
    known = SPECIAL.get(character) or SYMBOLS.get(character)
    if known is not None:
        return known
    if character.isspace():
        return " "
    if character.isascii() or _has_a_glyph(character):
        return character
    plain = unicodedata.normalize("NFKD", character)
    if "\N{FRACTION SLASH}" not in plain and (plain := plain.encode("ascii", "ignore").decode()):
        return "".join(SPECIAL.get(letter, letter) for letter in plain)
    return f"[U+{ord(character):04X}]"


def _has_a_glyph(character: str) -> bool:
    parts = unicodedata.normalize("NFD", character)
    accented = len(parts) == 2 and parts[0].isascii() and parts[0].isalpha() and parts[1] in ACCENTS
    return character in BARE or (accented and ord(character) < LAST)
