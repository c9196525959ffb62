"""What Triton kernels call: bits, exp, log, powers, random numbers, the grid barrier.

Equal to ``bnnc/ir/num.py`` and ``bnnc/rng.py`` bit for bit (compile with ``enable_fp_fusion=False``).  Only built-in
Triton operations are used, no helper of Triton's own library: so everything here runs compiled and interpreted in one
process. Words are uint32; a mask is int1; counters and indices are int32.
"""

from typing import Any

import triton
import triton.language as tl
from triton.language.standard import _elementwise_max as MAX
from triton.language.standard import _sum_combine as ADD

from bnnc import rng
from bnnc.ir import num

LOG2E, LN2_HI, LN2_LO = (tl.constexpr(float(x)) for x in (num.LOG2E, num.LN2_HI, num.LN2_LO))
E0, E1, E2, E3, E4, E5 = (tl.constexpr(float(x)) for x in num.EXP_POLY)
L0, L1, L2, L3, L4, L5, L6, L7, L8 = (tl.constexpr(float(x)) for x in num.LOG_POLY)
DITHER_ROW, DITHER_COLUMN = (tl.constexpr(x) for x in rng.DITHER)
ROUND = tl.constexpr(float(num.ROUND))
ROOT_HALF = tl.constexpr(float(num.F(0.707106781186547524)))
LEAST = tl.constexpr(2.0**-126)


@triton.jit
def at(arena: "Any", offset: tl.constexpr, kind: tl.constexpr) -> "Any":
    """A pointer to numbers of a kind, that begin at a byte of the device's memory."""
    return (arena + offset).to(tl.pointer_type(kind))


@triton.jit
def const(x: tl.constexpr) -> "Any":
    """An f32 constant that is not folded in double precision."""
    return tl.full([], x, tl.float32)


@triton.jit
def exp(x: "Any") -> "Any":
    """e**x, x clamped to [-87, 88]."""
    x = tl.where(x > -87.0, x, -87.0)
    x = tl.where(x < 88.0, x, 88.0)
    n = (x * LOG2E + ROUND) - ROUND
    r = (x - n * LN2_HI) - n * LN2_LO
    p = r * E0 + E1
    p = p * r + E2
    p = p * r + E3
    p = p * r + E4
    p = p * r + E5
    y = (p * (r * r) + r) + 1.0
    return y * ((n.to(tl.int32) + 127) << 23).to(tl.float32, bitcast=True)


@triton.jit
def log(x: "Any") -> "Any":
    """ln x; what is below the smallest normal number is taken as that."""
    x = tl.where(x > LEAST, x, LEAST)
    bits = x.to(tl.int32, bitcast=True)
    e = (bits >> 23) - 126
    m = ((bits & 0x007FFFFF) | 0x3F000000).to(tl.float32, bitcast=True)
    small = m < ROOT_HALF
    e = tl.where(small, e - 1, e)
    m = tl.where(small, m + m, m) - 1.0
    z = m * m
    p = m * L0 + L1
    p = p * m + L2
    p = p * m + L3
    p = p * m + L4
    p = p * m + L5
    p = p * m + L6
    p = p * m + L7
    p = p * m + L8
    fe = e.to(tl.float32)
    y = (m * z) * p
    y = y + fe * LN2_LO
    y = y - z * 0.5
    return (m + y) + fe * LN2_HI


@triton.jit
def powi(x: "Any", n: "Any") -> "Any":
    """x to a whole power n >= 0 (both f32), by squaring."""
    k, out, b = (n + const(0.0)).to(tl.int32), const(1.0), x * const(1.0)
    for _ in tl.static_range(31):
        out = tl.where((k & 1) != 0, out * b, out)
        b = b * b
        k = k >> 1
    return out


@triton.jit
def rate(scale: tl.constexpr, a: "Any", b: "Any") -> "Any":
    """floor(sqrt(scale a / max(b, 1))), at most 65536; a, b >= 0."""
    x = a.to(tl.uint64) * scale // tl.where(b > 1, b, 1).to(tl.uint64)
    root = x * 0
    for i in tl.static_range(17):
        more = root | (1 << (16 - i))
        root = tl.where(more * more <= x, more, root)
    return tl.where(root < 65536, root, 65536).to(tl.int32)


