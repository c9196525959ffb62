"""What the examples of codes have in common: small networks as text."""

from __future__ import annotations

NET = "network tiny { input u8[9]; dense 4; batchnorm; loss; }\n"


def net(*lines: str) -> str:
    return "network tiny {\n" + "".join(f"  {x}\n" for x in lines) + "}\n"


START, END = ("input u8[9];",), ("dense 4;", "batchnorm;", "loss;")


def mid(*lines: str) -> str:
    return net(*START, *lines, *END)
