"""What Python and the C runtime both hold, once for Python; ``tests/runtime/test_contract.py`` finds it in C."""

from __future__ import annotations

# A checkpoint (bnnc_store.h, bnnc_step.h): a header in a sector of its own, the cursor with its counters, the states.
MAGIC, CHECKPOINT_VERSION = b"BNNCKPT1", 1
PAYLOAD = 512  # bytes before the payload
CURSOR, COUNTER = 112, 8  # bytes of a bnnc_cursor without counters, and of one of them

# Memory that opening data takes (bnnc_format.h, bnnc_net.h).
INFLATE = 40_400  # bytes of the decompressor's state, at most; it lies in the arena where that is large enough
FIT_MIN = 4096  # bytes that fitting an encoder takes at least

# Of a program file (bnnc_apart.h).
SEGMENT = 0x626E6E63  # the type of the segments that hold kernels
ARENA = "bnnc_arena"

# Functions that the bound of the stacks knows by name (step.c.j2, bnnc_pool.h, bnnc_sys_*.h, bnnc_cortex_m.h).
# Who calls kernels through pointers:
STEPS = ("net_train_step", "net_eval_step", "net_run", "bnnc_run", "bnnc_take", "bnnc_worker")
RATE = "bnnc_rate_"  # how the names of `bench`'s kernels begin
ROOTS = ("bnnc_start", "main", "bnnc_reset")  # where a program begins: on Linux, on a libc, on a Cortex-M
WORKER, HANDLER = "bnnc_worker", "bnnc_on_signal"
