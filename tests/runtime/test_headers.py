"""Headers of the runtime: each includes what it uses, at its top, in no circle; instruction sets override one list.

A header that works for a network is compiled behind the least that a generated file gives (NETWORK), the others alone.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from runtime_builds import RUNTIME

from bnnc import driver

HEADERS = {p.name: p.read_text(encoding="utf-8") for p in sorted(RUNTIME.glob("*.h"))}
INCLUDE = re.compile(r'^#include "(\w+\.h)"', re.M)
MEANINGS = ("bnnc_vec.h", "bnnc_bits.h", "bnnc_whole.h", "bnnc_image.h")
SETS = {n for n, text in HEADERS.items() if " BNNC_AT_LEVEL(" in text} - {*MEANINGS, "bnnc_lanes.h", "bnnc_rate.h"}
NETWORK = """
#include "bnnc_net.h"
enum { TRAIN_KERNELS = 1, EVAL_KERNELS = 1, ARENA_BYTES = 64 };
static uint8_t bnnc_arena[ARENA_BYTES];
static const bnnc_net NET = {0};
static void net_train_step(void) {}
static void net_eval_step(void) {}
"""
KERNELS = """
#include "bnnc_pool.h"
static const bnnc_kernel KERNELS[1][2] = {{0}}, RATES[1][BNNC_RATES] = {{0}};
static const bnnc_cost COSTS[TRAIN_KERNELS] = {{0}};
static const bnnc_state STATE[] = {{0}};
static const char SPEC_HASH[] = "";
static int net_level(void) { return 0; }
static const bnnc_kernel *net_kernels(void) { return KERNELS[0]; }
static const uint32_t *const PLACES[TRAIN_KERNELS + EVAL_KERNELS] = {0};
static void net_run(const bnnc_kernel *kernel, int i) { bnnc_run(kernel[i], PLACES[i]); }
#define BNNC_NEXT(i) ((i) + 1)
"""
SAMPLES = """
enum { BNNC_TRAIN_SAMPLES = 1, BNNC_TEST_SAMPLES = 0 };
static const uint8_t BNNC_SAMPLE[1][4], BNNC_LABEL[1];
static const float *const BNNC_THRESHOLDS;
#define BNNC_NAMED(what) net_##what
static int net_train(const bnnc_board *board, bnnc_result *result) { return (void)board, (void)result, 0; }
"""
NAMED = """
#include "bnnc_firmware.h"
#define BNNC_NAMED(what) net_##what
int net_train(const bnnc_board *, bnnc_result *), net_resume(const bnnc_board *);
int32_t net_predict(const void *);
void net_info(const bnnc_board *);
uint32_t net_sample_bytes(void), net_slot_bytes(void);
"""
RAW_BYTES = """
#define BNNC_RAW uint8_t
#define BNNC_RAW_VALUES 4
"""
THRESHOLDS = """
typedef float __attribute__((may_alias)) bnnc_value;
static const bnnc_value *bnnc_thresholds_of(uint32_t row) { return (void)row, NULL; }
"""
AUGMENT = "".join(
    f"#define BNNC_AUGMENT_{name} {n}\n"
    for name, n in {"ROWS": 4, "COLUMNS": 4, "CHANNELS": 3, "UP": 2, "ACROSS": 2, "CLAMP": 0, "FLIP": 1}.items()
)
AUGMENT += "#define BNNC_AUGMENT_TYPE uint8_t\n"
BALANCE = "#define BNNC_CLASSES 10\n"
PREDICT = """
static void bnnc_take(const BNNC_RAW *raw) { (void)raw; }
static int32_t bnnc_class_of_it(void) { return 0; }
"""
ARM, M4 = ["aarch64-linux-gnu-gcc"], ["arm-none-eabi-gcc", "-mcpu=cortex-m4", "-mthumb", "-DBNNC_BARE"]
AVX512 = ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx512vpopcntdq"]
HOW: dict[str, tuple[list[str], str]] = {  # compiler with options, and what stands before; of the others: gcc, nothing
    "bnnc_apart.h": (["gcc", "-DBNNC_FREESTANDING"], ""),
    "bnnc_augment.h": (["gcc"], AUGMENT + NETWORK),
    "bnnc_avx2.h": (["gcc", "-mavx2", "-mf16c"], ""),
    "bnnc_avx512.h": (["gcc", *AVX512], ""),
    "bnnc_balance.h": (["gcc"], BALANCE + NETWORK),
    "bnnc_bare.h": (["gcc", "-DBNNC_BARE"], NETWORK + NAMED),
    "bnnc_bare_data.h": (["gcc", "-DBNNC_BARE"], NETWORK),
    "bnnc_bytes.h": (["gcc", "-mavx2"], ""),
    "bnnc_cortex_m.h": (M4, NETWORK + SAMPLES),
    "bnnc_dotprod.h": ([*ARM, "-march=armv8.2-a+dotprod"], ""),
    "bnnc_encode_row.h": (["gcc"], NETWORK + THRESHOLDS),
    "bnnc_neon.h": (ARM, ""),
    "bnnc_predict.h": (["gcc", "-DBNNC_PREDICTS"], NETWORK + RAW_BYTES + PREDICT),
    "bnnc_raw.h": (["gcc"], NETWORK + RAW_BYTES),
    "bnnc_seen.h": (["gcc"], AUGMENT + NETWORK),
    "bnnc_sys_arm.h": ([*ARM, "-DBNNC_FREESTANDING"], ""),
    "bnnc_sys_bare.h": (["gcc", "-DBNNC_BARE"], ""),
    "bnnc_sys_raw.h": (["gcc", "-DBNNC_FREESTANDING"], ""),
    "bnnc_sys_x86.h": (["gcc", "-DBNNC_FREESTANDING"], ""),
    **dict.fromkeys(("bnnc_bench.h", "bnnc_library.h", "bnnc_main.h", "bnnc_selftest.h"), (["gcc"], NETWORK + KERNELS)),
}
WORKS_FOR_A_NETWORK = (
    *(
        "data",
        "encode",
        "format",
        "measure",
        "names",
        "predicted",
        "prepare",
        "progress",
        "rate",
        "sample",
        "set",
        "states",
        "step",
        "tensors",
        "train",
        "work",
    ),
    "cli",
)


def marked(name: str) -> object:
    return pytest.param(name, marks=pytest.mark.arm) if HOW.get(name, (["gcc"],))[0][0] != "gcc" else name


@pytest.mark.parametrize("name", [marked(n) for n in HEADERS])
def test_a_header_includes_what_it_uses(name: str, tmp_path: Path) -> None:
    network = NETWORK if name[5:-2] in WORKS_FOR_A_NETWORK else ""
    command, before = HOW.get(name, (["gcc"], network))
    source = tmp_path / "alone.c"
    source.write_text(f'{before}\n#include "{name}"\n')
    flags = ["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-Wno-unused-variable", "-Wno-unused-function"]
    level = [] if name.endswith("_begin.h") else ["-DBNNC_LEVEL=one"]
    argv = [*command, *flags, *level, f"-I{RUNTIME}", "-fsyntax-only", str(source)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def below() -> dict[str, set[str]]:
    """What each header includes, directly and in the end."""
    found = {n: set(INCLUDE.findall(text)) for n, text in HEADERS.items()}
    assert not {x for names in found.values() for x in names} - {*HEADERS}
    while (grown := {n: s | {y for x in s for y in found[x]} for n, s in found.items()}) != found:
        found = grown
    return found


def test_no_header_includes_itself_in_the_end() -> None:
    assert not [n for n, s in below().items() if n in s]


def test_what_works_for_a_network_says_so() -> None:
    """NETWORK stands before these, so that a missing include of its own header would not be seen."""
    work = [*(n for n, (_, before) in HOW.items() if before), *(f"bnnc_{n}.h" for n in WORKS_FOR_A_NETWORK)]
    assert not [n for n in work if "bnnc_net.h" not in below()[n]]


@pytest.mark.parametrize("name", HEADERS)
def test_includes_stand_at_the_top(name: str) -> None:
    text = re.sub(r"/\*.*?\*/", "", HEADERS[name], flags=re.S).replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip()]
    code = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    assert not [line for line in lines[code:] if line.startswith("#include")]


EVERYTHING = """network all {
  input f32[6, 3] thermometer(3); flatten; dense 33; batchnorm; sign; dense 4; batchnorm; loss;
}
rule edge(gradient = i8, state = i8);
train { optimizer = adam(lr = 1e-3, v = elide); augment = [timeshift(1), jitter(1)]; sampling = balanced;
        batch = 64; }
