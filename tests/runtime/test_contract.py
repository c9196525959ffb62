"""What Python and the C runtime both hold (``bnnc/plan/contract.py``) is the same in both."""

from __future__ import annotations

import re
import struct
import subprocess
from pathlib import Path

import pytest
from runtime_builds import RUNTIME

from bnnc.backends.triton import checkpoint
from bnnc.plan import contract

NUMBERS = {  # the C of each number
    "BNNC_PAYLOAD": contract.PAYLOAD,
    "BNNC_CKPT_VERSION": contract.CHECKPOINT_VERSION,
    "sizeof(bnnc_slot_header)": checkpoint.HEADER.size,
    "sizeof(bnnc_cursor)": contract.CURSOR + 3 * contract.COUNTER,
    "BNNC_FIT_MIN": contract.FIT_MIN,
    "BNNC_SEGMENT": contract.SEGMENT,
}
SOURCE = """
#define BNNC_COUNTERS 3
#include "bnnc_net.h"
static uint8_t bnnc_arena[64];
static const bnnc_net NET = {0};
static void net_train_step(void) {}
static void net_eval_step(void) {}
#include "bnnc_apart.h"
#include "bnnc_step.h"
"""
C = {p.name: p.read_text(encoding="utf-8") for p in (*RUNTIME.glob("*.h"), *RUNTIME.parent.glob("*.j2"))}
FUNCTIONS = (*contract.STEPS, *contract.ROOTS, contract.WORKER, contract.HANDLER)


def test_numbers_are_the_runtimes(tmp_path: Path) -> None:
    asserts = [f'_Static_assert({c} == {n}, "is {n}");\n' for c, n in NUMBERS.items()]
    asserts.append(f'_Static_assert(BNNC_VALUES_AT <= {contract.INFLATE}, "the decompressor\'s state");\n')
    source = tmp_path / "numbers.c"
    source.write_text(SOURCE + "".join(asserts))
    argv = ["gcc", "-std=gnu11", "-DBNNC_FREESTANDING", "-fsyntax-only", f"-I{RUNTIME}", str(source)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_magic_and_cursor_are_the_runtimes() -> None:
    assert f'memcpy(h.magic, "{contract.MAGIC.decode()}", 8)' in C["bnnc_store.h"]
    assert checkpoint.CURSOR.size == contract.CURSOR and struct.calcsize("<q") == contract.COUNTER


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_that_a_bound_of_stacks_knows_are_there(name: str) -> None:
    assert any(re.search(rf"\b{name}\([^;{{]*\) ?\\?\n?\{{", text) for text in C.values())


def test_names_that_a_program_file_is_read_by_are_there() -> None:
    assert f"uint8_t {contract.ARENA}[ARENA_BYTES];" in C["net.c.j2"]
    assert f"BNNC_AT_LEVEL({contract.RATE}##name)" in C["bnnc_rate.h"]
