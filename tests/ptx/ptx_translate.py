"""PTX instructions -> Python text on arrays: what a block of them does to the registers of a unit.

A row of the table is an opcode, with T for its type, and what its result is: {a}, {b}, {c} are operands as unsigned
numbers of the type's width, {sa} as signed ones, {fa} as floats, {b32} as a count of 32 bits, {ia} an immediate.  What
stands in no row, or has a modifier that its row has not, is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from ptx_parse import BITS, Instruction, UnknownPtx, register

SPECIAL = {"%tid.x": "TID", "%ctaid.x": "CTA", "%nctaid.x": "CTAS", "global_smem": "U32(0)"}
WIDTH = {f"{k}{w}": w for k in "busf" for w in (8, 16, 32, 64)} | {"pred": 1} | {f"{k}16x2": 32 for k in "sf"}
COMPARE = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
UNORDERED = {"equ": "!=", "neu": "==", "ltu": ">=", "leu": ">", "gtu": "<=", "geu": "<"}  # what is then false
BITWISE, UNSIGNED, SIGNED = "b16 b32 b64", "u16 u32 u64", "s16 s32 s64"
HALVES = "pair(half({a}, 0) {op} half({b}, 0), half({a}, 1) {op} half({b}, 1))"
SIGNED_HALVES = "pair({op}(half({a}, 0).view(I16), half({b}, 0).view(I16)).view(U16), {op}(half({a}, 1).view(I16), half({b}, 1).view(I16)).view(U16))"  # noqa: E501

TABLE = (
    ("mov.T", f"{BITWISE} {UNSIGNED} pred", "full({a})"),
    ("add.T", f"{UNSIGNED} {SIGNED}", "{a} + {b}"),
    ("sub.T", f"{UNSIGNED} {SIGNED}", "{a} - {b}"),
    ("mul.lo.T", f"{UNSIGNED} {SIGNED}", "{a} * {b}"),
    ("mad.lo.T", f"{UNSIGNED} {SIGNED}", "{a} * {b} + {c}"),
    ("mul.wide.T", "u16 u32", "{a}.astype({twice}) * {b}.astype({twice})"),
    ("mul.wide.T", "s16 s32", "({sa}.astype({stwice}) * {sb}.astype({stwice})).view({twice})"),
    ("mad.wide.T", "u16 u32", "{a}.astype({twice}) * {b}.astype({twice}) + {c2}"),
    ("mad.wide.T", "s16 s32", "({sa}.astype({stwice}) * {sb}.astype({stwice})).view({twice}) + {c2}"),
    ("mul.hi.T", "u16 u32", "(({a}.astype({twice}) * {b}.astype({twice})) >> {twice}({w})).astype({u})"),
    ("mul.hi.T", "s16 s32", "(({sa}.astype({stwice}) * {sb}.astype({stwice})) >> {w}).astype({s}).view({u})"),
    ("div.T", UNSIGNED, "{a} // {b}"),
    ("rem.T", UNSIGNED, "{a} % {b}"),
    ("div.T", SIGNED, "quotient({sa}, {sb}).view({u})"),
    ("rem.T", SIGNED, "remainder({sa}, {sb}).view({u})"),
    ("neg.T", SIGNED, "~{a} + {u}(1)"),
    ("abs.T", SIGNED, "np.abs({sa}).view({u})"),
    ("min.T", UNSIGNED, "np.minimum({a}, {b})"),
    ("max.T", UNSIGNED, "np.maximum({a}, {b})"),
    ("min.T", SIGNED, "np.minimum({sa}, {sb}).view({u})"),
    ("max.T", SIGNED, "np.maximum({sa}, {sb}).view({u})"),
    ("and.T", f"{BITWISE} pred", "{a} & {b}"),
    ("or.T", f"{BITWISE} pred", "{a} | {b}"),
    ("xor.T", f"{BITWISE} pred", "{a} ^ {b}"),
    ("not.T", f"{BITWISE} pred", "~{a}"),
    ("shl.T", BITWISE, "shl({a}, {b32})"),
    ("shr.T", f"{BITWISE} {UNSIGNED}", "shr({a}, {b32})"),
    ("shr.T", SIGNED, "shr({sa}, {b32}).view({u})"),
    ("shf.l.wrap.T", "b32", "funnel({a}, {b}, {c}, True)"),
    ("shf.r.wrap.T", "b32", "funnel({a}, {b}, {c}, False)"),
    ("bfe.T", "u32 u64", "bfe({a}, {ib}, {ic})"),
    ("bfe.T", "s32 s64", "bfe({sa}, {ib}, {ic}).view({u})"),
    ("bfi.T", "b32", "bfi({a}, {b}, {ic}, {id})"),
    ("popc.T", "b32", "np.bitwise_count({a}).astype(U32)"),
    ("prmt.T", "b32", "prmt({a}, {b}, {ic})"),
    ("selp.T", f"{BITWISE} {UNSIGNED} {SIGNED} f32", "np.where({pc}, {a}, {b})"),
    ("add.T", "s16x2", HALVES.replace("{op}", "+")),
    ("sub.T", "s16x2", HALVES.replace("{op}", "-")),
    ("min.T", "s16x2", SIGNED_HALVES.replace("{op}", "np.minimum")),
    ("max.T", "s16x2", SIGNED_HALVES.replace("{op}", "np.maximum")),
    # floats: without .rn the next compiler may join a product and a sum, so those are refused
    ("add.rn.T", "f32", "({fa} + {fb}).view(U32)"),
    ("sub.rn.T", "f32", "({fa} - {fb}).view(U32)"),
    ("mul.rn.T", "f32", "({fa} * {fb}).view(U32)"),
    ("div.rn.T", "f32", "({fa} / {fb}).view(U32)"),
    ("fma.rn.T", "f32", "fma({fa}, {fb}, {fc}).view(U32)"),
    ("sqrt.rn.T", "f32", "np.sqrt({fa}).view(U32)"),
    ("neg.T", "f32", "{a} ^ U32(0x80000000)"),
    ("abs.T", "f32", "{a} & U32(0x7FFFFFFF)"),
    ("abs.T", "f16", "{a} & U16(0x7FFF)"),
    ("abs.T", "f16x2", "{a} & U32(0x7FFF7FFF)"),
    ("copysign.T", "f32", "({a} & U32(0x80000000)) | ({b} & U32(0x7FFFFFFF))"),
    ("min.T", "f32", "smallest({fa}, {fb}).view(U32)"),
    ("max.T", "f32", "largest({fa}, {fb}).view(U32)"),
    ("min.T", "f16", "smallest({fa}.astype(F32), {fb}.astype(F32)).astype(F16).view(U16)"),
    ("max.T", "f16", "largest({fa}.astype(F32), {fb}.astype(F32)).astype(F16).view(U16)"),
    ("cvt.f32.T", "f16", "{fa}.astype(F32).view(U32)"),
    ("cvt.rn.f16.T", "f32", "{fa}.astype(F16).view(U16)"),
    ("cvt.rn.f16.T", "u16 u32", "{a}.astype(F16).view(U16)"),
    ("cvt.rn.f16.T", "s16 s32", "{sa}.astype(F16).view(U16)"),
    ("cvt.rn.f16x2.T", "f32", "pair({fb}.astype(F16).view(U16), {fa}.astype(F16).view(U16))"),
    ("cvt.rn.f32.T", UNSIGNED, "{a}.astype(F32).view(U32)"),
    ("cvt.rn.f32.T", SIGNED, "{sa}.astype(F32).view(U32)"),
    ("cvt.rzi.s32.T", "f32", "to_int({fa}).view(U32)"),
    # across a warp; all its lanes take part
    ("shfl.sync.bfly.T", "b32", "shfl_bfly({a}, {bfly})"),
    ("shfl.sync.idx.T", "b32", "shfl_idx({a}, {b}, {ic})"),
    ("redux.sync.add.T", "s32 u32", "redux_add({a})"),
    ("redux.sync.max.T", "s32", "redux_max({sa}).view(U32)"),
)
COMPARED = {
    **{f"setp.{c}.{t}": f"{{a}} {s} {{b}}" for c, s in COMPARE.items() for t in f"{BITWISE} {UNSIGNED}".split()},
    **{f"setp.{c}.{t}": f"{{sa}} {s} {{sb}}" for c, s in COMPARE.items() for t in SIGNED.split()},
    **{f"setp.{c}.{t}": f"{{fa}} {s} {{fb}}" for c, s in COMPARE.items() for t in ("f16", "f32")},
    **{f"setp.{c}.{t}": f"~({{fa}} {s} {{fb}})" for c, s in UNORDERED.items() for t in ("f16", "f32")},
}
RESULTS = {op.replace("T", t): text for op, types, text in TABLE for t in types.split()} | COMPARED
WARP = ("shfl", "redux", "ldmatrix", "stmatrix", "mma", "wgmma", "cp")  # nothing that some lanes do alone


@dataclass(frozen=True)
class Operands:
    """The operands of an instruction as texts, in the ways that rows name them; ``kind``: its type."""

    args: tuple[str, ...]
    kind: str

    def bits(self, k: int, width: int) -> str:
        return operand(self.args[k], width)

    def __getitem__(self, name: str) -> str:
        """What stands for a placeholder of a row."""
        w = WIDTH[self.kind]
        shared = {"u": f"U{w}", "s": f"I{w}", "w": str(w), "twice": f"U{2 * w}", "stwice": f"I{2 * w}"}
        if name in shared:
            return shared[name]
        if name == "bfly":
            return self._exchange()
        how, letter = name[:-1], name[-1]
        if name in ("b32", "c2"):
            return self.bits("abc".index(name[0]) + 1, 32 if name == "b32" else 2 * w)
        k = "abcd".index(letter) + 1
        ways: dict[str, Callable[[], str]] = {
            "": lambda: self.bits(k, w),
            "s": lambda: f"{self.bits(k, w)}.view(I{w})",
            "f": lambda: f"{self.bits(k, w)}.view(F{w})",
            "p": lambda: self.bits(k, 1),
            "i": lambda: str(immediate(self.args[k])),
        }
        return ways[how]()

    def _exchange(self) -> str:
        """The mask of a butterfly, which all lanes of a warp do without bounds."""
        if [immediate(x) for x in self.args[3:]] != [31, -1]:
            raise UnknownPtx(f"shfl with {self.args[3:]}")
        return str(immediate(self.args[2]))


def immediate(text: str) -> int:
    """A whole number that stands in the text."""
    try:
        return int(text.rstrip("U"), 0)
    except ValueError:
        raise UnknownPtx(f"{text} is no number") from None


def operand(text: str, width: int) -> str:
    """An operand as an unsigned value of a width (1: a predicate)."""
    if name := register(text):
        have = BITS[name[0]]
        if have != width and 1 in (have, width):
            raise UnknownPtx(f"{text} as {width} bits")
        return name if have == width else f"{name}.astype(U{width})"
    if text in SPECIAL:
        return SPECIAL[text]
    if text.startswith(("0f", "0F")):
        return f"U32(0x{text[2:]})"
    value = immediate(text)
    return str(bool(value)) if width == 1 else f"U{width}({value & ((1 << width) - 1)})"


def names(text: str) -> list[str]:
    """The registers of `{%r1, %r2}`, or of one."""
    found = [x if x == "_" else register(x) for x in map(str.strip, text.strip("{} ").split(","))]
    if not all(found):
        raise UnknownPtx(f"{text} is no register")
    return found


def address(text: str) -> str:
    """The bytes that `[%rd1+4]` names."""
    found = re.fullmatch(r"\[\s*(\S+?)\s*(?:\+\s*(-?\d+))?\s*\]", text)
    if found is None:
        raise UnknownPtx(text)
    base, width = operand(found[1], 64 if found[1].startswith("%rd") else 32), 64 if found[1].startswith("%rd") else 32
    return f"({base} + U{width}({int(found[2] or 0) & ((1 << width) - 1)}))"


def translate(x: Instruction) -> str:
    """The statements of one instruction that ends no block."""
    special = SPECIALS.get(x.head)
    split = x.head == "mov" and any("{" in a for a in x.args)
    if x.op in RESULTS and not split:
        return _put(x, names(x.args[0])[0], RESULTS[x.op].format_map(Operands(x.args, x.op.split(".")[-1])))
    if special is None or (x.head == "mov" and not split):
        raise UnknownPtx(x.text)
    return special(x)


def _put(x: Instruction, to: str, value: str) -> str:
    return f"{to} = np.where({x.guard}, {value}, {to})" if x.guard else f"{to} = {value}"


def convert(x: Instruction) -> str:
    """Whole numbers to whole numbers: cut off, or extended as the source's type says."""
    found = re.fullmatch(r"cvt\.([us])(8|16|32|64)\.([us])(8|16|32|64)", x.op)
    if found is None:
        raise UnknownPtx(x.text)
    to, out, source = names(x.args[0])[0], int(found[2]), int(found[4])
    value = f"{operand(x.args[1], source)}.view({'I' if found[3] == 's' else 'U'}{source})"
    value += f".astype({'I' if found[1] == 's' else 'U'}{out})"
    held = BITS[to[0]]
    return _put(x, to, f"{value}.astype({'I' if found[1] == 's' else 'U'}{held}).view(U{held})")


