"""sink: updates move into the kernel that makes their gradient, unless somebody later needs the old state."""

from __future__ import annotations

from programs import fused, module, shown

from bnnc.ir.ref import Ref
from bnnc.sched.order import order
from bnnc.sched.sink import sink
from bnnc.validate import validate

HEAD = """
    input %x: f32[4, 5]
    input %d: f32[4, 3]
    state %w: f32[5, 3] = ('weight', 'uniform', 0.5, 0)
    state %m: f32[5, 3] = ('moment', 'const', 0.0, 1)
"""


def kernels(text: str) -> list[str]:
    """After fuse and sink; every step keeps all bits, also in the order that ``order`` then finds."""
    s = sink(fused(HEAD + text))
    validate(module(HEAD + text), s)
    validate(s, order(s))
    return shown(s.train)


GRADIENT = "    %g = contract(%x, %d) {form='tn'} : f32[5, 3]  @backward\n"
UPDATE = "    %n = sub(%w, %g) : f32[5, 3]  @update\n    update %w <- %n\n"


def test_the_gradient_never_exists() -> None:
    assert kernels(GRADIENT + UPDATE) == ["contract: acc0 = %x x %d; %n = %w - acc0"]


def test_two_updates_of_one_gradient() -> None:
    """A moment and the weight that uses it: one kernel, the moment's new value taken from its own expression."""
    assert kernels(
        GRADIENT
        + """
        %k = add(%m, %g) : f32[5, 3]  @update
        %n = sub(%w, %k) : f32[5, 3]  @update
        update %m <- %k
        update %w <- %n
    """
    ) == ["contract: acc0 = %x x %d; k = %m + acc0; %k = k; %n = %w - k"]


def test_the_gradient_is_stored_if_it_is_also_a_result() -> None:
    assert kernels(GRADIENT + UPDATE + "    result loss %g") == ["contract: acc0 = %x x %d; %g = acc0; %n = %w - acc0"]


def test_not_if_a_later_kernel_that_needs_the_gradient_reads_the_state() -> None:
    """dX of the same layer, here made from the gradient, must see the old weights: the update stays where it is."""
    got = kernels(
        GRADIENT
        + """
        %s = reduce(%g) {axis=0, how='sum'} : f32[1, 3]  @backward
        %t = mul(%w, %s) : f32[5, 3]  @backward
        %r = reduce(%t) {axis=0, how='sum'} : f32[1, 3]  @backward
        result loss %r
    """
        + UPDATE
    )
    assert got == [
        "contract: acc0 = %x x %d; %g = acc0",
        "reduce_rows: acc0 = sum %g; %s = acc0",
        "reduce_rows: acc0 = sum (%w * %s); %r = acc0",
        "map: %n = %w - %g",
    ]


def test_a_reader_that_can_run_before_is_no_obstacle() -> None:
    text = (
        GRADIENT
        + """
        %r = reduce(%w) {axis=0, how='sum'} : f32[1, 3]  @backward
        result loss %r
    """
        + UPDATE
    )
    assert kernels(text) == ["contract: acc0 = %x x %d; %n = %w - acc0", "reduce_rows: acc0 = sum %w; %r = acc0"]
    ordered = order(sink(fused(HEAD + text))).train
    assert [k.writes for k in ordered.kernels] == [(Ref("r"),), (Ref("n"),)]
    assert ordered.in_place == ((Ref("n"), Ref("w")),)


def test_not_if_the_update_reads_something_made_later() -> None:
    """Here the rate depends on a reduction of the gradient itself: there is no kernel that has both at its extent."""
    got = kernels(
        GRADIENT
        + """
        %a = reduce(%g) {axis=0, how='max'} : f32[1, 3]  @backward
        %q = div(%g, %a) : f32[5, 3]  @update
        %n = sub(%w, %q) : f32[5, 3]  @update
        update %w <- %n
    """
    )
    assert got == [
        "contract: acc0 = %x x %d; %g = acc0",
        "reduce_rows: acc0 = max %g; %a = acc0",
        "map: %n = %w - (%g / %a)",
    ]


