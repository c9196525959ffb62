"""The PTX emulator, opcode by opcode, against what the PTX manual says; what it does not know it refuses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
from ptx_machine import Launch, Program
from ptx_memory import BASE, Fault
from ptx_parse import UnknownPtx, instruction, parse
from ptx_translate import RESULTS, translate

KINDS = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}
HEADER = ".visible .entry k(\n.param .u64 k_param_0\n)\n.reqntid {threads}\n{{\n"
LANES = """ld.param.b64 %rd1, [k_param_0];
mov.u32 %r1, %tid.x;
mul.wide.u32 %rd2, %r1, 8;
add.s64 %rd3, %rd1, %rd2;
"""
N = 32


def kernel(body: str, threads: int = 32) -> Program:
    return Program(parse(HEADER.format(threads=threads) + body + "\nret;\n}\n"))


def launch(body: str, memory: np.ndarray, threads: int = 32, **more: object) -> Launch:
    made = Launch(kernel(body, threads), memory.reshape(-1).view(np.uint8), **{"grid": 1, "shared": 4096, **more})  # type: ignore[arg-type]
    made.run()
    return made


def lanes(op: str, args: Sequence[Sequence[int]], size: int = 4, wide: int = 0) -> list[int]:
    """What an instruction makes of operands, one list each, in the first lanes; ``wide``: bytes of its result."""
    kind, to = {2: "rs", 4: "r", 8: "rd"}, {2: "rs", 4: "r", 8: "rd"}[wide or size]
    memory = np.zeros((1 + len(args), N, 8), np.uint8)
    body = LANES
    for k, values in enumerate(args, 1):
        memory[k].reshape(-1).view(np.uint64)[: len(values)] = np.array(values, np.uint64)
        body += f"ld.global.b{8 * size} %{kind[size]}{50 + k}, [%rd3+{8 * N * k}];\n"
    given = ", ".join(f"%{kind[size]}{51 + k}" for k in range(len(args)))
    launch(f"{body}{op} %{to}60, {given};\nst.global.b{8 * (wide or size)} [%rd3], %{to}60;", memory)
    return [int(x) for x in memory[0].reshape(-1).view(np.uint64)[: len(args[0])]]


def f32(*values: float) -> list[int]:
    return [int(x) for x in np.array(values, np.float32).view(np.uint32)]


def f16(*values: float) -> list[int]:
    return [int(x) for x in np.array(values, np.float16).view(np.uint16)]


TOP, ALL = 1 << 31, (1 << 32) - 1
WHOLE = [
    ("add.s32", [[5, ALL], [7, 2]], [12, 1]),
    ("sub.s32", [[5, 0], [7, 1]], [ALL - 1, ALL]),
    ("mul.lo.s32", [[ALL, 65537], [3, 65537]], [ALL - 2, 131073]),
    ("mul.hi.u32", [[ALL], [ALL]], [ALL - 1]),
    ("mul.hi.s32", [[ALL], [ALL]], [0]),
    ("mad.lo.s32", [[3], [4], [ALL]], [11]),
    ("div.s32", [[ALL - 6, 7], [2, ALL - 1]], [ALL - 2, ALL - 2]),
    ("rem.s32", [[ALL - 6, 7], [2, ALL - 1]], [ALL, 1]),
    ("div.u32", [[ALL], [2]], [TOP - 1]),
    ("rem.u32", [[ALL], [10]], [5]),
    ("neg.s32", [[1, TOP]], [ALL, TOP]),
    ("abs.s32", [[ALL, 3]], [1, 3]),
    ("min.s32", [[ALL], [3]], [ALL]),
    ("max.s32", [[ALL], [3]], [3]),
    ("min.u32", [[ALL], [3]], [3]),
    ("max.u32", [[ALL], [3]], [ALL]),
    ("and.b32", [[12], [10]], [8]),
    ("or.b32", [[12], [10]], [14]),
    ("xor.b32", [[12], [10]], [6]),
    ("not.b32", [[0]], [ALL]),
    ("shl.b32", [[3, 3, 3], [31, 32, ALL]], [TOP, 0, 0]),
    ("shr.u32", [[TOP, TOP], [31, 32]], [1, 0]),
    ("shr.s32", [[TOP, TOP], [31, 99]], [ALL, ALL]),
    ("shf.l.wrap.b32", [[TOP, 1], [1, 2], [1, 32]], [3, 2]),
    ("shf.r.wrap.b32", [[TOP], [1], [1]], [TOP | 1 << 30]),
    ("popc.b32", [[ALL, 10]], [32, 2]),
    ("add.s16x2", [[0xFFFF0001], [0x00010002]], [3]),
    ("sub.s16x2", [[0x00000001], [0x00010002]], [0xFFFFFFFF]),
    ("min.s16x2", [[0xFFFF0001], [0x00010002]], [0xFFFF0001]),
    ("max.s16x2", [[0xFFFF0001], [0x00010002]], [0x00010002]),
    ("copysign.f32", [f32(-1.0), f32(2.0)], f32(-2.0)),
]


@pytest.mark.parametrize(("op", "args", "want"), WHOLE, ids=[w[0] for w in WHOLE])
def test_whole_numbers(op: str, args: list[list[int]], want: list[int]) -> None:
    assert lanes(op, args) == want


def test_wide_and_narrow_numbers() -> None:
    assert lanes("mul.wide.s32", [[ALL], [3]], wide=8) == [(1 << 64) - 3]
    assert lanes("mul.wide.u32", [[ALL], [3]], wide=8) == [3 * ALL]
    assert lanes("mul.wide.s16", [[0xFFFF], [3]], size=2, wide=4) == [ALL - 2]
    assert lanes("mul.hi.u16", [[0xFFFF], [0xFFFF]], size=2) == [0xFFFE]
    assert lanes("shr.s16", [[0x8000], [0]], size=2) == [0x8000]
    assert lanes("add.s64", [[(1 << 64) - 1], [2]], size=8) == [1]
    assert lanes("cvt.s32.s16", [[0x8000]], size=2, wide=4) == [0xFFFF8000]
    assert lanes("cvt.u32.u16", [[0x8000]], size=2, wide=4) == [0x8000]
    assert lanes("cvt.s32.s8", [[0x180]], size=4) == [0xFFFFFF80]
    assert lanes("cvt.u16.u32", [[0x12345]], size=4, wide=2) == [0x2345]
    assert lanes("cvt.s64.s32", [[ALL]], size=4, wide=8) == [(1 << 64) - 1]


def test_immediates() -> None:
    memory = np.zeros((2, N), np.uint64)
    body = LANES + "mov.b32 %r2, 0x80000F0F;\n"
    ops = [
        ("bfe.u32 %r3, %r2, 8, 4;", 15),
        ("bfe.s32 %r3, %r2, 28, 4;", ALL - 7),
        ("bfi.b32 %r3, 0x1234U, %r2, 8, 4;", 0x8000040F),
        ("prmt.b32 %r3, %r2, 305419896, 0x5410U;", 0x56780F0F),
        ("prmt.b32 %r3, %r2, 0, 0xBBBBU;", ALL),
        ("mov.b32 %r3, 0f3F800000;", 0x3F800000),
        ("add.s32 %r3, %r2, -1;", 0x80000F0E),
        ("mov.b32 {%rs1, %rs2}, %r2; mov.b32 %r3, {%rs2, %rs1};", 0x0F0F8000),
        ("setp.lt.s32 %p1, %r2, 0; selp.b32 %r3, 7, 9, %p1;", 7),
        ("setp.lt.u32 %p1, %r2, 0; selp.b32 %r3, 7, 9, %p1;", 9),
        ("setp.lt.s32 %p1, %r2, 0; mov.b32 %r3, 1; @%p1 mov.b32 %r3, 2; @!%p1 mov.b32 %r3, 3;", 2),
        ("setp.ne.b32 %p1, %r2, 0; not.pred %p2, %p1; or.pred %p1, %p1, %p2; selp.b32 %r3, 1, 0, %p1;", 1),
    ]
    for text, want in ops:
        launch(f"{body}{text}\nst.global.b32 [%rd3], %r3;", memory)
        assert memory[0, 0] == want, text


def test_floats() -> None:
    nan, inf = math.nan, math.inf
    assert lanes("add.rn.f32", [f32(1, inf), f32(2**-24, -inf)])[0] == f32(1)[0]
    assert lanes("mul.rn.f32", [f32(2**-100), f32(2**-49)]) == [1], "denormals stay"
    assert lanes("div.rn.f32", [f32(1, 1), f32(3, 0)]) == f32(1 / 3, inf)
    assert lanes("sqrt.rn.f32", [f32(2)]) == f32(math.sqrt(2))
    assert lanes("neg.f32", [f32(0.0)]) == f32(-0.0)
    assert lanes("abs.f32", [f32(-3)]) == f32(3)
    assert lanes("max.f32", [f32(nan, -0.0, 1), f32(2, 0.0, 3)]) == f32(2, 0.0, 3)
    assert lanes("min.f32", [f32(nan, 0.0, 1), f32(2, -0.0, 3)]) == f32(2, -0.0, 1)
    assert lanes("max.f16", [f16(nan, -0.0, 1), f16(2, 0.0, 3)], size=2) == f16(2, 0.0, 3)
    assert lanes("min.f16", [f16(nan, 0.0, 1), f16(2, -0.0, 3)], size=2) == f16(2, -0.0, 1)
    assert lanes("cvt.rzi.s32.f32", [f32(-1.9, nan, 3e9, -inf)]) == [ALL, 0, TOP - 1, TOP]
    assert lanes("cvt.rn.f32.s32", [[ALL, 16777217]]) == f32(-1, 16777216)
    assert lanes("cvt.rn.f16.f32", [f32(1 / 3, 70000)], wide=2) == f16(1 / 3, inf)
    assert lanes("cvt.f32.f16", [f16(1 / 3)], size=2, wide=4) == f32(np.float16(1 / 3))
    assert lanes("cvt.rn.f16x2.f32", [f32(1), f32(2)]) == [f16(1)[0] << 16 | f16(2)[0]]
    for c, want in {"lt": 0, "ltu": 1, "eq": 0, "neu": 1, "ge": 0, "geu": 1}.items():
        memory = np.zeros(N, np.uint64)
        text = f"mov.b32 %r2, 0f7FC00000; setp.{c}.f32 %p1, %r2, 0f00000000; selp.b32 %r3, 1, 0, %p1;"
        launch(f"{LANES}{text}\nst.global.b32 [%rd3], %r3;", memory)
        assert memory[0] == want, c


def test_fma_is_rounded_once() -> None:
    draw = np.random.default_rng(0)
    a, b = (draw.standard_normal(N).astype(np.float32) for _ in range(2))
    c = (-a.astype(np.float64) * b * (1 + draw.integers(-3, 4, N) * 2.0**-24) + 2.0**-55).astype(np.float32)
    a[0], b[0], c[0] = 1 + 2**-12, 1 + 2**-12, 2.0**-60  # the f64 sum lies halfway between two f32
    got = np.array(lanes("fma.rn.f32", [f32(*x) for x in (a, b, c)]), np.uint32).view(np.float32)
    for x, y, z, value in zip(a, b, c, got, strict=True):
        exact = Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z))
        off = abs(Fraction(float(value)) - exact)
        for other in (np.nextafter(value, np.float32(np.inf)), np.nextafter(value, np.float32(-np.inf))):
            assert off <= abs(Fraction(float(other)) - exact)


def test_lanes_of_a_warp_exchange() -> None:
    ids = list(range(N))
    memory = np.zeros(N, np.uint64)
    for text, want in (
        ("shfl.sync.bfly.b32 %r3, %r1, 4, 31, -1;", [i ^ 4 for i in ids]),
        ("mov.b32 %r2, 5; shfl.sync.idx.b32 %r3, %r1, %r2, 31, -1;", [5] * N),
        ("redux.sync.add.s32 %r3, %r1, -1;", [sum(ids)] * N),
        ("xor.b32 %r2, %r1, -2; redux.sync.max.s32 %r3, %r2, -1;", [0xFFFFFFFF] * N),
        ("bar.warp.sync -1; mov.b32 %r3, %r1;", ids),
    ):
        launch(f"{LANES}{text}\nst.global.b32 [%rd3], %r3;", memory)
        assert memory.tolist() == want, text


def test_matrices() -> None:
    """mma on int8: against matrices that are put where the manual says; ldmatrix and stmatrix are each other's."""
    draw = np.random.default_rng(1)
    a, b = draw.integers(-128, 128, (16, 32)).astype(np.int8), draw.integers(-128, 128, (32, 8)).astype(np.int8)
    memory = np.zeros((10, N), np.uint64)
    for lane in range(N):
        group, at = lane // 4, 4 * (lane % 4)
        parts = [a[group + 8 * (i % 2), at + 16 * (i // 2) :][:4] for i in range(4)]
        parts += [b[at + 16 * i : at + 16 * i + 4, group].copy() for i in range(2)]
        memory[:6, lane] = [int(np.ascontiguousarray(p).view(np.uint32)[0]) for p in parts]
    body = LANES + "".join(f"ld.global.b32 %r{10 + i}, [%rd3+{8 * N * i}];\n" for i in range(6))
    body += (
        "".join(f"mov.b32 %r{20 + i}, {i};\n" for i in range(4))
        + "mma.sync.aligned.m16n8k32.row.col.satfinite.s32.s8.s8.s32 {%r30, %r31, %r32, %r33}, "
        + "{%r10, %r11, %r12, %r13}, {%r14, %r15}, {%r20, %r21, %r22, %r23};\n"
        + "".join(f"st.global.b32 [%rd3+{8 * N * (6 + i)}], %r{30 + i};\n" for i in range(4))
    )
    launch(body, memory)
    want = a.astype(np.int64) @ b
    for lane in range(N):
        for i in range(4):
            exact = want[lane // 4 + 8 * (i // 2), 2 * (lane % 4) + i % 2] + i
            assert memory[6 + i, lane].astype(np.uint32).view(np.int32) == exact
    words = LANES + "mul.lo.s32 %r2, %r1, 16;\nadd.s32 %r3, %r1, 65536;\n"
    words += "stmatrix.sync.aligned.m8n8.x1{t}.shared.b16 [%r2], {{%r3}};\n"
    read = "ldmatrix.sync.aligned.m8n8.x1{t}.shared.b16 {{%r4}}, [%r2];\nst.global.b32 [%rd3], %r4;"
    for t in ("", ".trans"):
        launch((words + read).format(t=t).replace("%r1, 16;", "%r1, 16;\nand.b32 %r2, %r2, 127;"), memory)
        assert memory[0].tolist() == [65536 + i for i in range(N)]


def swizzled(rows: np.ndarray, width: int) -> np.ndarray:
    """Rows of 32 bytes as they lie in shared memory, each at the begin of ``width``: 16 bytes change places, by the
    address's bits from 7 on (PTX manual, "Shared Memory Matrix Layout").
    """
    out = np.zeros(len(rows) * width, np.uint8)
    for r, row in enumerate(rows):
        for k in (0, 16):
            at = r * width + k
            out[at ^ ((at >> 7) % (width // 16) << 4) :][:16] = row[k : k + 16]
    return out


@pytest.mark.parametrize("width", [32, 64, 128])
@pytest.mark.parametrize("kind", ["s32.s8.s8", "f32.f16.f16"])
@pytest.mark.parametrize("held", [True, False])
def test_products_of_four_warps(kind: str, width: int, held: bool) -> None:
    """wgmma of 64 x 16 results, the left operand in registers (``held``) or in shared memory, the right one there, with
    each swizzle: against matrices that are put where the manual says.
    """
    draw, (dtype, threads) = np.random.default_rng(1), (np.int8 if "s8" in kind else np.float16, 128)
    a, b = (draw.integers(-9, 9, (n, 32 // np.dtype(dtype).itemsize)).astype(dtype) for n in (64, 16))
    left, right = (np.ascontiguousarray(x).view(np.uint8) for x in (a, b))
    shared = np.concatenate([swizzled(right, width), swizzled(left, width)])
    memory = np.zeros((12 + len(shared) // 512, threads), np.uint64)
    memory[12:] = shared.view(np.uint32).reshape(-1, threads)
    for t in range(threads):
        at = [(16 * (t // 32) + t % 32 // 4 + 8 * (i % 2), 4 * (t % 4) + 16 * (i // 2)) for i in range(4)]
        memory[:4, t] = [int(left[r, k : k + 4].copy().view(np.uint32)[0]) for r, k in at]
    body = LANES + "".join(f"ld.global.b32 %r{10 + i}, [%rd3+{8 * threads * i}];\n" for i in range(4))
    body += "shl.b32 %r2, %r1, 2;\n" + "".join(
        f"ld.global.b32 %r3, [%rd3+{8 * threads * (12 + i)}];\nst.shared.b32 [%r2+{4 * threads * i}], %r3;\n"
        for i in range(len(shared) // 512)
    )
    swizzle = {128: 1, 64: 2, 32: 3}[width] << 62 | (8 * width >> 4) << 32
    first = "{%r10, %r11, %r12, %r13}" if held else "%rd6"
    body += f"mov.b64 %rd5, {swizzle};\nmov.b64 %rd6, {swizzle | 16 * width >> 4};\nbar.sync 0;\n"
    body += "mov.pred %p1, 0;\n" + "".join(f"mov.b32 %r{20 + i}, 7;\n" for i in range(8))
    signs = ("" if "s8" in kind else ", 1, 1") + ("" if "s8" in kind else ", 0" if held else ", 0, 0")
    body += f"wgmma.mma_async.sync.aligned.m64n16k{32 if 's8' in kind else 16}.{kind} "
    body += f"{{{', '.join(f'%r{20 + i}' for i in range(8))}}}, {first}, %rd5, %p1{signs};\n"
    body += "".join(f"st.global.b32 [%rd3+{8 * threads * (4 + i)}], %r{20 + i};\n" for i in range(8))
    launch(body, memory, threads, shared=len(shared))
    want, result = a.astype(np.int64) @ b.astype(np.int64).T, np.int32 if "s8" in kind else np.float32
    for t in range(threads):
        for i in range(8):
            got = memory[4 + i, t].astype(np.uint32).view(result)
            assert got == want[16 * (t // 32) + t % 32 // 4 + 8 * (i // 2 % 2), 8 * (i // 4) + 2 * (t % 4) + i % 2]


def test_copies_arrive_when_they_are_waited_for() -> None:
    memory = np.arange(4 * N, dtype=np.uint64)
    body = LANES + "shl.b32 %r2, %r1, 2;\nst.shared.b32 [%r2], %r1;\n"
    body += "cp.async.ca.shared.global [%r2], [%rd3+256], 0x4, 4;\ncp.async.commit_group;\n"
    late = "ld.shared.b32 %r4, [%r2];\nst.global.b32 [%rd3], %r4;\ncp.async.wait_group 0;"
    launch(body + late, memory)
    assert memory[:N].tolist() == list(range(N)), "not there yet"
    launch(body + "cp.async.wait_group 0;\n" + late, memory)
    assert memory[:N].tolist() == list(range(N, 2 * N))
    zeros = body.replace("0x4, 4;", "0x4, 0;") + "cp.async.wait_group 0;\n" + late
    launch(zeros, memory)
    assert memory[:N].tolist() == [0] * N


def test_lanes_that_go_apart_come_together() -> None:
    """A loop of as many turns as the lane's number says, in a branch that only some lanes take."""
    memory = np.full(N, 99, np.uint64)
    body = """
mov.b32 %r2, 0;
and.b32 %r3, %r1, 1;
setp.eq.b32 %p1, %r3, 0;
@%p1 bra $L_end;
mov.b32 %r4, %r1;
$L_loop:
add.s32 %r2, %r2, 2;
add.s32 %r4, %r4, -1;
setp.gt.s32 %p2, %r4, 0;
@%p2 bra $L_loop;
$L_end:
shfl.sync.bfly.b32 %r5, %r2, 1, 31, -1;
st.global.b32 [%rd3], %r5;
"""
    launch(LANES + body, memory)
    assert memory.tolist() == [2 * (i ^ 1) if (i ^ 1) % 2 else 0 for i in range(N)]


def test_a_branch_that_lies_behind_the_barrier_comes_back_to_it() -> None:
    """Lanes wait at a barrier for those whose code stands further on."""
    memory = np.full(N, 99, np.uint64)
    body = """
mov.b32 %r2, 5;
and.b32 %r3, %r1, 1;
setp.eq.b32 %p1, %r3, 0;
@%p1 bra $L_far;
$L_back:
bar.sync 0;
st.global.b32 [%rd3], %r2;
ret;
$L_far:
mov.b32 %r2, 7;
bra.uni $L_back;
"""
    launch(LANES + body, memory)
    assert memory.tolist() == [5 if i % 2 else 7 for i in range(N)]


@pytest.mark.parametrize(
    "text",
    [
        "add.f32 %r1, %r2, %r3",  # might be joined with a product
        "mul.rn.ftz.f32 %r1, %r2, %r3",
        "add.sat.s32 %r1, %r2, %r3",
        "ld.global.nc.b32 %r1, [%rd1]",
        "ld.volatile.global.b32 %r1, [%rd1]",
        "atom.global.add.u32 %r1, [%rd1], %r2",
        "atom.global.gpu.acq_rel.exch.b32 %r1, [%rd1], %r2",
        "shfl.sync.bfly.b32 %r1, %r2, 4, 15, -1",
        "ex2.approx.f32 %r1, %r2",
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%r1}, {%r2}, {%r3}, {%r4}",
        "wgmma.mma_async.sync.aligned.m64n16k32.s32.u8.s8 {%r1}, %rd1, %rd2, %p1",
        "wgmma.mma_async.sync.aligned.m64n16k16.f32.f16.f16 {%r1}, %rd1, %rd2, %p1, -1, 1, 0, 0",
        "cvt.rn.bf16.f32 %rs1, %r2",
        "and.b32 %r1, %p1, %r2",
    ],
)
def test_what_is_not_known_is_refused(text: str) -> None:
    with pytest.raises(UnknownPtx):
        translate(instruction(text))
    assert instruction(text).op not in RESULTS or "%p1" in text or "15" in text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("ld.global.b32 %r2, [%rd3+100000];", "ends at"),
        ("ld.global.b32 %r2, [%rd3+2];", "4 bytes at"),
        ("ld.global.v2.b64 {%rd4, %rd5}, [%rd3];", "16 bytes at"),
        ("st.shared.b32 [%r1], %r1;", "4 bytes at"),
        ("setp.eq.b32 %p1, %r1, 0;\\n@%p1 bra $L_x;\\nshfl.sync.bfly.b32 %r5, %r1, 1, 31, -1;\\n$L_x:", "apart"),
    ],
)
def test_faults(text: str, why: str) -> None:
    with pytest.raises(Fault, match=why):
        launch(LANES + text.replace("\\n", "\n"), np.zeros(4 * N, np.uint64))


# -- races ------------------------------------------------------------------------------------------------------------

STORE = "st.global.b32 [%rd1+{at}], %r1;\n"


def races(body: str, threads: int, **more: object) -> set[str]:
    return {r.what for r in launch(LANES + body, np.zeros(64 * N, np.uint64), threads, **more).races}


def test_races_between_warps() -> None:
    """A word through shared memory from one warp to the other: a barrier each way."""
    body = "shl.b32 %r2, %r1, 2;\nxor.b32 %r3, %r2, 128;\nst.shared.b32 [%r2], %r1;\n{a}ld.shared.b32 %r4, [%r3];\n{b}st.shared.b32 [%r2], %r4;"  # noqa: E501
    bar = "bar.sync 0;\n"
    assert races(body.format(a=bar, b=bar), 64, warps=True) == set()
    for a, b in (("", bar), (bar, "")):
        found = races(body.format(a=a, b=b), 64, warps=True)
        assert found and found <= {"read after write", "write after read"}
    for text, what in (
        (STORE.format(at=0), {"two lanes of one store"}),
        ("ld.global.b32 %r2, [%rd1];\n@%p1 st.global.b32 [%rd1], %r1;\n", set()),
        ("setp.eq.b32 %p1, %r1, 0;\nld.global.b32 %r2, [%rd1];\n@%p1 st.global.b32 [%rd1], 5;\n", {"write after read"}),
    ):
        found = races(text, 64, warps=True)
        assert found >= what and (what or not found), text


BARRIER = """setp.eq.b32 %p1, %r1, 0;
mov.u32 %r20, %nctaid.x;
mov.u32 %r21, %ctaid.x;
bar.sync 0;
@%p1 atom.global.gpu.acq_rel.add.u32 %r10, [%rd1+0], 1;
$L_spin:
ld.global.gpu.acquire.b32 %r11, [%rd1+0];
setp.lt.s32 %p2, %r11, %r20;
@%p2 bra $L_spin;
bar.sync 0;
"""
OWN = "mul.wide.u32 %rd5, %r21, 4;\nadd.s64 %rd6, %rd1, %rd5;\n@%p1 st.global.b32 [%rd6+64], 7;\n"
NEXT = "ld.global.b32 %r12, [%rd1+64];\n"


def test_races_between_programs() -> None:
    """What one program stores all others read: behind a barrier, with its wait removed, with no barrier at all."""
    before = BARRIER[: BARRIER.index("bar.sync")]
    whole = BARRIER.replace("bar.sync 0;\n@%p1 atom", OWN + "bar.sync 0;\n@%p1 atom") + NEXT
    at = {"grid": 4, "barrier": range(8)}
    assert races(whole, 32, **at) == set()
    blind = whole.replace("@%p2 bra $L_spin;\n", "")
    assert "before all programs came to the grid's barrier" in races(blind, 32, **at)
    assert races(before + OWN + NEXT, 32, grid=4) & {"read after write", "write after read"}


def test_a_deadlock_is_told() -> None:
    body = "setp.gt.u32 %p1, %r1, 31;\n@%p1 bra $L_end;\nbar.sync 0;\n$L_end:\n"
    with pytest.raises(Fault, match="deadlock"):
        launch(LANES + body, np.zeros(64, np.uint64), 64, warps=True)
    assert BASE % 16 == 0
