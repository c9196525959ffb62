"""The NumPy interpreter: what a Program means.

In: a Program, arrays for its inputs and states.  Out: every value.  It is slow and plain on purpose; C and Triton are
compared with it.  Non-goals: storage formats, memory, speed.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .. import rng
from .dtype import F32, FLOATS, INTEGERS, NUMBER_BYTES, NUMPY, ONE_BIT, ceil_div, sign
from .ops import OPS
from .program import Constant, Program, State, Value

Env = dict[str, np.ndarray]


def initial(state: State, value: Value, seed: int) -> np.ndarray:
    """The array a state starts from: constant, uniform in [-v, v) (of whole numbers rounded down), random signs or
    normal; from stream ``state.stream``.
    """
    n = value.shape[0] * value.shape[1]
    if state.init == "normal" and value.dtype in FLOATS:
        steps = rng.normal(seed, state.stream, n, 1 << 12) / 4096
        real = (steps * float(np.float32(state.init_value))).astype(np.float32)
        return real.astype(NUMPY[value.dtype]).reshape(value.shape)
    if state.init == "normal":
        info = np.iinfo(NUMPY[value.dtype])
        whole = rng.normal(seed, state.stream, n, int(state.init_value))
        least, most = (-state.limit, state.limit - 1) if state.limit else (info.min, info.max)
        return np.clip(whole, least, most).astype(NUMPY[value.dtype]).reshape(value.shape)
    if state.init == "const":
        x = np.full(n, state.init_value, np.float32)
    else:
        x = rng.uniform(seed, state.stream, n, state.init_value if state.init == "uniform" else 1.0)
    x = (np.floor(x) if state.init == "uniform" and value.dtype in INTEGERS else x).reshape(value.shape)
    return sign(x) if value.dtype == "bit" else x.astype(NUMPY[value.dtype])


NO_STEP = "a network with `state = i8` reads them, and exports numbers"  # older files hold such latent weights


def real(state: State, x: np.ndarray) -> np.ndarray:
    """What the stored values ``x`` (any shape) stand for: f32 where there is a ``step``."""
    return (x.astype(F32) + F32(0.5)) * F32(state.step) if state.step else x


def nearest(state: State, x: np.ndarray, dtype: str) -> np.ndarray:
    """``x``, of any type and shape, as it is stored in ``dtype``: of floats the numbers that stand for them best, where
    there is a ``step``; so :func:`real` is undone.  Raises ValueError for what a state of whole numbers cannot hold,
    and, where floats are stored, for whole numbers that are no signs: their step is unknown.
    """
    if dtype in FLOATS:
        wrong = (x.dtype.kind != "f") & (np.abs(x.astype(np.float64)) > 1)
        if wrong.any():
            raise ValueError(f"holds {x[wrong][0]} in whole numbers, whose step is not in the file", NO_STEP)
        return x.astype(NUMPY[dtype])
    if dtype == "bit":
        return sign(x)
    info = np.iinfo(NUMPY[dtype])
    least, most = (-state.limit, state.limit - 1) if state.limit else (info.min, info.max)
    expected = f"whole numbers from {least} to {most}"
    if state.step and x.dtype.kind == "f":
        expected = "numbers"
        x = np.floor(np.clip(x.astype(np.float64) / float(F32(state.step)), least, most))
    wrong = ~((x >= least) & (x <= most) & (np.floor(x) == x))
    if wrong.any():
        raise ValueError(f"holds {x[wrong][0]:g}, expected {expected}")
    return x.astype(NUMPY[dtype])


def constant_array(value: Value, k: Constant) -> np.ndarray:
    """A Constant's array; bits are +-1."""
    cols, one_bit = value.shape[1], value.dtype in ONE_BIT
    nbytes = ceil_div(cols, 8) if one_bit else cols * NUMBER_BYTES[value.dtype]
    raw = np.frombuffer(b"".join(int(row, 16).to_bytes(nbytes, "little") for row in k.rows), np.uint8)
    if not one_bit:
        return raw.view(NUMPY[value.dtype]).reshape(value.shape)
    bits = np.unpackbits(raw.reshape(len(k.rows), nbytes), axis=1, count=cols, bitorder="little").view(bool)
    return bits if value.dtype == "bool" else np.where(bits, 1, -1).astype(np.int8)


def init_states(program: Program, seed: int) -> Env:
    """All states of a Program at step 0."""
    return {s.name: initial(s, program.value[s.name], seed) for s in program.states}


def run(program: Program, env: Mapping[str, np.ndarray]) -> Env:
    """Evaluate every op.  ``env`` holds inputs and states; raises KeyError for a missing one, TypeError for a wrong
    dtype.
    """
    out: Env = {}
    for name in (*program.inputs, *(s.name for s in program.states)):
        v = program.value[name]
        x = np.asarray(env[name])
        if x.dtype != NUMPY[v.dtype] or x.shape != v.shape:
            raise TypeError(f"{name} is {x.dtype}{x.shape}, expected {v}")
        out[name] = x
    for k in program.constants:
        out[k.name] = constant_array(program.value[k.name], k)
    with np.errstate(all="ignore"):
        for op in program.ops:
            v = program.value[op.output]
            y = OPS[op.kind].run([out[i] for i in op.inputs], dict(op.attrs), v.dtype)
            out[op.output] = np.broadcast_to(np.asarray(y, dtype=NUMPY[v.dtype]), v.shape)
    return out


def step(program: Program, env: Mapping[str, np.ndarray]) -> tuple[Env, Env]:
    """One step: (all values, the states after their updates)."""
    out = run(program, env)
    new = {s.name: out[s.name] for s in program.states}
    new.update({state: out[value] for state, value in program.updates})
    return out, new
