# SPDX-License-Identifier: Apache-2.0
"""Maps of cells: blocks of the backbone by modules, or blocks alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fedpeft.report.charts.canvas import GRID, SERIES, colour, draw, quiet_axes, short

_PALEST, _FULLEST = 0.12, 1.0


def heat_map(
    name: str, values: Mapping[tuple[int, str], float], blocks: Sequence[int], modules: Sequence[str]
) -> str:
    """Draw a cell for each block and module, the fuller the larger; a cell without a value is an outline.

    Args:
        name: of the drawing, unique on the page.
        values: by block and module.
        blocks: from left to right.
        modules: from top to bottom.
    """
    low, high = min(values.values(), default=0.0), max(values.values(), default=1.0)

    def paint(_figure: Figure, axes: Axes) -> None:
        for column, block in enumerate(blocks):
            for row, module in enumerate(modules):
                value = values.get((block, module))
                if value is None:
                    axes.add_patch(_cell(column, row, facecolor="none", edgecolor=GRID, linewidth=0.6))
                    continue
                full = 0.5 if high - low < 1e-9 * high else (value - low) / (high - low)
                axes.add_patch(_cell(column, row, color=SERIES[0], alpha=_PALEST + full * (1 - _PALEST)))
        _label(axes, blocks)
        axes.set_yticks(range(len(modules)), [short(module) for module in modules])
        axes.set_ylim(len(modules) - 0.5, -0.5)

    return draw(name, paint, height=0.8 + 0.26 * len(modules))


def block_strips(name: str, sets: Sequence[tuple[str, Sequence[int], bool]], num_blocks: int) -> str:
    """Draw a strip of blocks for each set, those in it filled.

    Args:
        name: of the drawing, unique on the page.
        sets: name, blocks, and whether it is the one that was chosen; the first on top.
        num_blocks: of the backbone.
    """

    def paint(_figure: Figure, axes: Axes) -> None:
        for row, (_, blocks, is_chosen) in enumerate(sets):
            inside = set(blocks)
            for block in range(num_blocks):
                if block in inside:
                    axes.add_patch(_cell(block, row, color=colour(1 if is_chosen else 0), alpha=_FULLEST))
                else:
                    axes.add_patch(_cell(block, row, facecolor="none", edgecolor=GRID, linewidth=0.6))
        _label(axes, range(num_blocks))
        axes.set_yticks(range(len(sets)), [short(label) for label, _, _ in sets])
        axes.set_ylim(len(sets) - 0.5, -0.5)

    return draw(name, paint, height=0.7 + 0.24 * len(sets))


def _cell(column: int, row: int, **style: object) -> Rectangle:
    return Rectangle((column - 0.44, row - 0.4), 0.88, 0.8, **style)  # type: ignore[arg-type]


def _label(axes: Axes, blocks: Sequence[int]) -> None:
    quiet_axes(axes)
    step = max(1, -(-len(blocks) // 15))
    axes.set_xticks(range(0, len(blocks), step), [str(block) for block in list(blocks)[::step]])
    axes.set_xlim(-0.6, len(blocks) - 0.4)
    axes.set_xlabel("block")
