"""Every environment variable that bnnc reads, typed, in one place.

BNNC_DUMP=dir       write what each pass made to ``dir`` (``000.parse.txt``, ``010.check.txt`` ...), and the source;
                    `compare` and `sweep`: of each row to a folder below it (``dir/001-edge``)
BNNC_TIME=1         print the seconds that each pass took, on standard error
BNNC_DISABLE=a,b    skip optional passes: simplify, fuse, sink, strip, place
BNNC_VERIFY=0|1|2   no checks between passes / structural checks (default) / also interpret before and after
BNNC_POISON=1       generated code overwrites dead buffers
BNNC_PLUGINS=a.py:b.py  plug-ins to load (``bnnc/plugins.py``)
BNNC_CC=compiler    the C compiler to use, with options; "gcc -g" for debuggers and profilers
BNNC_CFLAGS=flags   more options for the C compiler; those that change arithmetic (-ffast-math) break the promise of
                    equal bits
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace

from .diag import did_you_mean, error

OPTIONAL = ("simplify", "fuse", "sink", "strip", "place")


@dataclass(frozen=True)
class Knobs:
    """The environment's wishes as values; each field is a line of the list above."""

    dump: str = ""
    time: bool = False
    disable: frozenset[str] = frozenset()
    verify: int = 1
    poison: bool = False
    cc: str = ""
    cflags: str = ""

    @property
    def quiet(self) -> Knobs:
        """The same passes with nothing dumped or printed: for a plan beside the one that was asked for."""
        return replace(self, dump="", time=False)

    def below(self, folder: str) -> Knobs:
        """The same, with dumps in ``folder`` below where they would go."""
        return replace(self, dump=os.path.join(self.dump, folder)) if self.dump else self


def read(env: Mapping[str, str] = os.environ) -> Knobs:
    """Raises BnncError B0703 (usage) for a value that means nothing."""
    disable = frozenset(filter(None, (w.strip() for w in env.get("BNNC_DISABLE", "").split(","))))
    for name in sorted(disable - set(OPTIONAL)):
        raise error(
            "B0703",
            f"BNNC_DISABLE: `{name}` is not an optional pass",
            exit_code=2,
            help=did_you_mean(name, OPTIONAL) or f"optional passes: {', '.join(OPTIONAL)}",
        )
    verify = env.get("BNNC_VERIFY", "1")
    if verify not in ("0", "1", "2"):
        raise error("B0703", f"BNNC_VERIFY is `{verify}`", exit_code=2, help="0, 1 or 2")
    return Knobs(
        dump=env.get("BNNC_DUMP", ""),
        time=env.get("BNNC_TIME", "0") not in ("", "0"),
        disable=disable,
        verify=int(verify),
        poison=env.get("BNNC_POISON", "0") not in ("", "0"),
        cc=env.get("BNNC_CC", ""),
        cflags=env.get("BNNC_CFLAGS", ""),
    )