@triton.jit
def popcount(x: "Any") -> "Any":
    """Set bits of a uint32, as int32; the compiler makes one instruction of it."""
    x = x - ((x >> 1) & 0x55555555)
    x = (x & 0x33333333) + ((x >> 2) & 0x33333333)
    x = (x + (x >> 4)) & 0x0F0F0F0F
    return ((x * 0x01010101) >> 24).to(tl.int32)


@triton.jit
def bit(word: "Any", i: "Any") -> "Any":
    """Bit i % 32 of a word, as a mask."""
    return ((word >> (i & 31)) & 1) != 0


@triton.jit
def small(x: "Any") -> "Any":
    """A whole number of 16 bits as an f32: exact, and by adders, of which a GPU has more than converters."""
    shifted = x.to(tl.int16).to(tl.uint16, bitcast=True).to(tl.uint32) ^ 0x4B008000
    return shifted.to(tl.float32, bitcast=True) - 8421376.0


@triton.jit
def of_four(x0: "Any", x1: "Any", x2: "Any", x3: "Any", signs: "tl.constexpr") -> "Any":
    """(+-x0 +- x1) + (+-x2 + x3): bit i of ``signs`` is set where x[i] is added."""
    left = x0 + x1 if (signs & 1) == (signs >> 1 & 1) else x0 - x1
    right = x3 + x2 if signs & 4 else x3 - x2
    return right + left if signs & 1 else right - left


@triton.jit
def beside(x: "Any") -> "Any":
    """Eight tensors as one, along a last axis."""
    low, high = tl.join(tl.join(x[0], x[4]), tl.join(x[2], x[6])), tl.join(tl.join(x[1], x[5]), tl.join(x[3], x[7]))
    return tl.reshape(tl.join(low, high), (x[0].shape[0], x[0].shape[1], 8))


@triton.jit
def choices(word: "Any") -> "Any":
    """A word of 32 signs as eight numbers of 4 bits: which sum of four terms (:func:`of_four`), and in the highest bit
    whether minus that: where the last sign is, for then all are the other way round.
    """
    return word ^ ((((word >> 3) & 0x11111111) ^ 0x11111111) * 7) ^ 0x88888888


@triton.jit
def negated(x: "Any", choices: "Any", i: "tl.constexpr") -> "Any":
    """An f32, or minus that, as the highest bit of number i of ``choices`` says."""
    return (x.to(tl.uint32, bitcast=True) ^ ((choices << (28 - 4 * i)) & 0x80000000)).to(tl.float32, bitcast=True)


@triton.jit
def signed(x: "Any", word: "Any", i: "Any") -> "Any":
    """An f32 times the sign that bit i % 32 of a word is: less than 0 where that is 0."""
    negative = (((word ^ 0xFFFFFFFF) >> (i & 31)) << 31).to(tl.int32, bitcast=True)
    return (x.to(tl.int32, bitcast=True) ^ negative).to(tl.float32, bitcast=True)


@triton.jit
def funnel(low: "Any", high: "Any", first: "Any", count: "Any") -> "Any":
    """Bits first % 32 .. + count - 1 of two words, 1 <= count <= 32."""
    shift = (tl.full([], 0, tl.int32) + first & 31).to(tl.uint32)
    drop = (tl.full([], 32, tl.int32) - count).to(tl.uint32)
    return (((low >> shift) | ((high << 1) << (31 - shift))) << drop) >> drop


