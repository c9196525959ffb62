"""The smallest pieces of the C: scalar numbers (bnnc_num.h) and vectors (bnnc_vec.h), at every instruction set.

Results are compared with NumPy or with ``bnnc/ir/num.py`` bit for bit; only the distance of exp and log from the true
value has a bound, 2 units in the last place.  ``none`` is the text for machines without vectors, VL = 1.
"""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers import assert_equal, cpu_levels

from bnnc.backends.c.build import WARNINGS, find_compiler
from bnnc.backends.c.targets import COMMON, PORTABLE, TARGETS
from bnnc.ir.num import EXP_MAX, EXP_MIN, exp_f32, log_f32, powi_f32
from bnnc.ir.ops import OPS
from bnnc.rng import noise

HERE = Path(__file__).parent
RUNTIME = HERE.parents[1] / "templates" / "c" / "runtime"
LEVELS = (*(level.name for level in PORTABLE), "none")
Call = Callable[..., int]
F = np.float32


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    text = "".join(f'{level.begin}\n#include "micro.c"\n{level.end}\n' for level in PORTABLE)
    text += '#undef __SSE2__\n#undef __ARM_NEON\n#define BNNC_LEVEL none\n#include "micro.c"\n'
    folder = tmp_path_factory.mktemp("micro")
    (folder / "all.c").write_text(text)
    argv = [
        *find_compiler(TARGETS["host"]).split(),
        *COMMON,
        *WARNINGS,
        f"-I{RUNTIME}",
        f"-I{RUNTIME.parent}",
        f"-I{HERE}",
        "-shared",
        "-fPIC",
        "all.c",
        "-o",
        "all.so",
    ]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return ctypes.CDLL(str(folder / "all.so"))


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest, library: ctypes.CDLL) -> Callable[[str], Call]:
    """``level("name")`` is the C function of that name at one instruction set; arrays are passed as they are."""
    name = request.param
    if name != "none" and LEVELS.index(name) >= cpu_levels():
        pytest.skip(f"this CPU has no {name}")
    return lambda f: function(library, f"{f}_{name}")


def function(library: ctypes.CDLL, name: str) -> Call:
    f = getattr(library, name)

    def call(*args: object) -> int:
        return f(
            *(ctypes.c_void_p(a.ctypes.data) if isinstance(a, np.ndarray) else ctypes.c_uint32(int(a)) for a in args)
        )

    return call


def samples(seed: int = 0, n: int = 20_003) -> np.ndarray:
    """Random f32 bit patterns (all exponents, NaNs and infinities among them) after a list of edge values."""
    tiny = np.finfo(F).tiny
    edge = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        np.inf,
        -np.inf,
        np.nan,
        tiny,
        -tiny,
        tiny / 2,
        65504,
        65519.99,
        65520,
        65536,
        2.0**-14,
        2.0**-24,
        2.0**-25,
        1.5 * 2.0**-25,
        2.0**-14 * (1 - 2.0**-11),
        1 + 2.0**-11,
        1 + 3 * 2.0**-11,
        float(EXP_MIN),
        float(EXP_MAX),
        -87.5,
        88.5,
        1e-45,
        3.4e38,
        0.70710677,
        0.70710683,
        0.99999994,
        1.0000001,
    ]
    bits = np.random.default_rng(seed).integers(0, 1 << 32, n - len(edge), dtype=np.uint64).astype(np.uint32)
    return np.concatenate([np.array(edge, F), bits.view(F)])


def dense(lo: float, hi: float, n: int = 200_000) -> np.ndarray:
    return np.linspace(lo, hi, n, dtype=np.float64).astype(F)


def ulps(got: np.ndarray, true: np.ndarray) -> float:
    """The largest distance from the true value in units of the true value's last place in f32."""
    unit = np.abs(np.spacing(true.astype(F))).astype(np.float64)
    return float(np.max(np.abs(got.astype(np.float64) - true) / unit))


# -- bnnc_num.h ------------------------------------------------------------------------------------------------------


def test_every_half_widens_exactly(library: ctypes.CDLL) -> None:
    x = np.arange(1 << 16, dtype=np.uint32).astype(np.uint16)
    y = np.empty(x.size, F)
    function(library, "num_f16_to_f32")(x, y, x.size)
    with np.errstate(invalid="ignore"):
        assert_equal(y, x.view(np.float16).astype(F), "f16 -> f32")


