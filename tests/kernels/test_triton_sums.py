"""Triton's sums over an axis, one kernel at a time, on what no network happens to have: every type, few and many terms,
one sum and several.  Each must be what the op table says, to the bit.
"""

from __future__ import annotations

import numpy as np
import pytest
from checks import check_steps
from helpers import assert_equal, plan, spec, with_slow
from triton_helpers import TritonLibrary, interpreted_module

from bnnc.backends.triton import emit, once
from bnnc.backends.triton.device import Pointer
from bnnc.backends.triton.kernels import body_text, kernel_text
from bnnc.backends.triton.skeleton import Memory, Share
from bnnc.ir.dtype import Axis, round_up
from bnnc.ir.ref import Ref, Side
from bnnc.plan.codec import decode, encode
from bnnc.plan.text import parse_packed
from bnnc.validate import inputs, run_kernels

HEAD = "import triton\nimport triton.language as tl\nfrom bnnc.backends.triton import num\n"
COLS = 9
TYPES = ("f32", "f16", "i32", "i16", "i8", "u8", "bit", "bit 32 rows a word")
LARGE = {"i32": 200_003, "i16": 300}  # times +-100: sums that an f32, or a type of less bits, does not hold


def given(kind: str, rows: int, sums: int, term: str, axis: Axis) -> str:
    """A schedule of one kernel that makes some sums of matrices of a type, of which ``term`` tells what is added."""
    dtype, _, packing = kind.partition(" ")
    state = {"bit": "'weight', 'sign'"}.get(dtype, "'param', 'const'")
    shape, made = f"[{rows}, {COLS}]", ("[1, 9]", f"[{rows}, 1]")[axis]
    whole = dtype not in ("f32", "f16") and "mean" not in term
    text = ["packed train keep=None", "input %x: bit[1, 32]", "input %labels: u8[1, 1]"]
    text += ["state %mean: f32[1, 9] = ('param', 'const')"]
    text += [f"state %a{i}: {dtype}{shape} = ({state})" for i in range(sums)]
    text += [f"storage %a{i}: {dtype}{shape} {packing}" for i in range(sums) if packing]
    text += [f"storage %s{i}: {'i32' if whole else 'f32'}{made}" for i in range(sums)]
    text += [f"kernel sums {shape}  @forward"]
    text += [f"  acc{i} = reduce({term.format(f'a{i}')}) {{axis={int(axis)}, how='sum'}}" for i in range(sums)]
    text += [f"  %s{i}: {'i32' if whole else 'f32'}{made} = acc{i}" for i in range(sums)]
    return "\n".join((*text, "result loss %s0")) + "\n"


def check_sums(text: str, shares: dict[str, Share]) -> str:
    """A schedule's kernel, by Triton's interpreter and by the op table's functions; which skeleton it has."""
    ps = parse_packed(text)
    env, at, offsets = inputs(ps.program, 3), 0, {}
    env = {n: x * LARGE.get(str(ps.storage[Ref(n)].dtype), 1) for n, x in env.items()}
    if env["a0"].dtype == np.float32:
        env["a0"][:, 1:3] = -0.0, np.inf
    for ref, s in ps.storage.items():
        offsets[ref], at = at, at + round_up(s.nbytes, 64)
    memory = np.full(at, 0xEE, np.uint8)
    for name, x in env.items():
        raw = np.frombuffer(encode(ps.storage[Ref(name)], x), np.uint8)
        memory[offsets[Ref(name)] :][: raw.size] = raw
    (k,) = ps.kernels
    made, pointers = kernel_text(k, Memory(ps, Side.TRAIN, offsets, shares=shares, workspace=at))
    body = body_text(made).rstrip()
    lines = [*pointers.values(), f"for t in range({made.tiles}):", f"  for turn in range({made.turns}):", body]
    function = "\n".join(f"    {line}" for part in lines for line in part.splitlines())
    interpreted_module(f"{HEAD}@triton.jit\ndef sums(arena):\n{function}\n").sums[(1,)](Pointer(memory))
    want = run_kernels(ps, {}, env)
    for ref in k.writes:
        s = ps.storage[ref]
        got = decode(s, memory[offsets[ref] :][: s.nbytes].tobytes())
        assert_equal(got, np.asarray(want[str(ref)], got.dtype), f"{made.template} {ref} of\n{text}\n{function}")
    return made.template


@pytest.mark.parametrize("kind", with_slow(TYPES, {*TYPES} - {"f32", "i16", "bit"}))
def test_sums_are_those_of_the_op_table(kind: str) -> None:
    """Of a few terms, of some that are all loaded ahead, of more; one sum, or several as lanes of one; by tiles
    and shared out; of what lies in memory and of what is computed.
    """
    by_two, seen = {"sums": Share(Axis.COLUMNS, 2)}, set()
    for rows, sums, shares in ((4, 1, {}), (12, 1, {}), (19, 3, {}), (21, 3, {}), (33, 1, by_two)):
        seen.add(check_sums(given(kind, rows, sums, "%{}", Axis.ROWS), shares))
    seen.add(check_sums(given(kind, 20, 2, "%{} - %mean", Axis.ROWS), {}))
    seen.add(check_sums(given(kind, 90, 3, "%{} - %mean", Axis.ROWS), by_two))
    seen.add(check_sums(given(kind, 20, 2, "%{}", Axis.COLUMNS), {}))
    assert seen == {"reduce", "reduce_ahead"} | ({"reduce_tall"} if kind not in ("f32", "f16") else set())


@pytest.mark.parametrize("net", ["edge", pytest.param("standard", marks=pytest.mark.slow)])
def test_products_look_sums_up(net: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where there are few terms, and not four in the last group; as networks have them, and shared out."""
    monkeypatch.setattr(once, "WIDE", 1)
    monkeypatch.setattr(once, "TERMS", 1)
    monkeypatch.setattr(emit, "MOST_ONCE", 10)
    lib = TritonLibrary(plan(spec((70, 33, 17, 10), rule=net, batch=37)))
    assert sum("_table" in e.name for e in lib.entries) == 4
    check_steps(lib, 3)
