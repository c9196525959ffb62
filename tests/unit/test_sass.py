"""Machine code of kernels: which registers instructions touch, how often loops turn, how long a warp waits."""

from __future__ import annotations

from collections import Counter

import pytest

from bnnc.backends.triton.paths import Paths, reads
from bnnc.backends.triton.sass import parse
from bnnc.backends.triton.targets import H200
from bnnc.backends.triton.timing import Timing, works

# A program's tiles are its number and every c[0x0][0xc]-th behind it, up to 10; in each a loop of 7 turns.
TILES = """
k:
        /*0000*/                   S2R R0, SR_CTAID.X ;
        /*0010*/                   LDC R1, c[0x0][0xc] ;
        /*0020*/                   ISETP.GT.AND P0, PT, R0, 0x9, PT ;
        /*0030*/               @P0 BRA `(.L_end) ;
.L_tile:
        /*0040*/                   UMOV UR4, URZ ;
.L_turn:
        /*0050*/                   LDG.E R4, desc[UR6][R2.64] ;
        /*0060*/                   UIADD3 UR4, UR4, 0x1, URZ ;
        /*0070*/                   FADD R5, R5, R4 ;
        /*0080*/                   UISETP.NE.AND UP0, UPT, UR4, 0x7, UPT ;
        /*0090*/                   PLOP3.LUT P1, PT, PT, PT, UP0, 0x80, 0x0 ;
        /*00a0*/               @P1 BRA `(.L_turn) ;
        /*00b0*/                   IMAD.IADD R0, R1, 0x1, R0 ;
        /*00c0*/                   ISETP.GE.AND P0, PT, R0, 0xa, PT ;
        /*00d0*/              @!P0 BRA `(.L_tile) ;
.L_end:
        /*00e0*/                   EXIT ;
"""


def instructions(text: str, program: int, programs: int) -> Counter[str]:
    paths = Paths(parse(text), 90, programs, 128)
    out = Counter[str]()
    for counts in paths.run(program):
        for (_, b), n in counts.items():
            for x in paths.code.instructions[b : paths.blocks[b].end]:
                out[x.head] += n
    return out


@pytest.mark.parametrize(("program", "programs", "tiles"), [(0, 1, 10), (0, 4, 3), (3, 4, 2), (9, 10, 1), (11, 12, 0)])
def test_loops_turn_as_often_as_constants_and_the_grid_say(program: int, programs: int, tiles: int) -> None:
    assert instructions(TILES, program, programs)["LDG"] == 7 * tiles


@pytest.mark.parametrize(("begin", "turns"), [(0, 3), (60, 3), (80, 2), (96, 1)])
def test_a_range_ends_where_it_or_the_whole_does(begin: int, turns: int) -> None:
    """A loop from ``begin`` to the smaller one of ``begin`` + 30 and 100, ten a turn."""
    text = f"""
k:
        /*0000*/                   MOV R0, {begin:#x} ;
        /*0010*/                   VIADDMNMX R1, R0, 0x1e, 0x64, PT ;
.L_turn:
        /*0020*/                   LDG.E R4, desc[UR6][R2.64] ;
        /*0030*/                   VIADD R0, R0, 0xa ;
        /*0040*/                   ISETP.GE.AND P0, PT, R0, R1, PT ;
        /*0050*/              @!P0 BRA `(.L_turn) ;
        /*0060*/                   EXIT ;
"""
    assert instructions(text, 0, 1)["LDG"] == turns


@pytest.mark.parametrize(("a", "b"), [(100, 7), (131, 132), (5, 5), (1 << 20, 3)])
def test_a_division_is_computed(a: int, b: int) -> None:
    """As compilers write it, by a reciprocal that is put right; then as many turns as the remainder says."""
    text = f"""
k:
        /*0000*/                   MOV R46, {a:#x} ;
        /*0010*/                   MOV R8, {b:#x} ;
        /*0020*/                   IABS R4, R8 ;
        /*0030*/                   I2F.RP R0, R4 ;
        /*0040*/                   MUFU.RCP R0, R0 ;
        /*0050*/                   VIADD R2, R0, 0xffffffe ;
        /*0060*/                   F2I.FTZ.U32.TRUNC.NTZ R3, R2 ;
        /*0070*/                   IMAD.MOV.U32 R2, RZ, RZ, RZ ;
        /*0080*/                   IMAD.MOV R7, RZ, RZ, -R3 ;
        /*0090*/                   IMAD R5, R7, R4, RZ ;
        /*00a0*/                   IMAD.HI.U32 R3, R3, R5, R2 ;
        /*00b0*/                   IMAD.HI.U32 R3, R3, R46, RZ ;
        /*00c0*/                   IMAD.MOV R6, RZ, RZ, -R4 ;
        /*00d0*/                   IMAD R11, R3, R6, R46 ;
        /*00e0*/                   ISETP.GT.U32.AND P0, PT, R4, R11, PT ;
        /*00f0*/              @!P0 IMAD.IADD R11, R11, 0x1, -R4 ;
        /*0100*/                   ISETP.GT.U32.AND P1, PT, R4, R11, PT ;
        /*0110*/              @!P1 IMAD.IADD R11, R11, 0x1, -R4 ;
.L_turn:
        /*0120*/                   POPC R9, R10 ;
        /*0130*/                   VIADD R11, R11, 0xffffffff ;
        /*0140*/                   ISETP.GE.AND P0, PT, R11, RZ, PT ;
        /*0150*/               @P0 BRA `(.L_turn) ;
        /*0160*/                   EXIT ;
"""
    assert instructions(text, 0, 1)["POPC"] == a % b + 1


