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


def test_groups_are_for_c_targets() -> None:
    planned = plan(NET.format(body="conv 4 kernel = 3; batchnorm; sign; conv 6 kernel = 3 groups = 2; batchnorm; sign;"), target="triton")
    with pytest.raises(BnncError) as e:
        driver.emit_source(planned)
    assert e.value.diagnostics[0].code == "B0701" and e.value.exit_code