@triton.jit
def source(
    r: "Any",
    k: "Any",
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    OUT_HEIGHT: tl.constexpr,
    OUT_WIDTH: tl.constexpr,
    KX: tl.constexpr,
    STRIDE: tl.constexpr,
    TOP: tl.constexpr,
    LEFT: tl.constexpr,
) -> "Any":
    """The row of the pixel that output pixel r's window has at position k, and whether there is one (ir/image.py)."""
    y = r // OUT_WIDTH % OUT_HEIGHT * STRIDE + k // KX - TOP
    x = r % OUT_WIDTH * STRIDE + k % KX - LEFT
    return (r // (OUT_HEIGHT * OUT_WIDTH) * HEIGHT + y) * WIDTH + x, (y >= 0) & (y < HEIGHT) & (x >= 0) & (x < WIDTH)


@triton.jit
def target(
    r: "Any",
    k: "Any",
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    OUT_HEIGHT: tl.constexpr,
    OUT_WIDTH: tl.constexpr,
    KX: tl.constexpr,
    STRIDE: tl.constexpr,
    TOP: tl.constexpr,
    LEFT: tl.constexpr,
) -> "Any":
    """The row of the output pixel whose window has pixel r at position k, and whether there is one."""
    y = r // WIDTH % HEIGHT + TOP - k // KX
    x = r % WIDTH + LEFT - k % KX
    at = (r // (HEIGHT * WIDTH) * OUT_HEIGHT + y // STRIDE) * OUT_WIDTH + x // STRIDE
    down = (y >= 0) & (y % STRIDE == 0) & (y // STRIDE < OUT_HEIGHT)
    return at, down & (x >= 0) & (x % STRIDE == 0) & (x // STRIDE < OUT_WIDTH)


@triton.jit
def pack_cols(mask: "Any", ROWS: tl.constexpr, COLS: tl.constexpr) -> "Any":
    """Words [ROWS, COLS / 32] of a mask [ROWS, COLS] (or one that broadcasts to it); of fewer columns one word."""
    BITS: tl.constexpr = COLS if COLS < 32 else 32
    x = (
        tl.reshape(tl.broadcast_to(mask, (ROWS, COLS)).to(tl.int32), (ROWS, COLS // BITS, BITS))
        << tl.arange(0, BITS)[None, None, :]
    )
    return tl.reduce(x, 2, ADD).to(tl.uint32, bitcast=True)


@triton.jit
def pack_rows(mask: "Any", ROWS: tl.constexpr, COLS: tl.constexpr) -> "Any":
    """Words [ROWS / 32, COLS] of a mask [ROWS, COLS] (or one that broadcasts to it); of fewer rows one word."""
    BITS: tl.constexpr = ROWS if ROWS < 32 else 32
    x = (
        tl.reshape(tl.broadcast_to(mask, (ROWS, COLS)).to(tl.int32), (ROWS // BITS, BITS, COLS))
        << tl.arange(0, BITS)[None, :, None]
    )
    return tl.reduce(x, 1, ADD).to(tl.uint32, bitcast=True)


@triton.jit
def word(words: "Any", k: "Any", ROWS: tl.constexpr) -> "Any":
    """Column k [ROWS, 1] of words [ROWS, WORDS] that lie in registers.  Not as a sum: the compiler would give every
    thread all columns of what is made of it."""
    return tl.gather(words, tl.full((ROWS, 1), 0, tl.int32) + k, 1)


@triton.jit
def scales(x: "Any", AXIS: tl.constexpr) -> "Any":
    """Powers of two (up, 1 / up) along an axis: times up, the largest |x| of each line lies in [2**14, 2**15)."""
    return powers(tl.expand_dims(tl.reduce(tl.abs(x), AXIS, MAX), AXIS))


@triton.jit
def powers(top: "Any") -> "Any":
    """Powers of two (up, 1 / up): times up, ``top`` lies in [2**14, 2**15)."""
    e = top.to(tl.int32, bitcast=True) >> 23
    e = tl.where(e > 15, tl.where(e < 254, e, 254), 15)
    return ((268 - e) << 23).to(tl.float32, bitcast=True), ((e - 14) << 23).to(tl.float32, bitcast=True)


@triton.jit
def spread(words: "Any", ROWS: tl.constexpr, COLS: tl.constexpr) -> "Any":
    """A tile [ROWS, COLS] in which each word of [ROWS, COLS / 32] (or one that broadcasts to it) stands 32 times."""
    x = tl.expand_dims(tl.broadcast_to(words, (ROWS, COLS // 32)), 2)
    return tl.reshape(tl.broadcast_to(x, (ROWS, COLS // 32, 32)), (ROWS, COLS))


@triton.jit
def philox(c0: "Any", c1: "Any", c2: "Any", c3: "Any", k0: "Any", k1: "Any") -> "Any":
    """Four words of Philox4x32-10; everything is uint32."""
    for _ in tl.static_range(10):
        h0, l0 = tl.umulhi(c0, c0 * 0 + 0xD2511F53), c0 * 0xD2511F53
        h1, l1 = tl.umulhi(c2, c2 * 0 + 0xCD9E8D57), c2 * 0xCD9E8D57
        c0, c1, c2, c3 = h1 ^ c1 ^ k0, l1, h0 ^ c3 ^ k1, l0
        k0, k1 = k0 + 0x9E3779B9, k1 + 0xBB67AE85
    return c0, c1, c2, c3


@triton.jit
def undecided(less: "Any", equal: "Any", drawn: "Any", p: "Any", shift: tl.constexpr) -> "Any":
    """One bit of the comparison of 32 random numbers with p."""
    one = ((p >> shift) & 1) != 0
    below = equal & (drawn ^ 0xFFFFFFFF)
    return tl.where(one, less | below, less), tl.where(one, equal & drawn, below)


@triton.jit
def bernoulli(p: "Any", seed: "Any", stream: tl.constexpr, tick: "Any", word: "Any") -> "Any":
    """32 independent bits a word, each set with probability p / 2**16 (rng.bernoulli); ``word`` is its number."""
    w = (tl.full([], 0, tl.int32) + word).to(tl.uint32)
    none = w * 0
    less, equal = none, none ^ 0xFFFFFFFF
    k0, k1 = none + seed.to(tl.uint32), none + stream
    for block in tl.static_range(4):
        d0, d1, d2, d3 = philox(w, none + tick.to(tl.uint32), none + block, none + 1, k0, k1)
        less, equal = undecided(less, equal, d0, p, 15 - 4 * block)
        less, equal = undecided(less, equal, d1, p, 14 - 4 * block)
        less, equal = undecided(less, equal, d2, p, 13 - 4 * block)
        less, equal = undecided(less, equal, d3, p, 12 - 4 * block)
    return tl.where(p >= 65536, none ^ 0xFFFFFFFF, less)


@triton.jit
def noise(seed: "Any", stream: tl.constexpr, tick: "Any", row: "Any", col: "Any") -> "Any":
    """Uniform in 0 .. 2**15 - 1 (rng.noise)."""
    r = tl.full([], 0, tl.int32) + row
    c = (r * 0 + col).to(tl.uint32)
    none = c * 0
    group = none + (r >> 4).to(tl.uint32)
    keys = none + seed.to(tl.uint32), none + stream
    d0, d1, d2, d3 = philox(c, group, none + tick.to(tl.uint32), none + 2, keys[0], keys[1])
    i = (r >> 2) & 3
    word = tl.where(i < 2, tl.where(i == 0, d0, d1), tl.where(i == 2, d2, d3))
    first = ((r & 3) * 8).to(tl.uint32)
    return ((word >> first | tl.where(first == 24, word << 8, none)) & 0x7FFF).to(tl.int32)


@triton.jit
def noise_rows(
    seed: "Any", stream: tl.constexpr, tick: "Any", first: "Any", col: "Any", ROWS: tl.constexpr, COLS: tl.constexpr
) -> "Any":
    """As :func:`noise`, of a tile [ROWS, COLS] whose first row is a multiple of 16: each draw serves 16 rows."""
    group = first // 16 + tl.arange(0, ROWS // 16)[:, None]
    c = (group * 0 + col).to(tl.uint32)
    none = c * 0
    keys = none + seed.to(tl.uint32), none + stream
    d0, d1, d2, d3 = philox(c, none + group.to(tl.uint32), none + tick.to(tl.uint32), none + 2, keys[0], keys[1])
    d0, d1 = tl.expand_dims(d0, 1), tl.expand_dims(d1, 1)
    d2, d3 = tl.expand_dims(d2, 1), tl.expand_dims(d3, 1)
    i = tl.arange(0, 16)[None, :, None]
    word = tl.where(i < 8, tl.where(i < 4, d0, d1), tl.where(i < 12, d2, d3))
    shift = ((i & 3) * 8).to(tl.uint32)
    drawn = (word >> shift | tl.where(shift == 24, word << 8, word * 0)) & 0x7FFF
    return tl.reshape(drawn, (ROWS, COLS)).to(tl.int32)


@triton.jit
def dither(key: "Any", row: "Any", col: "Any") -> "Any":
    """A lattice of whole numbers 0 .. 2**15 - 1 (rng.dither)."""
    none = tl.full([], 0, tl.int32)
    r, c = (none + row).to(tl.uint32), (none + col).to(tl.uint32)
    return ((r * DITHER_ROW + c * DITHER_COLUMN + (key.to(tl.uint32) << 17)) >> 17).to(tl.int32)


@triton.jit
def round(x: "Any") -> "Any":
    """The nearest whole number, ties to even, within 2**22 of 0; what is no number becomes -2**22."""
    x = tl.where(x > -4194304.0, x, -4194304.0)
    x = tl.where(x < 4194304.0, x, 4194304.0)
    return ((x + ROUND) - ROUND).to(tl.int32)


@triton.jit
def exponent(x: "Any") -> "Any":
    """The least e with |x| < 2**e: -126 for what is below 2**-126, 129 for what is no number."""
    return ((x.to(tl.int32, bitcast=True) >> 23) & 255) - 126


@triton.jit
def pow2(e: "Any") -> "Any":
    """2**e, e limited to -126 .. 127."""
    e = tl.where(e > -126, e, -126)
    e = tl.where(e < 127, e, 127)
    return ((e + 127) << 23).to(tl.float32, bitcast=True)


@triton.jit
def take_rows(to: "Any", rows: "Any", index: "Any", COUNT: tl.constexpr, WIDTH: tl.constexpr) -> "Any":
    """Rows ``index[0 .. COUNT - 1]`` of ``rows`` (bytes, WIDTH each) to ``to``, by all programs."""
    for t in range(tl.program_id(0), (COUNT * WIDTH + 1023) // 1024, tl.num_programs(0)):
        i = t * 1024 + tl.arange(0, 1024)
        ok = i < COUNT * WIDTH
        row = tl.load(index + i // WIDTH, mask=ok, other=0).to(tl.int64)
        tl.store(to + i, tl.load(rows + row * WIDTH + i % WIDTH, mask=ok, other=0), mask=ok)


@triton.jit
def copy_words(to: "Any", words: "Any", COUNT: tl.constexpr) -> "Any":
    """COUNT 32-bit words, by all programs."""
    for t in range(tl.program_id(0), (COUNT + 255) // 256, tl.num_programs(0)):
        i = t * 256 + tl.arange(0, 256)
        tl.store(to + i, tl.load(words + i, mask=i < COUNT, other=0), mask=i < COUNT)


@triton.jit
def first_tile(SHIFT: tl.constexpr) -> "Any":
    """A program's first tile of a kernel whose tile 0 is program SHIFT's: behind the tiles of the kernels before it."""
    programs = tl.num_programs(0)
    return (tl.program_id(0) + programs - SHIFT % programs) % programs


@triton.jit
def loaded() -> "Any":
    """True, which a compiler does not know: what is loaded before is so before the block under this, all at once.  The
    barrier of threads keeps loads from being moved into the block, and the branch keeps from being computed between
    them what the block computes.
    """
    tl.debug_barrier()
    return tl.program_id(0) < tl.num_programs(0)


@triton.jit
def grid_barrier(counter: "Any") -> "Any":
    """All programs of a launch wait for each other; what they stored before is seen by all after.

    ``counter`` (int32) is 0 when the launch starts.  Every program must be resident: a cooperative launch.
    """
    tl.debug_barrier()  # the stores of this program's threads come before its arrival
    programs = tl.num_programs(0)
    goal = (tl.atomic_add(counter, 1, sem="acq_rel", scope="gpu") // programs + 1) * programs
    while tl.atomic_add(counter, 0, sem="acquire", scope="gpu") < goal:
        pass
    tl.debug_barrier()


@triton.jit
def grid_done(counter: "Any") -> "Any":
    """The last program of a launch to come here sets the barrier's counter (and its own, the next word) back to 0.

    Nobody reads here what others wrote, and a launch's end shows all stores, so nothing is ordered; that a program has
    read the counter for the last time before it comes here, that read has said itself, which acquires.
    """
    if tl.atomic_add(counter + 1, 1, sem="relaxed", scope="gpu") == tl.num_programs(0) - 1:
        tl.store(counter, 0)
        tl.store(counter + 1, 0)
