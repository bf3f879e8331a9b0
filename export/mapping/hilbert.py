"""Hilbert curves over rectangles: neighbours on the curve are neighbours on the mesh.

Source: the generalised curve of Cerveny ("gilbert"), which fills a rectangle of any sides; on a square whose side is a
power of two it is Hilbert's. As an order for cores on a mesh: Jin et al., ASPLOS 2023.
"""

from __future__ import annotations

import numpy as np

from export.mapping.mesh import Mesh, Spots

Step = tuple[int, int]


def curve(columns: int, rows: int) -> list[Step]:
    """(x, y) of every cell of a rectangle, each once; each is a neighbour of the one before, or touches its corner."""
    path: list[Step] = []
    if columns >= rows:
        _fill(path, (0, 0), (columns, 0), (0, rows))
    else:
        _fill(path, (0, 0), (0, rows), (columns, 0))
    return path


def along_curve(mesh: Mesh, spots: Spots) -> Spots:
    """Cores of a system, ordered by where a curve over the whole plane meets their routers."""
    columns, rows = mesh.size
    number = np.zeros((columns, rows), dtype=np.int64)
    path = np.array(curve(columns, rows))
    number[path[:, 0], path[:, 1]] = np.arange(len(path))
    x, y = mesh.router_at(spots)
    return spots[np.argsort(number[x, y], kind="stable")]


def compact_chips(mesh: Mesh, count: int) -> Spots:
    """The first chips on a curve over the system's chips: they stand close together."""
    rows = -(-mesh.chips // mesh.chip_columns)
    numbers = [y * mesh.chip_columns + x for x, y in curve(mesh.chip_columns, rows)]
    return np.array([number for number in numbers if number < mesh.chips][:count], dtype=np.int64)


def _half(step: Step) -> Step:
    """Half of a side, towards zero."""
    return int(step[0] / 2), int(step[1] / 2)


def _unit(step: Step) -> Step:
    return int(np.sign(step[0])), int(np.sign(step[1]))


def _fill(path: list[Step], start: Step, along: Step, up: Step) -> None:
    """Walk the rectangle with a long side `along` and a short one `up`, from a corner to the other end of `along`."""
    (x, y), (ax, ay), (bx, by) = start, along, up
    width, height = abs(ax + ay), abs(bx + by)
    if height == 1 or width == 1:
        (sx, sy), count = (_unit(along), width) if height == 1 else (_unit(up), height)
        path.extend((x + i * sx, y + i * sy) for i in range(count))
        return
    (hx, hy), (kx, ky) = _half(along), _half(up)
    (sx, sy), (tx, ty) = _unit(along), _unit(up)
    if 2 * width > 3 * height:  # long: two parts, the first of an even number of cells
        if abs(hx + hy) % 2 and width > 2:
            hx, hy = hx + sx, hy + sy
        _fill(path, start, (hx, hy), up)
        _fill(path, (x + hx, y + hy), (ax - hx, ay - hy), up)
        return
    if abs(kx + ky) % 2 and height > 2:
        kx, ky = kx + tx, ky + ty
    _fill(path, start, (kx, ky), (hx, hy))  # up, along, and down again
    _fill(path, (x + kx, y + ky), along, (bx - kx, by - ky))
    _fill(path, (x + ax - sx + kx - tx, y + ay - sy + ky - ty), (-kx, -ky), (hx - ax, hy - ay))
