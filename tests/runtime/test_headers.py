"""Headers of the runtime: what instruction sets override is one list."""

from __future__ import annotations

import re

from runtime_builds import RUNTIME

HEADERS = {p.name: p.read_text(encoding="utf-8") for p in sorted(RUNTIME.glob("*.h"))}
MEANINGS = ("bnnc_vec.h", "bnnc_bits.h", "bnnc_image.h")
SETS = ("bnnc_sse2.h", "bnnc_avx2.h", "bnnc_avx512.h", "bnnc_bytes.h", "bnnc_neon.h", "bnnc_dotprod.h")


def overridable(name: str) -> list[str]:
    return re.findall(r"^#ifndef (\w+)\n#define \1 BNNC_AT_LEVEL\(\1\)$", HEADERS[name], re.M)


def test_what_instruction_sets_do_better_is_one_list() -> None:
    """bnnc_end.h forgets just what may be overridden; an instruction set defines nothing else."""
    may = [n for name in MEANINGS for n in overridable(name)]
    before, _, listed = HEADERS["bnnc_end.h"].partition("/* What an instruction set may do better")
    assert sorted(may) == sorted(re.findall(r"^#undef (\w+)", listed, re.M)) and len(may) > 20
    for name in SETS:
        own = re.findall(r"^#define (\w+) BNNC_AT_LEVEL\(\1\)$", HEADERS[name], re.M)
        assert own and set(own) <= {*may}, name
    guards = {
        guard
        for name in ("bnnc_lanes.h", *MEANINGS, "bnnc_rate.h")
        for guard in re.findall(r"^#ifndef (BNNC_\w+_H)\n#define \1$", HEADERS[name], re.M)
    }
    begun = {
        n for name, text in HEADERS.items() if name.endswith("_begin.h") for n in re.findall(r"#define (\w+)", text)
    }
    forgotten = {*re.findall(r"^#undef (\w+)", before, re.M)}
    assert len(guards) == len(MEANINGS) + 2 and guards | begun | {"VL", "BNNC_LEVEL", "BNNC_ONLY"} == forgotten