def compare_halves(x: Instruction) -> str:
    """Two predicates from two pairs of halves."""
    found = re.fullmatch(r"setp\.(\w\w)\.f16x2", x.op)
    if found is None or x.guard or found[1] not in COMPARE:
        raise UnknownPtx(x.text)
    a, b = (operand(y, 32) for y in x.args[1:])
    low, high = (register(y) for y in x.args[0].split("|"))
    return "\n".join(
        f"{p} = half({a}, {k}).view(F16) {COMPARE[found[1]]} half({b}, {k}).view(F16)"
        for k, p in enumerate((low, high))
    )


def move_halves(x: Instruction) -> str:
    """A word from two halves, or two halves from a word."""
    if x.op != "mov.b32" or x.guard:
        raise UnknownPtx(x.text)
    if x.args[1].startswith("{"):
        low, high = (operand(y.strip(), 16) for y in x.args[1].strip("{}").split(","))
        return f"{names(x.args[0])[0]} = full(pair({low}, {high}))"
    low, high = names(x.args[0])
    word = operand(x.args[1], 32)
    return f"{low}, {high} = half({word}, 0), half({word}, 1)"


def load(x: Instruction) -> str:
    """From a parameter, or from global or shared memory, one value or a vector of them."""
    if x.op in ("ld.param.b64", "ld.param.b32") and not x.guard:
        number = re.fullmatch(r"\[\w+_param_(\d+)\]", x.args[1])
        if number is None:
            raise UnknownPtx(x.text)
        return f"{names(x.args[0])[0]} = full(U{x.op[-2:]}(unit.parameter({number[1]})))"
    found = re.fullmatch(r"ld\.(global|shared)(?:\.gpu\.acquire)?(?:\.v([24]))?\.([bsu])(8|16|32|64)", x.op)
    if found is None:
        raise UnknownPtx(x.text)
    to, width = names(x.args[0]), int(found[4])
    held = BITS[to[0][0]]
    into = f"[{', '.join(to)}]" if x.guard else "None"
    text = f"{', '.join(to)}, = unit.load('{found[1]}', {address(x.args[1])}, {width // 8}, {len(to)}, {x.guard or None}, {into}, U{held})"  # noqa: E501
    if found[3] == "s" and held > width:
        if x.guard:
            raise UnknownPtx(x.text)
        text += "".join(f"\n{r} = {r}.astype(I{width}).astype(I{held}).view(U{held})" for r in to)
    return text


