"""The figures' one style, each with a text alternative."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
from IPython.display import Image
from matplotlib.figure import Figure

from course_utils.evaluate.intervals import Estimate

# Hatches tell the bars apart where colour does not.
FILLS = (
    ("#1b6ca8", ""),
    ("#e0a030", "//"),
    ("#7a7a7a", ".."),
    ("#b03060", "xx"),
    ("#2f7d4f", "++"),
    ("#8a6fb0", "oo"),
)
COLOURS = tuple(colour for colour, _ in FILLS)
FIGURE_STYLE: Any = {
    "figure.dpi": 100,
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
}


def bars(estimates: dict[str, Estimate], xlabel: str, alt: str) -> Image:
    """Horizontal bars with their intervals.

    Args:
        estimates: label to estimate, drawn from top to bottom.
        xlabel: what the length of a bar is.
        alt: what the figure shows, in words, for those who do not see it.
    """
    with plt.rc_context(FIGURE_STYLE):
        figure, axes = plt.subplots(figsize=(6.4, 0.5 * len(estimates) + 0.9))
        for place, (label, made) in enumerate(estimates.items()):
            colour, hatch = FILLS[place % 4]
            error = [[made.value - made.low], [made.high - made.value]]
            axes.barh(
                label,
                made.value,
                xerr=error,
                color=colour,
                hatch=hatch,
                capsize=3,
                edgecolor="white",
                height=0.65,
            )
            axes.text(made.high + 0.02, place, f"{made.value:.2f}", va="center")
        axes.invert_yaxis()
        axes.set_xlim(0, 1.1)
        axes.set_xlabel(xlabel)
        return picture(figure, alt)


def lines(
    series: dict[str, dict[str, Estimate]],
    xlabel: str,
    ylabel: str,
    alt: str,
    joined: bool = True,
) -> Image:
    """Points with their intervals, one line a series.

    Args:
        series: name to {place on the x axis: estimate}; all have the same places, in their order.
        xlabel: what the places are.
        ylabel: what is measured; where some of it is negative, a line marks zero.
        alt: what the figure shows, in words.
        joined: False for places without an order: points only.
    """
    with plt.rc_context(FIGURE_STYLE):
        figure, axes = plt.subplots(figsize=(6.4, 3.4))
        marks = [("o", "-"), ("s", "--"), ("^", ":"), ("D", "-."), ("v", "--")]
        for number, (name, points) in enumerate(series.items()):
            shift = 0.12 * (number - (len(series) - 1) / 2)  # so that intervals do not hide
            places = [place + shift for place in range(len(points))]
            values = [made.value for made in points.values()]
            error = [
                [made.value - made.low for made in points.values()],
                [made.high - made.value for made in points.values()],
            ]
            marker, style = marks[number % len(marks)]
            axes.errorbar(
                places,
                values,
                yerr=error,
                marker=marker,
                linestyle=style if joined else "none",
                capsize=3,
                label=name,
                color=COLOURS[number % len(COLOURS)],
            )
        axes.set_xticks(range(len(points)), list(points))
        if min(made.low for points in series.values() for made in points.values()) < 0:
            axes.axhline(0, color="#444444", linewidth=1)
        else:
            axes.set_ylim(bottom=0)
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=4, frameon=False)
        return picture(figure, alt)


def curves(
    places: Sequence[float],
    series: dict[str, Sequence[float]],
    marks: dict[str, float],
    xlabel: str,
    ylabel: str,
    alt: str,
) -> Image:
    """Computed lines over a wide range, both axes logarithmic, with places marked on the x axis.

    Args:
        places: n places on the x axis, all above 0.
        series: name to n values, all above 0.
        marks: words to the place where a vertical line carries them; infinite ones are left out.
        xlabel: what the places are.
        ylabel: what the values are.
        alt: what the figure shows, in words.
    """
    with plt.rc_context(FIGURE_STYLE):
        figure, axes = plt.subplots(figsize=(6.4, 3.6))
        axes.set_xscale("log")
        axes.set_yscale("log")
        for number, (name, values) in enumerate(series.items()):
            style, colour = ("-", "--", ":", "-.")[number % 4], COLOURS[number % len(COLOURS)]
            axes.plot(places, values, linestyle=style, color=colour, linewidth=2, label=name)
        top = axes.get_ylim()[1]
        for number, (words, place) in enumerate(marks.items()):
            if places[0] <= place <= places[-1]:
                side: Any = ("right", "left")[number % 2]
                axes.axvline(place, color="#444444", linewidth=1)
                axes.text(place, top, f"{words} ", rotation=90, va="top", ha=side, size=8)
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=4, frameon=False)
        return picture(figure, alt)


def scatter(points: dict[str, tuple[float, Estimate]], xlabel: str, ylabel: str, alt: str) -> Image:
    """Named points with their intervals over a logarithmic axis: quality against a cost.

    Args:
        points: name to its place on the x axis, above 0, and the estimate.
        xlabel: what the cost is.
        ylabel: what is estimated.
        alt: what the figure shows, in words.
    """
    with plt.rc_context(FIGURE_STYLE):
        figure, axes = plt.subplots(figsize=(6.4, 3.6))
        axes.set_xscale("log")
        for number, (name, (place, made)) in enumerate(points.items()):
            error = [[made.value - made.low], [made.high - made.value]]
            colour = COLOURS[number % len(COLOURS)]
            mark = "os^Dv"[number % 5]
            axes.errorbar(
                place, made.value, yerr=error, fmt=mark, color=colour, capsize=3, label=name
            )
        axes.margins(x=0.1)
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
        return picture(figure, alt)


def differences(estimates: dict[str, Estimate], xlabel: str, alt: str) -> Image:
    """Paired differences as points with their intervals, around a line at zero.

    Args:
        estimates: label to estimate, drawn from top to bottom; n is added to the label.
        xlabel: what is the difference of what.
        alt: what the figure shows, in words.
    """
    with plt.rc_context(FIGURE_STYLE):
        figure, axes = plt.subplots(figsize=(6.4, 0.36 * len(estimates) + 0.9))
        axes.axvline(0, color="#444444", linewidth=1)
        for label, made in estimates.items():
            error = [[made.value - made.low], [made.high - made.value]]
            name = f"{label} (n = {made.n})"
            axes.errorbar(made.value, name, xerr=error, fmt="o", color=FILLS[0][0], capsize=3)
        axes.set_ylim(len(estimates) - 0.5, -0.5)  # from top to bottom, none on the frame
        axes.set_xlabel(xlabel)
        return picture(figure, alt)


def stacked(counts: dict[str, dict[str, int]], xlabel: str, alt: str) -> Image:
    """One horizontal bar a label, cut into parts.

    Args:
        counts: label to {part: count}; all labels have the same parts.
        xlabel: what is counted.
        alt: what the figure shows, in words.
    """
    parts: Sequence[str] = list(next(iter(counts.values())))
    with plt.rc_context(FIGURE_STYLE):
        figure, axes = plt.subplots(figsize=(6.4, 0.5 * len(counts) + 1.2))
        left = dict.fromkeys(counts, 0)
        for (colour, hatch), part in zip(FILLS, parts, strict=False):
            widths = [counts[label][part] for label in counts]
            axes.barh(
                list(counts),
                widths,
                left=list(left.values()),
                label=part,
                color=colour,
                hatch=hatch,
                edgecolor="white",
                height=0.6,
            )
            for place, (label, width) in enumerate(zip(counts, widths, strict=True)):
                if width:
                    axes.text(
                        left[label] + width / 2,
                        place,
                        str(width),
                        ha="center",
                        va="center",
                        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
                    )
                left[label] += width
        axes.invert_yaxis()
        axes.set_xlabel(xlabel)
        columns = len(parts) if len(parts) < 5 else 3
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=columns, frameon=False)
        return picture(figure, alt)


def picture(figure: Figure, alt: str) -> Image:
    """A figure as a PNG with its text alternative; the figure is closed."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", bbox_inches="tight")
    plt.close(figure)
    return Figured(buffer.getvalue(), alt=alt)


class Figured(Image):
    """A picture whose plain-text form is its text alternative."""

    def __repr__(self) -> str:
        return self.alt or "figure"
