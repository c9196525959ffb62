"""Products of two matrices.

form                   left x right          skeleton
nn, nt                 bit x bit, u8 x bit   popcount   exact integers, 32 columns of the sum in a word
tn, with a gate        bit x bit             scatter    exact integers, only the terms whose gate is open
nn, nt, tn             float x bit           grouped    tables of the 16 signed sums of 4 terms
nn, nt, tn             i8 x bit              whole      likewise, in 16 bits: exact
tn                     number x number       outer      one multiply and one add per term; exact for a u8 and an i8
nn, nt                 float x float         as convolutions of images of one pixel
"""

from __future__ import annotations

from bnnc.diag import InternalError, error
from bnnc.ir.bounds import PLANE_BYTES, SCATTER_TERMS
from bnnc.ir.dtype import FLOATS, INTEGERS, LANES, Packing, ceil_div
from bnnc.ir.image import Geometry
from bnnc.plan.types import WORD
from bnnc.sched.anchor import Contract, Convolve

from .base import CARRIED, SHORT, KernelText, Skeleton, count, lanes, of_kind, some_lanes
from .real import real

# Of a tile, in a thread's stack: a sum is a vector of up to 64 bytes.
GROUPED_ROWS = 128  # sums that signed sums of four terms are added to, beside tables of 8 KiB
WHOLE_ROWS = 256  # of whole numbers
OUTER_TERMS = 128  # terms whose right-hand tile, of 32 columns (16 KiB), stays in the first-level cache
OUTER_ROWS = 64  # rows whose sums wait in the stack where there are more than OUTER_TERMS terms; 256 where none wait
FORMS = {"nn": "forward", "nt": "back"}  # of a convolution of one pixel


def contract(s: Skeleton, x: Contract) -> KernelText:
    """A product of matrices, by what its operands hold."""
    a, b = x.a, x.b
    bits = [e.dtype == "bit" for e in (a, b)]
    if x.whole_rows:
        return scatter(s, x)
    if any(t and e.op != "load" for t, e in zip(bits, (a, b), strict=True)):
        raise InternalError("one-bit operands of a contraction must be in memory")
    if x.form != "tn" and bits[1] and a.dtype in ("bit", "u8"):
        return popcount(s, x)
    if bits[0] != bits[1]:
        return grouped(s, x)
    if x.form == "tn" and not any(bits):
        return outer(s, x)
    if b.dtype in FLOATS and a.dtype in FLOATS:
        return real(s, Convolve(x.result, a, b, FORMS[x.form], Geometry(1, 1, 1, 1)))
    raise error("B0701", f"the C backend has no kernel for {a.dtype} x {b.dtype} in form {x.form}", s.k.where.span)


def popcount(s: Skeleton, x: Contract) -> KernelText:
    """Sums over bits of both operands in words, a u8 as eight planes; lanes are columns of the result."""
    (m, q, n), planes = x.dims, x.a.dtype == "u8"
    words, block = ceil_div(q, 32), min(4, m)
    if planes:
        while block > 1 and block * 32 * words > PLANE_BYTES:
            block //= 2
        s.holds(32 * words <= PLANE_BYTES)
    context = {
        **s.product(),
        "m": m,
        "q": q,
        "cols": n,
        "n": lanes(n),
        "words": words,
        "block": block,
        "planes": planes,
        "gate": s.pointers[x.gate.attr] if x.gate is not None else "",
        **s.operand("a", x.a),
        **s.operand("b", x.b),
    }
    return KernelText("contract_popcount", context)


