"""What the GPU backend cannot do yet ends in an error with a code, before anything is written."""

from __future__ import annotations

import pytest
from helpers import plan

from bnnc.diag import BnncError

NET = """network net {{ input u8[8, 8, 1]; {body} flatten; dense 3; batchnorm; loss; }}
rule edge;
train {{ batch = 4; }}
"""


def test_strips_are_for_c_targets() -> None:
    """Already when it is planned, so that `--ram` does not take it."""
    text = NET.format(body="conv 64 kernel = 3; batchnorm; sign; conv 64 kernel = 3; batchnorm; sign;")
    with pytest.raises(BnncError, match="loops over strips") as e:
        plan(text.replace("batch = 4;", "recompute = on;"), target="cuda")
    assert e.value.diagnostics[0].code == "B0701"
