"""What no backend's kernels hold is refused by `check`, at the layer's place; at the bound there is a program."""

from __future__ import annotations

import pytest

from bnnc import driver, knobs
from bnnc.diag import BnncError

# A spec with N at the place of the number, the largest N that is accepted, what the message says of one more.
CASES = {
    "u8": ("network n { input u8[N]; dense 2; loss; } train { batch = 1; }", 8192, "a u8 input has at most 8192"),
    "samples": (
        "network n { input bit[9]; dense 9; sign; dense 3; loss; } rule bep(group = 3); train { batch = N; }",
        8192,
        "8192 samples",
    ),
    "steps": (
        "network n { input bit[64, 3]; rnn 9; dense 3; loss; } rule bep(group = 3); train { batch = N; }",
        128,
        "8192 samples",
    ),
    "units": (
        "network n { input bit[9]; dense N; sign; dense 3; loss; } rule bep(group = 3); train { batch = 1; }",
        6144,
        "6144 units",
    ),
    "side": (
        "network n { input bit[1, N, 1]; conv 2 kernel = 1; batchnorm; sign; flatten; dense 2; loss; }"
        " train { batch = 1; }",
        4000,
        "4000 pixels a side",
    ),
    "window": (
        "network n { input u8[8, 8, N]; conv 2 kernel = 8; batchnorm; sign; flatten; dense 2; loss; }"
        " train { batch = 1; }",
        128,
        "a window of",
    ),
    "groups": (
        "network n { input bit[1, 1, N]; conv N kernel = 1 groups = 2; batchnorm; sign; flatten; dense 2; loss; }"
        ""
        " train { batch = 1; }",
        992,
        "in groups",
    ),
}
STEP = {"units": 3, "groups": 2}


@pytest.mark.parametrize("name", CASES)
def test_bound(name: str) -> None:
    text, most, says = CASES[name]
    planned = driver.plan_text(driver.Options(text.replace("N", str(most))), knobs.Knobs())
    assert driver.emit_source(planned, knobs.Knobs()).text
    beyond = text.replace("N", str(most + STEP.get(name, 1)))
    with pytest.raises(BnncError, match=says) as e:
        driver.check_text(driver.Options(beyond))
    d = e.value.diagnostics[0]
    assert d.code == "B0702" and d.help and 0 < d.span.start < beyond.index("loss")
