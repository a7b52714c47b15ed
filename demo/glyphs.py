"""A dot-matrix face for serial numbers: own bitmaps, since OpenCV 4 and 5 draw text with other fonts.

Characters that are often taken for one another (0 O, 1 I, 5 S, 8 B, 2 Z ...) are left out, as many makers do.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ROWS, COLUMNS = 7, 5

_DOTS = {
    "3": "11110 00001 00001 01110 00001 00001 11110",
    "4": "00010 00110 01010 10010 11111 00010 00010",
    "6": "00110 01000 10000 11110 10001 10001 01110",
    "7": "11111 00001 00010 00100 01000 01000 01000",
    "9": "01110 10001 10001 01111 00001 00010 01100",
    "A": "01110 10001 10001 11111 10001 10001 10001",
    "C": "01110 10001 10000 10000 10000 10001 01110",
    "E": "11111 10000 10000 11110 10000 10000 11111",
    "F": "11111 10000 10000 11110 10000 10000 10000",
    "H": "10001 10001 10001 11111 10001 10001 10001",
    "J": "00111 00010 00010 00010 00010 10010 01100",
    "K": "10001 10010 10100 11000 10100 10010 10001",
    "L": "10000 10000 10000 10000 10000 10000 11111",
    "M": "10001 11011 10101 10101 10001 10001 10001",
    "N": "10001 11001 11001 10101 10011 10011 10001",
    "P": "11110 10001 10001 11110 10000 10000 10000",
    "R": "11110 10001 10001 11110 10100 10010 10001",
    "T": "11111 00100 00100 00100 00100 00100 00100",
    "U": "10001 10001 10001 10001 10001 10001 01110",
    "X": "10001 10001 01010 00100 01010 10001 10001",
    "Y": "10001 10001 01010 00100 00100 00100 00100",
}

CHARACTERS = "".join(_DOTS)


def text_dots(text: str) -> NDArray[np.float32]:
    """Ink of a line of text: [7, 6 * len(text) - 1] float32, one element per dot, 1 where there is ink.

    Raises KeyError for a character that is not in `CHARACTERS`.
    """
    columns = []
    for character in text:
        rows = _DOTS[character].split()
        columns.append(np.array([[int(dot) for dot in row] for row in rows], np.float32))
        columns.append(np.zeros((ROWS, 1), np.float32))
    return np.concatenate(columns[:-1], axis=1)