def halves() -> np.ndarray:
    """Everything at and around the boundary between two neighbouring halves, and random patterns."""
    h = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float64)
    middle = ((h[1:] + h[:-1]) / 2).astype(F)  # exact in f32: a half has 11 bits
    around = np.concatenate([middle, np.nextafter(middle, F(np.inf)), np.nextafter(middle, F(-np.inf)), h.astype(F)])
    return np.concatenate([samples(1), around, -around])


def test_narrowing_rounds_to_even(library: ctypes.CDLL) -> None:
    x = halves()
    y = np.empty(x.size, np.uint16)
    function(library, "num_f32_to_f16")(x, y, x.size)
    with np.errstate(over="ignore", invalid="ignore"):
        assert_equal(y.view(np.float16), x.astype(np.float16), "f32 -> f16")


def test_a_half_survives_the_round_trip(library: ctypes.CDLL) -> None:
    x = np.arange(1 << 16, dtype=np.uint32).astype(np.uint16)
    wide, back = np.empty(x.size, F), np.empty(x.size, np.uint16)
    function(library, "num_f16_to_f32")(x, wide, x.size)
    function(library, "num_f32_to_f16")(wide, back, x.size)
    nan = np.isnan(x.view(np.float16))
    np.testing.assert_array_equal(back[~nan], x[~nan])
    assert np.isnan(back.view(np.float16)[nan]).all()


@pytest.mark.parametrize(("name", "meaning", "lo", "hi"), [("exp", exp_f32, -90.0, 90.0), ("log", log_f32, 1e-6, 5.0)])
def test_exp_and_log_are_the_interpreters(
    library: ctypes.CDLL, name: str, meaning: Callable[[np.ndarray], np.ndarray], lo: float, hi: float
) -> None:
    x = np.concatenate([samples(2), dense(lo, hi)])
    y = np.empty(x.size, F)
    function(library, f"num_{name}")(x, y, x.size)
    with np.errstate(all="ignore"):
        assert_equal(y, meaning(x), name)


def test_exp_and_log_are_within_two_ulp_of_the_true_value() -> None:
    """f64 has 29 bits more, so NumPy's f64 functions stand for the truth.  Outside of the clamps only."""
    x = np.concatenate([dense(-87, 88, 400_000), np.random.default_rng(0).uniform(-1, 1, 100_000).astype(F)])
    assert ulps(exp_f32(x), np.exp(x.astype(np.float64))) <= 2
    x = np.concatenate([dense(1e-3, 4, 400_000), np.exp(dense(-87, 88)).astype(F)])
    x = x[x != 1]
    assert ulps(log_f32(x), np.log(x.astype(np.float64))) <= 2
    assert log_f32(np.ones(1, F))[0] == 0
    edge = exp_f32(np.array([-1e9, -np.inf, np.nan, 1e9, np.inf, 0.0, -0.0], F))
    np.testing.assert_array_equal(edge, np.array([edge[0], edge[0], edge[0], edge[3], edge[3], 1, 1], F))
    assert 0 < edge[0] < 1e-37 and 1e38 < edge[3] < np.inf


def test_powers(library: ctypes.CDLL) -> None:
    base = np.array([0.9, 0.999, 1.0, 0.0, -0.5, 2.0, 0.999999], F)
    x, k = (a.ravel().astype(F) for a in np.meshgrid(base, np.array([0, 1, 2, 3, 7, 8, 100, 1000, 65535, 10_000_000])))
    y = np.empty(x.size, F)
    function(library, "num_powi")(x, k, y, x.size)
    with np.errstate(over="ignore"):
        assert_equal(y, powi_f32(x, k), "powi")
        true = x.astype(np.float64) ** k.astype(np.float64)
    usual = (k <= 1000) & (np.abs(true) > 1e-30) & (np.abs(true) < 1e30)
    np.testing.assert_allclose(y[usual], true[usual], rtol=1e-4)  # one rounding a factor: at most 1000 x 2**-24


def test_square_root_is_correctly_rounded(library: ctypes.CDLL) -> None:
    x = samples(3)
    x = np.where(np.isnan(x), F(0), np.abs(x))
    y = np.empty(x.size, F)
    function(library, "num_sqrt")(x, y, x.size)
    assert_equal(y, np.sqrt(x), "sqrt")


# -- bnnc_vec.h ------------------------------------------------------------------------------------------------------