"""


def test_what_a_generated_file_defines_is_listed() -> None:
    """In bnnc_net.h; all that a network may have, but loops over strips."""
    made = driver.emit_source(driver.plan_text(driver.Options(EVERYTHING, scores=True))).text["all.c"]
    listed, _, _ = HEADERS["bnnc_net.h"].partition("#ifndef")
    names = {re.sub(r"^AUGMENT_\w+", "AUGMENT_..", n) for n in re.findall(r"^#define BNNC_(\w+)", made, re.M)}
    names |= {*re.findall(r"^static [^(=]*?\b([A-Z]{3,}|net_\w+|SPEC_HASH)[\[(= ]", made, re.M)}
    assert {"SCORES", "STEP", "CLASSES", "AUGMENT_..", "COSTS", "net_run", "SPEC_HASH"} <= names
    assert not [n for n in sorted(names) if not re.search(rf"\b(BNNC_)?{re.escape(n)}(?!\w)", listed)]


def overridable(name: str) -> list[str]:
    return re.findall(r"^#ifndef (\w+)\n#define \1 BNNC_AT_LEVEL\(\1\)$", HEADERS[name], re.M)


def test_what_instruction_sets_do_better_is_one_list() -> None:
    """bnnc_end.h forgets just what may be overridden; an instruction set defines nothing else."""
    of_one_number = re.findall(r"^static inline .* (bnnc_\w+)\(", HEADERS["bnnc_num.h"], re.M)
    known = {n for name in SETS for n in re.findall(r"^#define (bnnc_\w+) BNNC_AT_LEVEL", HEADERS[name], re.M)}
    may = [*(n for name in MEANINGS for n in overridable(name)), *(n for n in of_one_number if n in known)]
    before, _, listed = HEADERS["bnnc_end.h"].partition("/* What an instruction set may do better")
    assert sorted(may) == sorted(re.findall(r"^#undef (\w+)", listed, re.M)) and len(may) > 20
    assert {"bnnc_sse2.h", "bnnc_avx512.h", "bnnc_bytes.h", "bnnc_neon.h"} <= SETS
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