def store(x: Instruction) -> str:
    """To global or shared memory."""
    found = re.fullmatch(r"st\.(global|shared)(?:\.v([24]))?\.b(8|16|32|64)", x.op)
    if found is None:
        raise UnknownPtx(x.text)
    width = int(found[3])
    values = [
        operand(v.strip(), max(width, 16) if register(v.strip()) else width) for v in x.args[1].strip("{} ").split(",")
    ]  # noqa: E501
    return f"unit.store('{found[1]}', {address(x.args[0])}, {width // 8}, [{', '.join(values)}], {x.guard or None})"


def atomic(x: Instruction) -> str:
    """The one atomic operation: an addition, with its order."""
    found = re.fullmatch(r"atom\.global\.gpu\.(acq_rel|relaxed)\.add\.u32", x.op)
    if not found:
        raise UnknownPtx(x.text)
    to, orders = names(x.args[0])[0], found[1] == "acq_rel"
    return f"{to} = unit.atomic_add({address(x.args[1])}, {operand(x.args[2], 32)}, {x.guard or None}, {to}, {orders})"


def copy(x: Instruction) -> str:
    """cp.async: queued, in groups."""
    if x.op == "cp.async.commit_group":
        return "unit.commit()"
    if x.op == "cp.async.wait_group":
        return f"unit.wait({immediate(x.args[0])})"
    if x.op not in ("cp.async.ca.shared.global", "cp.async.cg.shared.global"):
        raise UnknownPtx(x.text)
    size = immediate(x.args[2])
    valid = operand(x.args[3], 32) if len(x.args) > 3 else f"U32({size})"
    return f"unit.copy({address(x.args[0])}, {address(x.args[1])}, {size}, {valid}, {x.guard or None})"


