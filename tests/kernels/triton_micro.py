"""Kernels that hand one array to one function of ``backends/triton/num.py``; the block is the whole array."""

import triton
import triton.language as tl

from bnnc.backends.triton import num


@triton.jit
def exp(memory, OUT: tl.constexpr, N: tl.constexpr):
    x = memory.to(tl.pointer_type(tl.float32))
    y = (memory + OUT).to(tl.pointer_type(tl.float32))
    at = tl.arange(0, N)
    tl.store(y + at, num.exp(tl.load(x + at)))


@triton.jit
def log(memory, OUT: tl.constexpr, N: tl.constexpr):
    x = memory.to(tl.pointer_type(tl.float32))
    y = (memory + OUT).to(tl.pointer_type(tl.float32))
    at = tl.arange(0, N)
    tl.store(y + at, num.log(tl.load(x + at)))


@triton.jit
def powi(memory, OUT: tl.constexpr, N: tl.constexpr):
    x = memory.to(tl.pointer_type(tl.float32))
    y = (memory + OUT).to(tl.pointer_type(tl.float32))
    at = tl.arange(0, N)
    tl.store(y + at, num.powi(0.999, tl.load(x + at)))


@triton.jit
def popcount(memory, OUT: tl.constexpr, N: tl.constexpr):
    x = memory.to(tl.pointer_type(tl.uint32))
    y = (memory + OUT).to(tl.pointer_type(tl.int32))
    at = tl.arange(0, N)
    tl.store(y + at, num.popcount(tl.load(x + at)))


@triton.jit
def rate(memory, OUT: tl.constexpr, N: tl.constexpr):
    x = memory.to(tl.pointer_type(tl.int32))
    y = (memory + OUT).to(tl.pointer_type(tl.int32))
    at = tl.arange(0, N)
    tl.store(y + at, num.rate(1 << 30, tl.load(x + at), 60000))


@triton.jit
def bernoulli(memory, OUT: tl.constexpr, N: tl.constexpr):
    x = memory.to(tl.pointer_type(tl.int32))
    y = (memory + OUT).to(tl.pointer_type(tl.uint32))
    at = tl.arange(0, N)
    tl.store(y + at, num.bernoulli(tl.load(x), tl.load(x + 1), 5, tl.load(x + 2), at))


@triton.jit
def split(memory, OUT: tl.constexpr, N: tl.constexpr):
    x = memory.to(tl.pointer_type(tl.float32))
    y = (memory + OUT).to(tl.pointer_type(tl.float32))
    at = tl.arange(0, N // 32)[:, None] * 32 + tl.arange(0, 32)[None, :]
    value = tl.load(x + at)
    up, down = num.scales(value, 1)
    high = (value * up).to(tl.float16)
    low = (value * up - high.to(tl.float32)).to(tl.float16)
    tl.store(y + at, (high.to(tl.float32) + low.to(tl.float32)) * down)


@triton.jit
def first_tile(memory, SHIFT: tl.constexpr):
    y = memory.to(tl.pointer_type(tl.int32))
    tl.store(y + tl.program_id(0), num.first_tile(SHIFT))
