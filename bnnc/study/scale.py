"""Scale a network's hidden layers to a memory budget: one factor for all widths, found by bisection over plans.

The hidden layers are those with ``units``, all but the last.  Each scaled network is checked again from its text, so
shapes, rule and names are as valid as in any other.  Widths are what the rule's record finds good (``Rule.width``: odd,
for one).
"""

from __future__ import annotations

from collections.abc import Callable

from .. import registry
from ..api import Network
from ..budget import spaced
from ..diag import error

GROWTH = 16  # the largest factor


def hidden_widths(net: Network) -> dict[str, int]:
    """Units of the hidden layers by name, in order."""
    layers = [y for y in net.model.walk() if any(k == "units" for k, _ in y.args.args)]
    return {y.name: y["units"] for y in layers[:-1]}


def scaled(net: Network, widest: int) -> Network:
    """``net`` with its hidden widths scaled such that the widest becomes at most ``widest``.

    Raises BnncError for a network that cannot have them, such as a residual connection to the input."""
    widths, rule = hidden_widths(net), net.model.rule
    good: Callable[..., int] = registry.rules[rule.name].impl.width
    top = max(widths.values())
    return net.with_widths({name: good(rule, max(1, n * widest // top)) for name, n in widths.items()})


def largest(net: Network, ram: int, threads: int) -> Network:
    """The largest scaled ``net`` whose plan's total is at most ``ram`` bytes, at most GROWTH times as wide.

    Raises BnncError B0605 where even the narrowest does not fit, and what :func:`scaled` raises."""
    widths = hidden_widths(net)
    if not widths:
        raise error("B0605", "there is no hidden layer to scale", exit_code=3, help="leave `--ram` out")
    totals: dict[tuple[tuple[str, int], ...], int] = {}

    def total(widest: int) -> int:
        candidate = scaled(net, widest)
        if candidate.widths not in totals:
            totals[candidate.widths] = candidate.plan(threads=threads).total_bytes
        return totals[candidate.widths]

    if total(1) > ram:
        raise error(
            "B0605",
            f"even with the narrowest hidden layers it needs {spaced(total(1))} B, {spaced(ram)} B there are",
            exit_code=3,
            help="give it more memory, or make the batch smaller",
        )
    top = max(widths.values())
    low, high = 1, top
    while high < GROWTH * top and total(high) <= ram:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if total(middle) <= ram else (low, middle)
    return scaled(net, low)