def test_an_update_without_a_gradient_stays() -> None:
    assert kernels("    %n = neg(%w) : f32[5, 3]  @update\n    update %w <- %n\n") == ["map: %n = neg(%w)"]


def test_vector_updates_sink_into_reductions() -> None:
    assert kernels("""
        state %b: f32[1, 3] = ('param', 'const', 0.0, 2)
        %s = reduce(%d) {axis=0, how='sum'} : f32[1, 3]  @backward
        %n = sub(%b, %s) : f32[1, 3]  @update
        update %b <- %n
    """) == ["reduce_rows: acc0 = sum %d; %n = %b - acc0"]


# -- integer sums along the rows of an update
# ---------------------------------------------------------------------------
WHOLE = """
    input %a: bit[4, 5]
    input %o: bool[4, 5]
    input %b: bit[4, 3]
    state %h: i16[5, 3] = ('weight', 'normal', 9.0, 2, 0)
    %sum = contract_gated(%a, %o, %b) {form='tn'} : i16[5, 3]  @backward
    %s = add(%h, %sum) : i32[5, 3]  @update
    %n = cast(%s) {dtype='i16'} : i16[5, 3]  @update
    %p = sign(%h) : bit[5, 3]  @update
    %q = sign(%n) : bit[5, 3]  @update
    %e = eq(%p, %q) : bool[5, 3]  @update
    %zero = const() {value=0} : i32[1, 1]  @update
    %one = const() {value=1} : i32[1, 1]  @update
    %k = select(%e, %zero, %one) : i32[5, 3]  @update
    %f = reduce(%k) {axis=1, how='sum'} : i32[5, 1]  @update
    update %h <- %n
    result count:flips: %f
"""


def test_row_sums_of_an_update_go_with_it() -> None:
    """One kernel; what only the sum needs is nowhere stored, and the old state is not kept."""
    (k,) = sink(fused(WHOLE)).train.kernels
    assert k.anchor.whole_rows and [(str(o.ref), o.row_sum) for o in k.outputs] == [("n", False), ("f", True)]
    assert set(k.reads) == set(map(Ref, "aobh"))
    kernels(WHOLE)
    assert order(sink(fused(WHOLE))).train.in_place == ((Ref("n"), Ref("h")),)  # in place


def test_row_sums_stay_where_somebody_else_needs_what_they_sum() -> None:
    more = WHOLE + "    %g = reduce(%k) {axis=0, how='max'} : i32[1, 3]  @update\n    result more %g\n"
    assert len(sink(fused(more)).train.kernels) > 1
    kernels(more)


def test_only_exact_sums_move() -> None:
    """Of floats the order counts, and a kernel without whole rows cannot sum them."""
    text = UPDATE + "    %f = reduce(%n) {axis=1, how='sum'} : f32[5, 1]  @update\n    result more %f\n"
    got = kernels(GRADIENT + text)
    assert any(line.startswith("reduce_cols: acc0 = sum") for line in got)


def test_updates_that_share_one_number_alone_stay_apart() -> None:
    """A rate that two layers read is no reason to make both updates in one kernel, which only one gradient reaches."""
    both = """
    input %e: f32[4, 3]
    input %rate: f32[1, 1]
    state %v: f32[5, 3] = ('weight', 'uniform', 0.5, 2)
    %g = contract(%x, %d) {form='tn'} : f32[5, 3]  @backward
    %h = contract(%x, %e) {form='tn'} : f32[5, 3]  @backward
    %gr = mul(%g, %rate) : f32[5, 3]  @update
    %n = sub(%w, %gr) : f32[5, 3]  @update
    %hr = mul(%h, %rate) : f32[5, 3]  @update
    %o = sub(%v, %hr) : f32[5, 3]  @update
    update %w <- %n
    update %v <- %o
"""
    assert kernels(both) == [
        "contract: acc0 = %x x %d; %n = %w - (acc0 * %rate)",
        "contract: acc0 = %x x %e; %o = %v - (acc0 * %rate)",
    ]