def test_what_depends_on_memory_is_not_known() -> None:
    """Who waits for others polls once; the way past a call is taken, and one that is the shorter is not."""
    text = """
k:
.L_poll:
        /*0000*/                   LDG.E.STRONG.GPU R4, desc[UR6][R2.64] ;
        /*0010*/                   ISETP.GE.AND P0, PT, R4, 0x84, PT ;
        /*0020*/              @!P0 BRA `(.L_poll) ;
        /*0030*/                   FCHK P1, R5, R6 ;
        /*0040*/              @!P1 BRA `(.L_fast) ;
        /*0050*/                   CALL.REL.NOINC `(.L_slow) ;
.L_fast:
        /*0060*/               @P0 BRA `(.L_end) ;
        /*0070*/                   POPC R9, R10 ;
.L_end:
        /*0080*/                   EXIT ;
.L_slow:
        /*0090*/                   FMUL R1, R1, R1 ;
        /*00a0*/                   RET.REL.NODEC R20 `(k) ;
"""
    assert instructions(text, 0, 1) == Counter(LDG=1, ISETP=1, BRA=3, FCHK=1, POPC=1, EXIT=1)


def test_a_warp_waits_for_memory() -> None:
    """In turn for each read where nothing is ahead; once a line of memory has come it is near."""
    paths = Paths(parse(TILES), 90, 1, 128)
    ways = sum(paths.run(0), Counter[tuple[int, int]]())
    seen = reads(paths, {0: {b for _, b in ways}}, 1000)
    assert not seen, "nothing says where R2 points"
    far = works(Timing(paths, H200, H200.hit, {}, {}).costs(ways), ways)[""]
    near = works(Timing(paths, H200, H200.near, {}, {}).costs(ways), ways)[""]
    assert far.count == near.count == sum(instructions(TILES, 0, 1).values())
    assert 70 * H200.hit < far.alone < 90 * H200.hit
    assert far.alone - near.alone == 70 * (H200.hit - H200.near)
    at = TILES.replace("UMOV UR4, URZ ;", "UMOV UR4, URZ ;\n        /*0044*/                   CS2R R2, SRZ ;")
    paths = Paths(parse(at), 90, 1, 128)
    (read,) = reads(paths, {0: set(paths.blocks)}, 1000).values()
    assert (read.lines, read.sectors) == (1, 1)
    assert read.seen == 69 / 70


def test_registers() -> None:
    """Results and operands, pairs and vectors among them."""
    text = """
        /*0000*/                   IADD3 R2, P1, R4, -R6, RZ ;
        /*0010*/                   IADD3.X R3, R5, ~R7, RZ, P1, !PT ;
        /*0020*/                   LDG.E.128 R8, desc[UR10][R2.64+0x4] ;
        /*0030*/                   STG.E.64 desc[UR10][R2.64], R8 ;
        /*0040*/              @!P2 LOP3.LUT P3, RZ, R8, 0x2, RZ, 0xc0, !PT ;
        /*0050*/                   IMAD.WIDE R12, R8, 0x4, R2 ;
        /*0060*/                   IMMA.16832.S8.S8 R16, R20.ROW, R24.COL, R16 ;
        /*0070*/                   IGMMA.64x32x32.S8.S8 R32, gdesc[UR4], R32, gsb0 ;
"""
    found = [(" ".join(x.writes), " ".join(x.reads)) for x in parse(text).instructions]
    assert found[:6] == [
        ("R2 P1", "R4 R6"),
        ("R3", "R5 R7 P1"),
        ("R8 R9 R10 R11", "UR10 R2 R3"),
        ("", "UR10 R2 R3 R8 R9"),
        ("P3", "P2 R8"),
        ("R12 R13", "R8 R2 R3"),
    ]
    assert found[6] == ("R16 R17 R18 R19", "R20 R21 R22 R23 R24 R25 R16 R17 R18 R19")
    assert len(found[7][0].split()) == 16
