"""Random numbers, sample order and the cosine schedule: the NumPy twin of ``templates/c/runtime/bnnc_rng.h``.

Counter-based Philox4x32-10 (Salmon et al., SC 2011): key = (seed, stream), counter = (block, 0); element ``i`` of a
stream is word ``i % 4`` of block ``i // 4``.  Nothing is stored; any element can be drawn in any order, the same on
every target, bit for bit.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .diag import InternalError

U32 = NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Streams:
    """The numbers of streams that belong to one use: ``STATES[3]`` is the stream of its thing number 3."""

    first: int
    count: int
    use: str

    def __getitem__(self, number: int) -> int:
        if not 0 <= number < self.count:
            raise InternalError(f"there are {self.count} random streams for {self.use}, and no number {number}")
        return self.first + number


# Every random number of bnnc comes from one of these: who needs more adds a row, and a test keeps the rows apart.
STATES = Streams(0, 0xD0000000, "the first values of a Program's states")
DROPOUT = Streams(0xD0000000, 1 << 28, "the masks of dropout, by region")
UPDATES = Streams(0xE0000000, 1 << 28, "the chances of updates, by the state that they change")
CLASSIFIERS = Streams(0xF0000000, 0x800, "the fixed classifiers of layers")
EXPANSIONS = Streams(0xF0000800, 0x800, "the fixed expansions of recurrent layers")
FRAMES = Streams(0xF0001000, 0x1000, "the trials that make a classifier a frame")
FEEDBACK = Streams(0xF0002000, 0x10000, "the fixed feedback to layers")
ROUNDING = Streams(0xF0012000, 0x10000, "the rounding of gradients, by the tensor")
AUGMENT = Streams(0xF0022000, 1, "what augmentation makes of samples, by their place in the epoch")
BALANCE = Streams(0xF0022100, 0x1000, "the order of the samples of a class, by how often it was gone through")
PLUGINS = Streams(0xF1000000, 0x0E000000, "what plug-ins draw, by the names that they choose")
HOLDOUT = Streams(0xFFFFFFFE, 1, "the keys of the permutation that chooses held-out samples")
ORDER = Streams(0xFFFFFFFF, 1, "the keys of the order of samples")
STREAMS = (
    STATES,
    DROPOUT,
    UPDATES,
    CLASSIFIERS,
    EXPANSIONS,
    FRAMES,
    FEEDBACK,
    ROUNDING,
    AUGMENT,
    BALANCE,
    PLUGINS,
    HOLDOUT,
    ORDER,
)

_OWN = 0x1000  # streams of one name
_named: dict[int, str] = {}


def streams(name: str) -> Streams:
    """4096 random streams for a plug-in: ``NOISE = rng.streams("timid.noise")``, and ``NOISE[number]`` is the stream of
    its thing (layer, tensor) number 0, 1, ...  They follow from the name alone, so the same name gives the same bits in
    every version and on every machine.  Raises ValueError where another name that is in use has just these.
    """
    place = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little") % (PLUGINS.count // _OWN)
    if _named.setdefault(place, name) != name:
        raise ValueError(f"the random streams of `{name}` are those of `{_named[place]}`: choose another name")
    return Streams(PLUGINS[place * _OWN], _OWN, name)


_MASK = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)


def philox4x32(counter: ArrayLike, key: tuple[int, int]) -> U32:
    """Ten rounds on ``counter`` (uint32[n, 4]) under ``key``; uint32[n, 4]."""
    c0, c1, c2, c3 = np.asarray(counter, np.uint64).T
    k0, k1 = int(key[0]), int(key[1])
    for _ in range(10):
        p0, p1 = np.uint64(0xD2511F53) * c0, np.uint64(0xCD9E8D57) * c2
        c0, c1, c2, c3 = (
            (p1 >> _SHIFT) ^ c1 ^ np.uint64(k0),
            p1 & _MASK,
            (p0 >> _SHIFT) ^ c3 ^ np.uint64(k1),
            p0 & _MASK,
        )
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], axis=1).astype(np.uint32)


def philox(seed: int, stream: int, n: int, start: int = 0) -> U32:
    """Elements ``start`` .. ``start + n - 1`` of a stream."""
    first, last = start // 4, (start + n + 3) // 4
    block = np.arange(first, max(last, first), dtype=np.uint64)
    zero = np.zeros_like(block)
    words = philox4x32(np.stack([block & _MASK, block >> _SHIFT, zero, zero], axis=1), (seed, stream))
    return words.reshape(-1)[start - 4 * first :][:n]


def uniform(seed: int, stream: int, n: int, a: float = 1.0, start: int = 0) -> NDArray[np.float32]:
    """Uniform in [-a, a), 24 bits."""
    signed = philox(seed, stream, n, start).view(np.int32) >> 8
    return np.float32(a) * (signed.astype(np.float32) * np.float32(2.0**-23))


def signs(seed: int, stream: int, n: int, start: int = 0) -> NDArray[np.bool_]:
    """Random bits; True means +1 (the word's top bit is clear)."""
    return philox(seed, stream, n, start) < np.uint32(0x80000000)


def permute(seed: int, stream: int, epoch: int, n: int, p: ArrayLike) -> U32:
    """Image of positions ``p`` under the keyed permutation of 0..n-1 (a Feistel network with cycle walking)."""
    v = np.atleast_1d(np.asarray(p, np.uint32)).copy()
    if n < 2:
        return np.zeros_like(v)
    bits = max(2, (n - 1).bit_length())
    low_bits = np.uint32(bits // 2)
    low_mask, high_mask = np.uint32((1 << bits // 2) - 1), np.uint32((1 << (bits - bits // 2)) - 1)
    keys = philox(seed, stream, 8, 8 * epoch)
    todo = np.arange(v.size)
    while todo.size:
        low, high = v[todo] & low_mask, v[todo] >> low_bits
        for r in range(0, 8, 2):
            low ^= _mix(high, keys[r]) & low_mask
            high ^= _mix(low, keys[r + 1]) & high_mask
        v[todo] = high << low_bits | low
        todo = todo[v[todo] >= n]
    return v


def _mix(v: U32, key: np.uint32) -> U32:
    v = (v ^ key) * np.uint32(0x9E3779B1)
    v = (v ^ v >> np.uint32(15)) * np.uint32(0x85EBCA77)
    return v ^ v >> np.uint32(13)


def order(seed: int, epoch: int, n: int, p: ArrayLike) -> U32:
    """Sample index at position(s) ``p`` of an epoch over ``n`` samples."""
    return permute(seed, ORDER[0], epoch, n, p)


def balanced(seed: int, epoch: int, labels: NDArray[np.uint8]) -> U32:
    """Positions u32[n] of an epoch over n samples in which each class comes equally often, whatever their shares.

    Classes take turns, those that have samples, from the lowest; each goes through its samples in a random order, and
    through all of them before any comes again (in another order).
    """
    n, present = len(labels), np.flatnonzero(np.bincount(labels, minlength=1))
    out = np.empty(n, np.uint32)
    for turn, label in enumerate(present):
        places, found = np.arange(turn, n, len(present)), list[U32]()
        while sum(map(len, found)) < len(places):
            walk = permute(seed, BALANCE[len(found) % BALANCE.count], epoch, n, np.arange(n, dtype=np.uint32))
            found.append(walk[labels[walk] == label])
        out[places] = np.concatenate([*found, walk[:0]] if found else [out[:0]])[: len(places)]
    return out


def holdout(seed: int, n: int, share: float) -> tuple[U32, U32]:
    """(samples to train on, samples held out) of ``n``: the split is the same in every epoch."""
    fit = n - int(np.float32(share) * np.float64(n))
    index = permute(seed, HOLDOUT[0], 0, n, np.arange(n, dtype=np.uint32))
    return index[:fit], index[fit:]


def cospi(x: float) -> float:
    """cos(pi x) for 0 <= x <= 1 by + * / only, in the C runtime's order of operations."""
    y = 3.141592653589793 * (0.5 - x)
    q, s = y * y, 1.0
    for k in range(16, 1, -2):
        s = 1 - q / (k * (k + 1)) * s
    return y * s


def cosine_lr(lr0: float, final: float, t: int, total: int) -> np.float32:
    """Rate of step ``t`` = 1..total: half a cosine from ``lr0`` to ``final * lr0``."""
    x = min((t - 1) / total, 1.0) if total else 0.0
    f = float(np.float32(final))
    return np.float32(float(np.float32(lr0)) * (f + (1 - f) * (0.5 + 0.5 * cospi(x))))


def bernoulli(seed: int, stream: int, tick: int, p: int, rows: int, cols: int) -> NDArray[np.bool_]:
    """Masks [rows, cols], true with probability p / 2**16: bit ``c % 32`` of word ``c // 32`` of a row.

    Each word compares 32 random 16-bit numbers with ``p`` at once, bit-sliced, the top bit first; slice ``i`` is word
    ``i % 4`` of the block with counter (word index, tick, i // 4, 1).
    """
    words = -(-cols // 32)
    index = np.arange(rows * words, dtype=np.uint64)
    if p >= 65536:
        return np.ones((rows, cols), bool)
    less, equal = np.zeros(index.size, np.uint32), np.full(index.size, 0xFFFFFFFF, np.uint32)
    for block in range(4):
        counter = np.stack(
            [index, np.full_like(index, tick & 0xFFFFFFFF), np.full_like(index, block), np.ones_like(index)], axis=1
        )
        slices = philox4x32(counter, (seed, stream))
        for i in range(4):
            if p >> (15 - 4 * block - i) & 1:
                less |= equal & ~slices[:, i]
                equal &= slices[:, i]
            else:
                equal &= ~slices[:, i]
    bits = np.unpackbits(less.astype("<u4").view(np.uint8), bitorder="little").reshape(rows, words * 32)
    return bits[:, :cols].astype(bool)


def noise(seed: int, stream: int, tick: int, rows: int, cols: int) -> NDArray[np.int32]:
    """Whole numbers [rows, cols], uniform in 0 .. 2**15 - 1.

    Rows ``16 k .. 16 k + 15`` of a column share the block with counter (column, k, tick, 2); row ``16 k + i`` has 15
    bits of its word ``i // 4``, from bit ``8 (i % 4)`` on, round and round: the high 7 bits of each are its own, what
    follows are the high bits of another.
    """
    groups = -(-rows // 16)
    column, group = np.meshgrid(np.arange(cols), np.arange(groups))
    counter = np.stack([column, group, np.full_like(column, tick & 0xFFFFFFFF), np.full_like(column, 2)], axis=-1)
    words = philox4x32(counter.reshape(-1, 4), (seed, stream)).reshape(groups, cols, 4)
    bits = [words >> 8 * i | (words << 32 - 8 * i if i else 0) for i in range(4)]
    drawn = (np.stack(bits, axis=-1) & 0x7FFF).reshape(groups, cols, 16)
    out: NDArray[np.int32] = drawn.transpose(0, 2, 1).reshape(16 * groups, cols)[:rows].astype(np.int32)
    return out


# Turns of 2**-32 that a row and a column make.  Rows: the golden ratio, so that of any n rows the numbers are about
# evenly spread.  Columns: found by search; k rows and l columns (of 256 each) make no less than 1 / (31 k l) of a turn.
DITHER = (0x9E3779B9, 0xAE620AB1)


def dither(key: int, rows: int, cols: int) -> NDArray[np.int32]:
    """Whole numbers [rows, cols] in 0 .. 2**15 - 1, each uniform over the keys 0 .. 2**15 - 1."""
    row, column = np.arange(rows, dtype=np.uint32)[:, None], np.arange(cols, dtype=np.uint32)
    turns = row * np.uint32(DITHER[0]) + column * np.uint32(DITHER[1]) + np.uint32(key << 17 & 0xFFFFFFFF)
    return (turns >> np.uint32(17)).astype(np.int32)


def normal(seed: int, stream: int, n: int, std: int) -> NDArray[np.int32]:
    """Integers, about Normal(0, std**2), truncated toward zero: the sum of twelve 16-bit uniform numbers.

    Element ``i`` takes words 6 i .. 6 i + 5 of the stream; integer arithmetic only.
    """
    halves = philox(seed, stream, 6 * n).reshape(n, 6)
    total = ((halves & np.uint32(0xFFFF)).astype(np.int64) + (halves >> np.uint32(16)).astype(np.int64)).sum(
        axis=1
    ) - 6 * 65535
    scaled = total * std
    return (np.sign(scaled) * (np.abs(scaled) >> 16)).astype(np.int32)
