"""What the GPU backend cannot do yet ends in an error with a code, before anything is written."""

from __future__ import annotations

import pytest
from helpers import plan

from bnnc import driver
from bnnc.diag import BnncError

NET = """network net {{ input u8[8, 8, 1]; {body} flatten; dense 3; batchnorm; loss; }}
rule edge;
train {{ batch = 4; }}
"""


@pytest.mark.parametrize(("settings", "message"), [
    ("recompute = on;", "loops over strips"), ("batch = 4; microbatch = 2;", "whole batches")])
def test_less_memory_is_for_c_targets(settings: str, message: str) -> None:
    """Already when it is planned, so that `--ram` does not take it."""
    text = NET.format(body="conv 64 kernel = 3; batchnorm; sign; conv 64 kernel = 3; batchnorm; sign;")
    with pytest.raises(BnncError, match=message) as e:
        plan(text.replace("batch = 4;", settings), target="cuda")
    assert e.value.diagnostics[0].code == "B0701"


def test_groups_are_for_c_targets() -> None:
    planned = plan(NET.format(body="conv 4 kernel = 3; batchnorm; sign; conv 6 kernel = 3 groups = 2; batchnorm; sign;"), target="triton")
    with pytest.raises(BnncError) as e:
        driver.emit_source(planned)
    assert e.value.diagnostics[0].code == "B0701" and e.value.exit_code