def where(kind: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return OPS[kind].run([a, b], {}, "f32")


MEANING: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "sqrt": lambda x, z: np.sqrt(x),
    "exp": lambda x, z: exp_f32(x),
    "log": lambda x, z: log_f32(x),
    "f16": lambda x, z: x.astype(np.float16).astype(F),
    "add": lambda x, z: x + z,  # subnormal numbers among them: 32-bit NEON would take them for 0
    "mul": lambda x, z: x * z,
    "div": lambda x, z: x / z,
    "neg": lambda x, z: -x,
    "abs": lambda x, z: np.abs(x),
    "max": lambda x, z: where("max", x, z),
    "min": lambda x, z: where("min", x, z),
    "select": lambda x, z: np.where(x >= 0, x, z),
    "pm1": lambda x, z: np.where(x >= 0, F(1), F(-1)),
    "01": lambda x, z: (x > z).astype(F),
    "col": lambda x, z: np.arange(x.size, dtype=F),
    "broadcast": lambda x, z: np.full(x.size, x[0], F),
}


@pytest.mark.parametrize("name", MEANING)
def test_lanes(level: Callable[[str], Call], name: str) -> None:
    x, z = samples(4), samples(5)[::-1].copy()
    y = np.empty(x.size, F)
    level(f"map_{name}")(x, z, y, x.size)
    with np.errstate(all="ignore"):
        assert_equal(y, MEANING[name](x, z).astype(F), name)


def test_lane_powers(level: Callable[[str], Call]) -> None:
    x, k = np.linspace(0, 1.2, 101, dtype=F), np.arange(101, dtype=F)
    y = np.empty(x.size, F)
    level("map_powi")(x, k, y, x.size)
    assert_equal(y, powi_f32(x, k), "powi")


def test_no_lanes_are_neither_read_nor_stored(level: Callable[[str], Call]) -> None:
    """A count of 0 or less: a kernel has one where a vector of columns begins beyond the last."""
    for n in (0, -1, -7, -8, -16, -24, -31, -33):
        places = [np.zeros(32, d) for d in (F, np.uint16, np.int32, np.int16)]
        level("no_lanes")(*places, n)
        assert not any(x.any() for x in places), n