def matrix(x: Instruction) -> str:
    """Matrices of 8 x 8 halves, from or to shared memory."""
    found = re.fullmatch(r"(ld|st)matrix\.sync\.aligned\.m8n8\.x[124](\.trans)?\.shared\.b16", x.op)
    if found is None or x.guard:
        raise UnknownPtx(x.text)
    where, registers = x.args if found[1] == "st" else x.args[::-1]
    held, turned = names(registers), bool(found[2])
    if found[1] == "st":
        return f"unit.store_matrix({address(where)}, [{', '.join(held)}], {turned})"
    return f"{', '.join(held)}, = unit.load_matrix({address(where)}, {len(held)}, {turned})"


MMA = {
    "mma.sync.aligned.m16n8k32.row.col.satfinite.s32.s8.s8.s32": "I8",
    "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32": "F16",
}


def multiply(x: Instruction) -> str:
    """mma.sync."""
    if x.op not in MMA or x.guard:
        raise UnknownPtx(x.text)
    d, *given = ([register(y.strip()) for y in a.strip("{} ").split(",")] for a in x.args)
    operands = ", ".join(f"[{', '.join(r)}]" for r in given)
    return f"{', '.join(d)} = mma({operands}, {MMA[x.op]})"


def multiply_shared(x: Instruction) -> str:
    """wgmma: done at once, where the hardware may take its time until wait_group."""
    if x.op.startswith(("wgmma.fence.", "wgmma.commit_group.", "wgmma.wait_group.")):
        return ""
    found = re.fullmatch(r"wgmma\.mma_async\.sync\.aligned\.m64n(\d+)k(32\.s32\.s8\.s8|16\.f32\.f16\.f16)", x.op)
    if found is None or x.guard:
        raise UnknownPtx(x.text)
    kind, given = "I8" if found[2].startswith("32") else "F16", [immediate(y) for y in x.args[4:]]
    if kind == "F16" and given[:2] != [1, 1]:  # the signs of both operands
        raise UnknownPtx(x.text)
    turned = (given[2:] if kind == "F16" else []) or [0]
    d, keep = ", ".join(names(x.args[0])), operand(x.args[3], 1)
    a = f"[{', '.join(names(x.args[1]))}]" if x.args[1].startswith("{") else operand(x.args[1], 64)
    return f"{d}, = unit.wgmma([{d}], {a}, {operand(x.args[2], 64)}, {keep}, {found[1]}, {kind}, {turned})"


def fence(x: Instruction) -> str:
    """Orders what the emulator never reorders: a warp's lanes go on together."""
    if x.op != "fence.proxy.async.shared::cta" and (x.op, x.args) != ("bar.warp.sync", ("-1",)):
        raise UnknownPtx(x.text)
    return ""


SPECIALS: dict[str, Callable[[Instruction], str]] = {
    "cvt": convert,
    "setp": compare_halves,
    "mov": move_halves,
    "ld": load,
    "st": store,
    "atom": atomic,
    "cp": copy,
    "ldmatrix": matrix,
    "stmatrix": matrix,
    "mma": multiply,
    "wgmma": multiply_shared,
    "fence": fence,
    "bar": fence,
}
