"""Our own pictures as PNG: what `bench.svg` writes, drawn in a grid, and nothing else of SVG."""

from __future__ import annotations

import itertools
import struct
import xml.etree.ElementTree as ET
import zlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

SCALE = 2  # pixels for a unit of the picture
_NAMES = {"white": "#ffffff"}
_BLACK = "#000000"
_ADVANCE, _ABOVE = 6, 7  # units from one letter to the next, and above the baseline

# The letters from blank to tilde, five columns each, the lowest bit on top.
_FONT = bytes.fromhex(
    "0000000000 00005f0000 0007000700 147f147f14 242a7f2a12 2313086462 3649562050 0008070300"
    "001c224100 0041221c00 2a1c7f1c2a 08083e0808 0080703000 0808080808 0000606000 2010080402"
    "3e5149453e 00427f4000 7249494946 2141494d33 1814127f10 2745454539 3c4a494931 4121110907"
    "3649494936 464949291e 0000140000 0040340000 0008142241 1414141414 0041221408 0201590906"
    "3e415d594e 7c1211127c 7f49494936 3e41414122 7f4141413e 7f49494941 7f09090901 3e41415173"
    "7f0808087f 00417f4100 2040413f01 7f08142241 7f40404040 7f021c027f 7f0408107f 3e4141413e"
    "7f09090906 3e4151215e 7f09192946 2649494932 03017f0103 3f4040403f 1f2040201f 3f4038403f"
    "6314081463 0304780403 6159494d43 007f414141 0204081020 004141417f 0402010204 4040404040"
    "0003070800 2054547840 7f28444438 3844444428 384444287f 3854545418 00087e0902 18a4a49c78"
    "7f08040478 00447d4000 2040403d00 7f10284400 00417f4000 7c04780478 7c08040478 3844444438"
    "fc18242418 18242418fc 7c08040408 4854545424 04043f4424 3c4040207c 1c2040201c 3c4030403c"
    "4428102844 4c9090907c 4464544c44 0008364100 0000770000 0041360800 0201020402"
)

Grid = npt.NDArray[np.uint8]


def png(picture: str) -> bytes:
    """The file."""
    root = ET.fromstring(picture)
    height, width = (round(float(root.attrib[name]) * SCALE) for name in ("height", "width"))
    grid: Grid = np.full((height, width, 3), 255, dtype=np.uint8)
    for element in root:
        _draw(grid, element.tag.rpartition("}")[2], element.attrib, element.text or "")
    rows = b"".join(b"\0" + row.tobytes() for row in grid)
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _draw(grid: Grid, kind: str, given: dict[str, str], text: str) -> None:
    if kind == "rect":
        x, y, width, height = (float(given[name]) for name in ("x", "y", "width", "height"))
        _fill(grid, x, y, x + width, y + height, given["fill"])
    elif kind == "circle":
        x, y, radius = (float(given[name]) for name in ("cx", "cy", "r"))
        _fill(grid, x - radius, y - radius, x + radius, y + radius, given["fill"])
    elif kind == "polyline":
        points = [tuple(map(float, point.split(","))) for point in given["points"].split()]
        for x, y in _along(points):
            _fill(grid, x - 0.75, y - 0.75, x + 0.75, y + 0.75, given["stroke"])
    elif kind == "text":
        _write(grid, given, text)


def _fill(grid: Grid, left: float, top: float, right: float, bottom: float, colour: str) -> None:
    rgb = bytes.fromhex(_NAMES.get(colour, colour).removeprefix("#"))
    edges = [max(0, round(edge * SCALE)) for edge in (left, top, right, bottom)]
    grid[edges[1] : edges[3], edges[0] : edges[2]] = list(rgb)


def _along(points: list[tuple[float, ...]]) -> Iterator[tuple[float, float]]:
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        steps = max(1, round(max(abs(x1 - x0), abs(y1 - y0)) * SCALE))
        for step in range(steps + 1):
            yield x0 + (x1 - x0) * step / steps, y0 + (y1 - y0) * step / steps


def _write(grid: Grid, given: dict[str, str], text: str) -> None:
    width = _ADVANCE * len(text)
    x = float(given["x"]) - {"start": 0.0, "middle": width / 2, "end": width}[given["text-anchor"]]
    y = float(given["y"]) - _ABOVE
    bold = 0.5 if given["font-weight"] == "bold" else 0.0
    for number, letter in enumerate(text):
        at = 5 * (ord(letter) - 32)
        for column, bits in enumerate(_FONT[at : at + 5] if at >= 0 else b""):
            left = x + _ADVANCE * number + column
            for row in range(8):
                if bits >> row & 1:
                    _fill(grid, left, y + row, left + 1 + bold, y + row + 1, _BLACK)