def scatter(s: Skeleton, x: Contract) -> KernelText:
    """Row j of the result: the sum of a[q][j] b[q] over the few q whose gate is open."""
    m, q, n = x.dims
    assert x.gate is not None
    s.holds(q <= SCATTER_TERMS)
    acc = s.names.new("acc")
    summed = [o.ref for o in s.k.outputs if o.row_sum]
    code, stores = s.outputs("v", "c", {0: acc}, tuple(summed))
    text = {o.ref: t for o, t in zip(s.k.outputs, code.results, strict=True)}
    stride = s.mem.storages[x.a.attr].stride
    if s.mem.storages[x.gate.attr].stride != stride:
        raise InternalError("the gate of a product is stored as its operand is")
    context = {
        "m": m,
        "q": q,
        "cols": n,
        "n": lanes(n),
        "a": s.pointers[x.a.attr],
        "gate": s.pointers[x.gate.attr],
        "stride": stride,
        **s.operand("b", x.b),
        "planes": q.bit_length(),
        "acc": acc,
        "code": code,
        "stores": stores,
        "sums": [{"var": s.names.new("sum"), "value": text[v], "ptr": s.pointers[v]} for v in summed],
        "ragged": n % LANES != 0,
    }
    return KernelText("contract_scatter", context)


def grouped(s: Skeleton, x: Contract) -> KernelText:
    """Sums over q of a number times a sign.  Lanes run over the number's other axis."""
    m, q, n = x.dims
    across = x.form == "tn"  # the number is on the right: lanes are result columns
    number, bit = (x.b, x.a) if across else (x.a, x.b)
    packed = s.mem.storages[bit.attr]
    pr = s.printer("v", "r")
    load = pr.print([number])
    whole = number.dtype in INTEGERS
    rows, extent = (m, n) if across else (n, m)
    block = min(WHOLE_ROWS if whole and q < CARRIED else GROUPED_ROWS, ceil_div(rows, LANES) * LANES)
    by_rows = packed.packing is Packing.ROWS  # word (q/32, result) against word (result, q/32)
    across_lanes = 2 * LANES if whole else LANES
    context = {
        **s.product(),
        "m": m,
        "q": q,
        "cols": n,
        "across": across,
        "rows": rows,
        "block": block,
        "count": count(rows, block),
        "tiles": ceil_div(extent, across_lanes),
        "extent": extent,
        "bits": s.pointers[bit.attr],
        "word_at": _word_at("first + i", packed.stride, by_rows, q),
        "words": f"{s.pointers[bit.attr]} + {_word_at('first', packed.stride, by_rows, q)}",
        "apart": 1 if by_rows else packed.stride,
        "n": lanes(n),
        "nq": lanes(q),
        "load": load,
        "value": pr.veci(number) if whole else pr.vec(number),
        "of": of_kind(whole),
        "some": some_lanes(n, "c", 2 * LANES),
        "long": q > SHORT,
        "high": SHORT < q < CARRIED,
        "held": False,
        "bytes": s.pointers[number.attr] if number.op == "load" and number.dtype == "i8" else "",
        "bytes_stride": n if across else q,
    }
    return KernelText("contract_whole" if whole else "contract_grouped", context)


def _word_at(result: str, stride: int, by_rows: bool, q: int) -> str:
    """Where the bits of a result lie for the terms from ``q`` on."""
    if by_rows:
        return f"q / 32 * {stride} + {result}" if q > WORD else result
    return (result if stride == 1 else f"({result}) * {stride}") + (" + q / 32" if q > WORD else "")


def outer(s: Skeleton, x: Contract) -> KernelText:
    """Sums of products of two numbers, one multiply and one add a term, in tiles of rows by lanes."""
    m, q, n = x.dims
    chunk = OUTER_TERMS if q <= OUTER_TERMS else OUTER_TERMS // 2
    block = min(256 if q <= chunk else OUTER_ROWS, ceil_div(m, LANES) * LANES)
    left, right = s.printer("v", "r"), s.printer("v", "r")
    a_code, b_code = left.print([x.a]), right.print([x.b])
    whole = x.result.dtype in INTEGERS
    context = {
        **s.product(),
        "of": of_kind(whole),
        "m": m,
        "q": q,
        "cols": n,
        "block": block,
        "chunk": chunk,
        "count": count(m, block),
        "n": lanes(n),
        "nm": lanes(m),
        "a_code": a_code,
        "a_value": left.veci(x.a) if whole else left.vec(x.a),
        "b_code": b_code,
        "b_value": right.veci(x.b) if whole else right.vec(x.b),
    }
    return KernelText("contract_outer", context)
