"""The stack's bound of a call graph as gcc writes it; clang's is read in tests/arm/test_clang.py."""

from __future__ import annotations

import pytest

from bnnc.backends.c import stack
from bnnc.diag import InternalError


def graph(frames: dict[str, int | str], *calls: str) -> stack.Calls:
    """``calls``: "caller callee"; a frame that is no number is what gcc says instead."""
    size = {f: f"{n} bytes (static)" if isinstance(n, int) else n for f, n in frames.items()}
    nodes = [f'node: {{ title: "{f}" label: "{f}\\nnet.c:1:1\\n{n}" }}' for f, n in size.items()]
    edges = [f'edge: {{ sourcename: "{c.split()[0]}" targetname: "{c.split()[1]}" label: "net.c:2:2" }}' for c in calls]
    return stack.Calls.of_gcc("\n".join(['graph: { title: "net.c"', *nodes, *edges, "}"]))


def test_the_deepest_path_counts() -> None:
    calls = graph(
        {"main": 10, "net.c:a": 100, "net.c:b": 50, "net.c:c.part.0": 7},
        "main net.c:a",
        "main net.c:b",
        "net.c:a net.c:c.part.0",
        "net.c:b net.c:c.part.0",
        "net.c:c.part.0 __aeabi_ddiv",
    )
    assert calls.depth("main") == 10 + 100 + 7 + stack.LIBRARY and calls.depth("c") == 7 + stack.LIBRARY
    assert calls.main == calls.depth("main") + stack.EXCEPTION and calls.depth("nobody") == 0
    assert stack.bounds(calls, True)[0] % 64 == 0 and stack.bounds(calls, False)[0] % 4096 == 0


def test_a_signal_comes_on_top() -> None:
    frames: dict[str, int | str] = {"net.c:bnnc_start": 10, "net.c:bnnc_on_signal": 0}
    assert graph(frames).main == 10 + stack.SIGNAL


def test_pointers_lead_from_a_step_to_kernels_and_from_elsewhere_to_the_rest() -> None:
    frames: dict[str, int | str] = {
        "main": 0,
        "net.c:net_train_step": 8,
        "net.c:map_x_4x16_base": 1000,
        "net.c:contract_nn_y_4x16x8_2_base": 2000,
        "net.c:bnnc_worker": 16,
        "net.c:print": 300,
        "net.c:say": 4,
    }
    calls = graph(
        frames,
        "main net.c:net_train_step",
        "main net.c:say",
        "net.c:net_train_step __indirect_call",
        "net.c:say __indirect_call",
        "net.c:bnnc_worker __indirect_call",
    )
    assert calls.depth("main") == 8 + 2000 and calls.depth("say") == 304 and calls.depth("bnnc_worker") == 2016


def test_a_store_calls_a_firmware_through_pointers() -> None:
    frames: dict[str, int | str] = {
        "main": 0,
        "net.c:save": 20,
        "net.c:read_0": 30,
        "net.c:slot_read": 40,
        "net.c:flash_read": 500,
    }
    calls = graph(
        frames,
        "main net.c:save",
        "net.c:save __indirect_call",
        "net.c:read_0 net.c:slot_read",
        "net.c:slot_read __indirect_call",
    )
    assert calls.depth("main") == 20 + 30 + 40 + 500


def test_recursion_and_frames_without_a_bound_are_refused() -> None:
    with pytest.raises(InternalError, match="calls itself"):
        graph({"main": 8, "net.c:a": 8}, "main net.c:a", "net.c:a main").depth("main")
    with pytest.raises(InternalError, match="frame of main is dynamic"):
        graph({"main": "64 bytes (dynamic)"})
    assert graph({"main": "64 bytes (dynamic,bounded)"}).depth("main") == 64


def test_local_arrays_of_a_kernel() -> None:
    assert stack.arrays("VARRAY vf sum[64], table[8 * 16], term[32];\n VARRAY vf tile[VL];", 1) == 4 * (
        64 + 128 + 32 + 1
    )
    assert (
        stack.arrays("VARRAY float left[50][16]; VARRAY vf right[50][W];", 4) == 4 * 50 * (16 + 2 * 4)
        and stack.arrays("int x;", 4) == 0
    )
    assert stack.arrays("VARRAY int16_t dy[5][70 + 2 * VL]; VARRAY vw part[9];", 4) == 2 * 5 * (70 + 8) + 4 * 9 * 4
