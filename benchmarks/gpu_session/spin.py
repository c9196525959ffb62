"""A kernel of nothing but barriers of the grid: each program adds to what its neighbour stored before the last one."""

import triton
import triton.language as tl

from bnnc.backends.triton import num


@triton.jit
def spin(counter, data, TURNS: tl.constexpr):
    """``data``: 64 words a program, whose first one ends as TURNS; ``counter``: the barrier's words, 0 again."""
    program = tl.program_id(0)
    neighbour = (program + 1) % tl.num_programs(0)
    for _ in range(TURNS):
        got = tl.load(data + neighbour * 64)
        num.grid_barrier(counter)
        tl.store(data + program * 64, got + 1)
        num.grid_barrier(counter)
    num.grid_done(counter)
