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
}

SYMBOLS = {
    "²": "$^2$", "³": "$^3$", "⁹": "$^9$", "⁴": "$^4$", "·": r"$\cdot$", "±": r"$\pm$", "×": r"$\times$",
    "−": "$-$", "–": "--", "—": "---", "≤": r"$\le$", "≥": r"$\ge$", "≠": r"$\ne$", "≈": r"$\approx$",
    "†": r"$^\dagger$", "σ": r"$\sigma$", "γ": r"$\gamma$", "τ": r"$\tau$", "η": r"$\eta$", "√": r"$\surd$",
    "↓": r"$\downarrow$", "↑": r"$\uparrow$", "→": r"$\to$", "∞": r"$\infty$", "’": "'", "‘": "`", "…": r"\dots{}",
    "“": "``", "”": "''", "\u00a0": "~",
}  # fmt: skip

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
    if character.isascii() or (character.isalpha() and ord(character) < 0x180):
        return character
    plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return "".join(SPECIAL.get(letter, letter) for letter in plain) or f"[U+{ord(character):04X}]"