@pytest.mark.parametrize("name", ["f32", "f16", "i32", "i16", "u8"])
def test_loads_and_tails(level: Callable[[str], Call], name: str) -> None:
    """Every length from 1 to 40; a tail reads nothing past the end (the page after it is not there) and gives zeros."""
    dtype = np.dtype({"f32": F, "f16": np.float16, "i32": np.int32, "i16": np.int16, "u8": np.uint8}[name])
    raw = np.random.default_rng(6).integers(0, 256, 4096 // dtype.itemsize * dtype.itemsize, dtype=np.uint8).view(dtype)
    page, hold = guarded(raw.nbytes)
    page[:] = raw.view(np.uint8)
    with np.errstate(invalid="ignore"):
        for n in (*range(1, 41), raw.size):
            x = page.view(dtype)[-n:]
            y = np.full(n, 7, F)
            level(f"load_{name}")(x, y, n)
            assert_equal(y, x.astype(F), f"{name}[{n}]")
    del hold


def guarded(nbytes: int) -> tuple[np.ndarray, object]:
    """``nbytes`` (at most a page) that end where an inaccessible page begins."""
    import mmap  # noqa: PLC0415

    size = mmap.PAGESIZE
    area = mmap.mmap(-1, 2 * size)
    array = np.frombuffer(area, np.uint8)
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mprotect(ctypes.c_void_p(array.ctypes.data + size), ctypes.c_size_t(size), 0) == 0
    return array[size - nbytes : size], area


def test_every_half_and_every_rounding(level: Callable[[str], Call]) -> None:
    x = halves()
    y = np.empty(x.size, np.uint16)
    level("store_f16")(x, y, x.size)
    with np.errstate(over="ignore", invalid="ignore"):
        assert_equal(y.view(np.float16), x.astype(np.float16), "f32 -> f16")
        h = np.arange(1 << 16, dtype=np.uint32).astype(np.uint16)
        wide = np.empty(h.size, F)
        level("load_f16")(h, wide, h.size)
        assert_equal(wide, h.view(np.float16).astype(F), "f16 -> f32")


@pytest.mark.parametrize("n", [1, 2, 3, 7, 8, 10, 15, 16, 17, 31, 33, 64, 100])
def test_stores_touch_n_elements(level: Callable[[str], Call], n: int) -> None:
    x = np.random.default_rng(n).integers(-32768, 32768, n).astype(np.int32)
    y, z = np.full(n + 32, -9, np.int32), np.full(n + 32, -9, np.int16)
    level("store_ints")(x, y, z, n)
    np.testing.assert_array_equal(y, [*x, *[-9] * 32])
    np.testing.assert_array_equal(z, [*x, *[-9] * 32])
    f, half = x.astype(F), np.full(n + 32, 1234, np.uint16)
    level("store_f16")(f, half, n)
    assert (half[n:] == 1234).all()
    out = np.full(n + 32, 5, F)
    level("map_abs")(f, f, out, n)
    np.testing.assert_array_equal(out, [*np.abs(f), *[5] * 32])


@pytest.mark.parametrize("fill", [0, 0xFFFFFFFF, 0xA5A5A5A5])
def test_bit_rows(level: Callable[[str], Call], fill: int) -> None:
    """Every length: bits in little-endian words, pad bits 0 whatever was there, nothing beyond the row's words."""
    for n in range(1, 140):
        x = np.random.default_rng(n).standard_normal(n).astype(F)
        words = -(-n // 32)
        row, back = np.full(words + 2, fill, np.uint32), np.empty(n, F)
        level("bits")(x, row, back, n)
        want = np.packbits(np.pad(x >= 0, (0, 32 * words - n)), bitorder="little").view(np.uint32)
        np.testing.assert_array_equal(row[:words], want)
        assert (row[words:] == fill).all()
        np.testing.assert_array_equal(back, np.where(x >= 0, 1, -1))


def test_bit_rows_in_place(level: Callable[[str], Call]) -> None:
    """A vector of bits may be replaced before its neighbours in the same byte have been read (found by Bop at 4
    lanes).
    """
    for n in range(1, 140):
        bits = np.random.default_rng(n).integers(0, 2, n).astype(bool)
        pad = (0, -n % 32)
        row = np.packbits(np.pad(bits, pad), bitorder="little").view(np.uint32)
        level("bits_in_place")(row, n)
        np.testing.assert_array_equal(row, np.packbits(np.pad(~bits, pad), bitorder="little").view(np.uint32))


def test_bits_along_rows(level: Callable[[str], Call]) -> None:
    words = np.random.default_rng(0).integers(0, 1 << 32, 48, dtype=np.uint64).astype(np.uint32)
    for r in range(70):
        y = np.empty(48, F)
        level("bits0")(words, y, r, 48)
        np.testing.assert_array_equal(y, (words >> np.uint32(r % 32)) & 1)


def test_population_count(level: Callable[[str], Call]) -> None:
    x = np.concatenate(
        [
            [0, 0xFFFFFFFF, 1, 0x80000000],
            *([1 << i, (1 << i) - 1] for i in range(32)),
            np.random.default_rng(0).integers(0, 1 << 32, 4096),
        ]
    ).astype(np.uint32)
    x = np.pad(x, (0, -x.size % 16))
    y = np.empty(x.size, np.int32)
    level("popcount")(x, y, x.size)
    np.testing.assert_array_equal(y, [int(v).bit_count() for v in x])


def test_bytes_weighed_with_bits(level: Callable[[str], Call]) -> None:
    """Four rows of bytes, sixteen columns of bits: sums of the bytes whose bit is set, and of all; all bytes 255 are
    the most there is.
    """
    for n in (1, 5, 31, 32, 33, 63, 64, 100, 784, 1024):
        rng, words = np.random.default_rng(n), -(-n // 32)
        for x in (rng.integers(0, 256, (4, n)), np.full((4, n), 255)):
            b = rng.integers(0, 1 << 32, (words, 16), dtype=np.uint64).astype(np.uint32)
            bits = (
                (b[:, None] >> np.arange(32, dtype=np.uint32)[:, None] & 1).reshape(32 * words, 16)[:n].astype(np.int64)
            )
            page, hold = guarded(4 * n)
            page[:] = x.ravel()
            sums, y = np.empty(4, np.int32), np.empty((4, 16), np.int32)
            level("weigh")(page, n, b, sums, y)
            np.testing.assert_array_equal(sums, x.sum(1))
            np.testing.assert_array_equal(y, x @ bits)
            del hold


def test_transpose(level: Callable[[str], Call]) -> None:
    n = level("lanes")()
    x, y = np.arange(n * n, dtype=F).reshape(n, n).copy(), np.empty((n, n), F)
    level("transpose")(y, x)
    np.testing.assert_array_equal(y, x.T)


def test_signed_sums_from_tables(level: Callable[[str], Call]) -> None:
    """Equal to the interpreter's grouped sum (t0 + t1) + (t2 + t3), added to the accumulator group by group."""
    n, rng = level("lanes")(), np.random.default_rng(0)
    for groups in (1, 3, 8):
        x = (rng.standard_normal((4 * groups, n)) * 10.0 ** rng.integers(-6, 6, (4 * groups, 1))).astype(F)
        for _ in range(50):
            w, start = int(rng.integers(0, 1 << 32)), rng.standard_normal(n).astype(F)
            acc = start.copy()
            level("lookup")(acc, x, w, groups)
            t = x * np.array([[1 if w >> i & 1 else -1] for i in range(4 * groups)], F)
            want = start
            for g in range(groups):
                a, b, c, d = t[4 * g : 4 * g + 4]
                want = want + ((a + b) + (c + d))
            assert_equal(acc, want, f"{groups} groups, signs {w:08x}")


def test_levels_are_the_widths_that_the_header_promises(library: ctypes.CDLL) -> None:
    have = cpu_levels()
    assert [function(library, f"lanes_{n}")() for n in LEVELS[1:have]] == [8, 16][: have - 1]
    assert function(library, "lanes_none")() == 1


def test_rows_of_bytes_become_columns(level: Callable[[str], Call]) -> None:
    """Two vectors' lanes of rows, nothing beyond their 16 bytes read."""
    n = 2 * level("lanes")()
    for stride in (16, 20, 64):
        x, hold = guarded((n - 1) * stride + 16)
        x[:] = np.random.default_rng(stride).integers(0, 256, x.size, dtype=np.uint8)
        y = np.empty((16, n), np.int32)
        level("turn_bytes")(x, stride, y)
        rows = np.lib.stride_tricks.as_strided(x.view(np.int8), (n, 16), (stride, 1))
        np.testing.assert_array_equal(y, rows.T)
        del hold


def test_a_tile_of_sums_is_turned(level: Callable[[str], Call]) -> None:
    n = 2 * level("lanes")()
    x = np.random.default_rng(n).integers(-32512, 32513, (n, n), dtype=np.int32)
    y = np.empty((n, n), np.int32)
    level("turn_whole")(x, y)
    np.testing.assert_array_equal(y, x.T)


def test_signed_sums_of_whole_numbers(level: Callable[[str], Call]) -> None:
    n, rng = 2 * level("lanes")(), np.random.default_rng(0)
    for x in (*rng.integers(-127, 128, (20, 32, n), dtype=np.int8), np.full((32, n), -127, np.int8)):
        w, wide, y = int(rng.integers(0, 1 << 32)), np.empty(n, np.int32), np.empty((4, n), np.int32)
        level("widen_whole")(x, wide)
        np.testing.assert_array_equal(wide, x[0])
        level("lookup_whole")(x, w, y)
        signs = np.array([1 if w >> j & 1 else -1 for j in range(32)])
        np.testing.assert_array_equal(y[0], -(signs @ x.astype(np.int32)))
        np.testing.assert_array_equal(y[2], signs @ x.astype(np.int32))
        np.testing.assert_array_equal(y[3], signs[16:] @ x[16:].astype(np.int32))
        np.testing.assert_array_equal(y[1], 1 - x.sum(0, dtype=np.int32) + signs[:16] @ x[:16].astype(np.int32))


def test_noise(level: Callable[[str], Call]) -> None:
    for seed, stream, tick, col, group in ((0, 0, 0, 0, 0), (7, 0xF0000002, 2**31, 16, 3), (2**32 - 1, 5, 9, 48, 1)):
        y = np.empty((16, 16), np.int32)
        level("noise")(np.array([seed, stream, tick, col, group], np.uint32), y)
        want = noise(seed, stream, tick, 16 * group + 16, col + 16)[16 * group :, col:]
        np.testing.assert_array_equal(y, want)


def test_whole_sums_of_many_terms(level: Callable[[str], Call]) -> None:
    """16 bits and what is carried beside them, up to the largest sums of either sign, neighbours' signs unlike."""
    n, most = 2 * level("lanes")(), 192 * 127
    rng = np.random.default_rng(0)
    for steps in (1, 2, 7, 1000):
        unlike = np.full((steps, n), most, np.int32) * np.where(np.arange(n) % 3 == 1, -1, 1).astype(np.int32)
        for x in (rng.integers(-most, most + 1, (steps, n), dtype=np.int32), unlike, -unlike, np.roll(unlike, 1, 1)):
            y = np.empty(n, np.int32)
            level("carry")(x, steps, y)
            np.testing.assert_array_equal(y, x.sum(0, dtype=np.int32))
