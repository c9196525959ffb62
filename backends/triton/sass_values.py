"""What machine instructions compute, as far as branches and addresses need it: as Python statements on whole numbers.

A value is known or not (None): what comes out of memory is not, nor what is made of it.  Of a register in which
predicates are kept, some bits may be known.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .sass import Instruction, number

M = (1 << 32) - 1


class Partly(NamedTuple):
    """32 bits, of which those in ``mask`` are known; the others are 0 here."""

    bits: int
    mask: int


Value = int | Partly | None


def known(f: Callable[..., Any]) -> Callable[..., Any]:
    """A function whose result is not known where one of its arguments is not, all of it."""
    return lambda *args: None if None in args or Partly in map(type, args) else f(*args)


def signed(x: int) -> int:
    return x - (1 << 32) if x >> 31 else x


def parts(x: Value) -> Partly:
    """What is known of a number."""
    return Partly(0, 0) if x is None else x if isinstance(x, Partly) else Partly(x, M)


def lut3(table: int, *args: Value) -> Value:
    """LOP3: bit by bit; known where what is not known does not matter."""
    given, zero, one = list(map(parts, args)), 0, 0  # where the result may be 0, and 1
    for i in range(8):
        here = M
        for x, bit in zip(given, (4, 2, 1), strict=True):
            here &= x.bits | ~x.mask if i & bit else ~x.bits
        zero, one = (zero, one | here) if table >> i & 1 else (zero | here, one)
    return partly(one & ~zero, M & ~(zero & one))


def partly(bits: int, mask: int) -> Value:
    """A number of which the bits in ``mask`` are known."""
    return bits if mask == M else Partly(bits & mask, mask) if mask else None


def merge(a: Value, b: Value, p: Value) -> Value:
    """As :func:`choose`; where ``p`` is not known, so are bits that both have."""
    if p is not None:
        return a if p else b
    x, y = parts(a), parts(b)
    return partly(x.bits, x.mask & y.mask & ~(x.bits ^ y.bits))


def logic(table: int, *p: Value) -> Value:
    """PLOP3: of predicates."""
    ways = [(int(x),) if isinstance(x, int) else (0, 1) for x in p]
    found = {table >> (4 * a + 2 * b + c) & 1 for a in ways[0] for b in ways[1] for c in ways[2]}
    return None if len(found) > 1 else found.pop()


def both(op: str, a: Value, b: Value) -> Value:
    """AND, OR, XOR of predicates."""
    return logic({"AND": 0xC0, "OR": 0xFC, "XOR": 0x3C}[op], a, b, 0)


COMPARED: dict[str, Callable[[int, int], bool]] = {
    "EQ": lambda a, b: a == b,
    "NE": lambda a, b: a != b,
    "LT": lambda a, b: a < b,
    "LE": lambda a, b: a <= b,
    "GT": lambda a, b: a > b,
    "GE": lambda a, b: a >= b,
}


def compare(how: str, unsigned: bool, a: Value, b: Value) -> Value:
    if not isinstance(a, int) or not isinstance(b, int):
        return None
    return int(COMPARED[how](a, b) if unsigned else COMPARED[how](signed(a), signed(b)))


def compare_high(how: str, unsigned: bool, a: Value, b: Value, low: Value) -> Value:
    """Of the upper halves of two numbers of 64 bits, whose lower ones were compared."""
    if not isinstance(a, int) or not isinstance(b, int):
        return None
    if a != b:
        return compare(how, unsigned, a, b)
    return low


def choose(a: Value, b: Value, p: Value) -> Value:
    return (a if a == b else None) if p is None else a if p else b


def pack(mask: int, *p: Value) -> Value:
    """P2R."""
    some = {i: x for i, x in enumerate(p) if mask >> i & 1}
    hidden = sum(1 << i for i, x in some.items() if x is None)
    return partly(sum(int(x) << i for i, x in some.items() if isinstance(x, int)), M & ~hidden)


def bit(x: Value, i: int) -> Value:
    """R2P."""
    given = parts(x)
    return given.bits >> i & 1 if given.mask >> i & 1 else None


def funnel(op: frozenset[str], a: int, n: int, c: int) -> int:
    """SHF."""
    n = n & 31 if "W" in op else min(n, 64 if op & {"U64", "S64"} else 32)
    if op & {"U64", "S64"}:
        whole = (c << 32 | a) << n if "L" in op else (c << 32 | a) >> n
        return (whole >> 32 if "HI" in op else whole) & M
    if "L" in op:
        return ((c << 32 | a) << n) >> 32 & M if "HI" in op else a << n & M
    high = signed(c) if "S32" in op else c
    return (high << 32 | a) >> n >> 32 & M if "HI" in op else (c << 32 | a) >> n & M


def permute(a: int, choice: int, b: int) -> int:
    """PRMT: four of the eight bytes of b, a; bit 3 of a choice: its sign, eight times."""
    pair, out = b << 32 | a, 0
    for i in range(4):
        c = choice >> 4 * i & 15
        byte = pair >> 8 * (c & 7) & 255
        out |= (255 * (byte >> 7) if c & 8 else byte) << 8 * i
    return out


def extend(unsigned: bool, x: int, n: int) -> int:
    """SGXT: of the lower ``n`` bits."""
    x &= (1 << n) - 1
    return x if unsigned or n > 31 or not x >> (n - 1) else x - (1 << n) & M


def from_float(x: int) -> float:
    return float(struct.unpack("<f", struct.pack("<I", x))[0])


def to_float(x: float) -> int:
    return int(np.float32(x).view(np.uint32))


def up(x: int) -> int:
    """A whole number as a float that is not smaller."""
    f = np.float32(x)
    return int((f if float(f) >= x else np.nextafter(f, np.float32(np.inf))).view(np.uint32))


@known
def add_carried(wide: int) -> int:
    return wide & M


NAMES: dict[str, Any] = {
    "M": M,
    "lut3": lut3,
    "logic": logic,
    "both": both,
    "compare": compare,
    "compare_high": compare_high,
    "choose": choose,
    "merge": merge,
    "pack": pack,
    "funnel": known(funnel),
    "permute": known(permute),
    "extend": known(extend),
    "mad": known(lambda a, b, c: (a * b + c) & M),
    "mad_high": known(lambda s, a, b, c: ((signed(a) * signed(b) if s else a * b) + c) >> 32 & M),
    "mad_wide": known(lambda s, a, b, c: (signed(a) * signed(b) if s else a * b) + c),
    "add": known(lambda *x: sum(x)),
    "low": known(lambda x: x & M),
    "high": known(lambda x: x >> 32 & M),
    "carry64": known(lambda x: x >> 64 & 1),
    "carry": known(lambda x, k: int(x >> 32 >= k)),
    "lea_high": known(lambda a, b, c, n: ((c << 32 | a) >> (32 - n)) + b & M),
    "minus": known(lambda x: (~x & M) + 1),
    "bits_not": known(lambda x: ~x & M),
    "no": known(lambda p: 1 - p),
    "bit": bit,
    "some": known(lambda x: int(x != 0)),
    "size": known(lambda x: abs(signed(x))),
    "least": known(lambda s, a, b: min((signed(a), signed(b))) & M if s else min(a, b)),
    "most": known(lambda s, a, b: max((signed(a), signed(b))) & M if s else max(a, b)),
    "from_whole": known(lambda s, x: up(signed(x) if s else x)),
    "inverse": known(lambda x: to_float(1 / from_float(x)) if from_float(x) else to_float(float("inf"))),
    "to_whole": known(lambda x: min(max(int(from_float(x)), 0), M)),
}
ZEROS = {"RZ": "0", "URZ": "0", "PT": "1", "UPT": "1", "SRZ": "0", "!PT": "0", "!UPT": "0"}


# -- instructions -> statements ---------------------------------------------------------------------------------------


class Constants:
    """What a kernel is launched with: ``programs``, ``threads`` of each; behind its parameters' first address are the
    arena's, and in a loop the strip's number.
    """

    def __init__(self, arch: int, programs: int, threads: int) -> None:
        first = 0x210 if arch >= 90 else 0x160
        self.words = {0x0: threads, 0x4: 1, 0x8: 1, 0xC: programs, 0x10: 1, 0x14: 1, first: 0, first + 4: 0x7F00}
        self.words |= {first + 8: 0, first + 12: 0}

    def word(self, text: str, more: int = 0) -> str:
        found = re.fullmatch(r"c\[0x0\]\[(0x[0-9a-f]+)\]", text)
        return str(self.words.get(int(found[1], 16) + more)) if found else "None"


class Writer:
    """Instructions of the slice as Python statements."""

    def __init__(self, constants: Constants) -> None:
        self.constants = constants

    def value(self, text: str, pair: bool = False) -> str:
        """An operand; ``pair``: of 64 bits."""
        text = text.replace(".reuse", "")
        if text.startswith("-") and not text[1:].startswith("0x"):
            return f"minus({self.value(text[1:])})"
        if text.startswith("~"):
            return f"bits_not({self.value(text[1:])})"
        if text.startswith("!") and text not in ZEROS:
            return f"no({text[1:]})"
        if text in ZEROS:
            return ZEROS[text]
        if found := re.fullmatch(r"(U?R)(\d+)", text):
            high = f"{found[1]}{int(found[2]) + 1}"
            return f"add({text}, mad_wide(0, {high}, M + 1, 0))" if pair else text
        if re.fullmatch(r"U?P\d", text):
            return text
        if text.startswith("c["):
            return self.constants.word(text)
        try:
            return str(number(text) & M)
        except ValueError:
            return "None"

    def statement(self, x: Instruction) -> str:
        """One instruction; what has no row here makes what is not known."""
        row = ROWS.get(x.head)
        text = row(self, x) if row else ""
        if not text:
            text = "; ".join(f"{r} = None" for r in x.writes)
        if not x.guard or x.guard in ("PT", "UPT"):
            return text
        olds = "; ".join(f"o{r} = {r}" for r in x.writes)
        one = "merge" if x.head == "LOP3" and x.split == 1 else "choose"
        keeps = "; ".join(f"{r} = {one}({r}, o{r}, {self.value(x.guard)})" for r in x.writes)
        return f"{olds}; {text}; {keeps}"

    def address(self, x: Instruction, i: int) -> str:
        """Notes where a read from global memory is, if it takes place."""
        text = x.args[1]  # behind the result, or behind where it goes in shared memory
        parts = re.findall(r"-?(?:0x[0-9a-f]+|U?R\d+(?:\.64)?)", text[text.rindex("[") :])
        terms = [self.value(p.removesuffix(".64"), p.endswith(".64")) if "R" in p else str(number(p)) for p in parts]
        guard = self.value(x.guard) if x.guard else "1"
        return f"see({i}, add({', '.join(terms)}), {guard})"

    def results(self, x: Instruction, *values: str) -> str:
        """Statements that give results their values, at once."""
        names = [a.replace(".reuse", "") for a in x.args[: x.split]]
        pairs = [(n, v) for n, v in zip(names, values, strict=True) if n not in ZEROS]
        return f"{', '.join(n for n, _ in pairs)} = {', '.join(v for _, v in pairs)}" if pairs else ""

    def sources(self, x: Instruction) -> list[str]:
        return [self.value(a) for a in x.args[x.split :]]


def _wide(w: Writer, x: Instruction, value: str) -> str:
    to = x.args[0]
    if to in ZEROS:
        return ""
    kind, n = re.fullmatch(r"(U?R)(\d+)", to).groups()  # type: ignore[union-attr]
    return f"wide = {value}; {to} = low(wide); {kind}{int(n) + 1} = high(wide)"


def _imad(w: Writer, x: Instruction) -> str:
    a, b, c, *carry = x.args[x.split :]
    product, sign, wide = f"{w.value(a)}, {w.value(b)}", int("U32" not in x.parts), w.value(c, True)
    if x.split > 1 and "WIDE" not in x.parts:
        return ""
    if "WIDE" in x.parts:
        text = _wide(w, x, f"mad_wide({sign}, {product}, {wide})")
        return f"{text}; {x.args[1]} = carry64(wide)" if x.split > 1 and text and x.args[1] not in ZEROS else text
    if "HI" in x.parts:
        return w.results(x, f"mad_high({sign}, {product}, {wide})")
    more = f"add({w.value(c)}, {w.value(carry[0])})" if "X" in x.parts and carry else w.value(c)
    return w.results(x, f"mad({product}, {more})")


def _iadd3(w: Writer, x: Instruction) -> str:
    total = f"add({', '.join(w.sources(x))})"
    carries = [f"carry({total}, {k + 1})" for k in range(x.split - 1)]
    return w.results(x, f"low({total})", *carries)


def _setp(w: Writer, x: Instruction) -> str:
    how = next(p for p in COMPARED if p in x.parts)
    joined, unsigned = next(p for p in ("AND", "OR", "XOR") if p in x.parts), "U32" in x.parts
    a, b, p, *low = w.sources(x)
    extended = "EX" in x.parts
    test = (
        f"compare_high({how!r}, {unsigned}, {a}, {b}, {low[0]})"
        if extended
        else f"compare({how!r}, {unsigned}, {a}, {b})"
    )
    return w.results(x, f"both({joined!r}, {test}, {p})", f"both({joined!r}, no({test}), {p})")


def _lop3(w: Writer, x: Instruction) -> str:
    a, b, c, table = w.sources(x)[:4]
    value = f"lut3({table}, {a}, {b}, {c})"
    return w.results(x, *([f"some({value})"] if x.split == 2 else []), value)


def _plop3(w: Writer, x: Instruction) -> str:
    a, b, c, *tables = w.sources(x)
    return w.results(x, *(f"logic({t}, {a}, {b}, {c})" for t in tables[:2]))


def _lea(w: Writer, x: Instruction) -> str:
    """a << n, or its upper half, and b."""
    given = w.sources(x)
    carry = [given.pop()] if "X" in x.parts else []
    if "HI" in x.parts:
        a, b, *c, n = given
        high = c[0] if c else f"funnel({{'S32', 'HI'}}, 0, 31, {a})"  # the sign
        total = f"add({', '.join([f'lea_high({a}, {b}, {high}, {n})', *carry])})"
    else:
        a, b, n = given[:3]
        total = f"add({', '.join([f'low(mad_wide(0, {a}, 1 << {n}, 0))', b, *carry])})"
    return w.results(x, f"low({total})", *(f"carry({total}, {k + 1})" for k in range(x.split - 1)))


def _load_constant(w: Writer, x: Instruction) -> str:
    kind, n = re.fullmatch(r"(U?R)(\d+)", x.args[0]).groups()  # type: ignore[union-attr]
    return "; ".join(f"{kind}{int(n) + i} = {w.constants.word(x.args[1], 4 * i)}" for i in range(x.width))


def _convert(w: Writer, x: Instruction) -> str:
    if x.head == "I2F" and "RP" in x.parts:
        return w.results(x, f"from_whole({int('U32' not in x.parts)}, {w.sources(x)[0]})")
    if x.head == "F2I" and {"U32", "TRUNC"} <= x.parts:
        return w.results(x, f"to_whole({w.sources(x)[0]})")
    return ""


def _halves(w: Writer, x: Instruction) -> str:
    """HFMA2 of zeros is how a constant is moved."""
    if x.args[1].lstrip("-") != "RZ" or x.args[2] != "RZ":
        return ""
    word = 0
    for k, text in enumerate(x.args[3:5]):
        word |= int(np.float16(float(text.replace("QNAN", "nan").replace("INF", "inf"))).view(np.uint16)) << 16 * (
            1 - k
        )
    return w.results(x, str(word))


def _special(w: Writer, x: Instruction) -> str:
    return w.results(x, {"SR_CTAID.X": "CTA", "SR_TID.X": "TID", "SR_LANEID": "TID & 31"}.get(x.args[1], "None"))


def _move(w: Writer, x: Instruction) -> str:
    return w.results(x, *(w.sources(x)[:1])) if x.split == 1 else ""


def _unpack(w: Writer, x: Instruction) -> str:
    source, mask = w.value(x.args[1]), number(x.args[2])
    return "; ".join(f"P{i} = bit({source}, {i})" for i in range(7) if mask >> i & 1)


def _limit(w: Writer, x: Instruction) -> str:
    """Of two numbers, of which the first may be a sum, the smaller one, or the larger."""
    *some, b, p = w.sources(x)
    a, sign = f"low(add({', '.join(some)}))", int("U32" not in x.parts)
    return w.results(x, f"choose(least({sign}, {a}, {b}), most({sign}, {a}, {b}), {p})")


ROWS: dict[str, Callable[[Writer, Instruction], str]] = {
    **dict.fromkeys(("IMAD", "UIMAD"), _imad),
    **dict.fromkeys(("IADD3", "UIADD3"), _iadd3),
    "VIADD": lambda w, x: w.results(x, f"low(add({', '.join(w.sources(x))}))"),
    **dict.fromkeys(("ISETP", "UISETP"), _setp),
    **dict.fromkeys(("LOP3", "ULOP3"), _lop3),
    **dict.fromkeys(("PLOP3", "UPLOP3"), _plop3),
    **dict.fromkeys(("LEA", "ULEA"), _lea),
    **dict.fromkeys(("LDC", "ULDC"), _load_constant),
    **dict.fromkeys(("MOV", "UMOV", "R2UR"), _move),
    **dict.fromkeys(("S2R", "S2UR"), _special),
    **dict.fromkeys(("I2F", "F2I"), _convert),
    **dict.fromkeys(("SEL", "USEL"), lambda w, x: w.results(x, f"choose({', '.join(w.sources(x))})")),
    **dict.fromkeys(("SHF", "USHF"), lambda w, x: w.results(x, f"funnel({set(x.parts)!r}, {', '.join(w.sources(x))})")),
    **dict.fromkeys(("PRMT", "UPRMT"), lambda w, x: w.results(x, f"permute({', '.join(w.sources(x))})")),
    **dict.fromkeys(
        ("SGXT", "USGXT"), lambda w, x: w.results(x, f"extend({'U32' in x.parts}, {', '.join(w.sources(x))})")
    ),
    "IABS": lambda w, x: w.results(x, f"size({w.sources(x)[0]})"),
    "IMNMX": _limit,
    "VIMNMX": _limit,
    "VIADDMNMX": _limit,
    "MUFU": lambda w, x: w.results(x, f"inverse({w.sources(x)[0]})") if "RCP" in x.parts else "",
    "HFMA2": _halves,
    "CS2R": lambda w, x: "; ".join(f"{r} = 0" for r in x.writes) if x.args[1] == "SRZ" else "",
    "P2R": lambda w, x: (
        w.results(x, f"pack({number(x.args[-1])}, P0, P1, P2, P3, P4, P5, P6)") if x.args[2] == "RZ" else ""
    ),
    "R2P": _unpack,
}
