"""Networks in one program: two that train and one that predicts are linked together, and none sees the others."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import cross
import numpy as np
import pytest
from sklearn.datasets import load_digits

import bnnc
from bnnc.backends.c import build
from bnnc.backends.c.targets import TARGETS
from bnnc.data import Dataset, write_bnnd

pytestmark = pytest.mark.arm
TARGET = TARGETS["cortex-m"]
EDGE = (Path(__file__).parents[2] / "examples/digits_cortex_m/digits_cortex_m.bnn").read_text()
BEP = """network digits { input u8[64] sign(threshold = 8, pad_odd = on); dense 63; sign; dense 10; loss; }
rule bep(group = 9); train { batch = 100; } data { train = bnnd("digits.bnnd"); }
"""
QEMU = "qemu-system-arm -M mps2-an386 -nographic -monitor none -serial none -semihosting -kernel"
PAGE = (Path(__file__).parents[2] / "docs/warnings.md").read_text()
STRICT = re.findall(r'^    W="(.*)"$', PAGE, re.M)[0].split()  # of which there are none
FLAGS = (*TARGET.flags, "-ffreestanding", *STRICT, "-Werror", "-DBNNC_LIBRARY")
LEARNS = """#include "NAME.h"
#include "NAME_samples.h"
static int sample(void *me, uint32_t i, void *x, uint8_t *label) {
    (void)me;
    for (uint32_t b = 0; b < sizeof BNNC_SAMPLE[i]; b++) ((uint8_t *)x)[b] = BNNC_SAMPLE[i][b];
    *label = BNNC_LABEL[i];
    return 0;
}
uint64_t NAME_state(uint32_t epochs);
uint64_t NAME_state(uint32_t epochs) {
    const bnnc_board board = {
        .n_train = BNNC_TRAIN_SAMPLES, .n_test = BNNC_TEST_SAMPLES, .sample = sample, .epochs = epochs,
        .thresholds = BNNC_THRESHOLDS};
    bnnc_result r;
    return NAME_train(&board, &r) == BNNC_DONE ? r.state : 0;
}
"""
MAIN = """#include "ask.h"
#include "ask_samples.h"
void say(const char *label, uint64_t value);
uint64_t one_state(uint32_t), two_state(uint32_t);
int main(void);
int main(void) {
    (void)one_state(1); /* between them the others are at work */
    for (uint32_t i = 0; i < BNNC_TEST_SAMPLES; i++) say("class ", (uint64_t)ask_predict(BNNC_SAMPLE[i]));
    say("two ", two_state(2));
    say("one ", one_state(2));
    return ask_classes - 10;
}
"""
BOARD = """#include <stdint.h>
void say(const char *label, uint64_t value);
static uint32_t host(uint32_t what, const void *arguments) {
    register uint32_t r0 __asm__("r0") = what;
    register const void *r1 __asm__("r1") = arguments;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}
void say(const char *label, uint64_t value) {
    char text[18];
    for (int i = 16; i-- > 0; value >>= 4) text[i] = "0123456789abcdef"[value & 15];
    text[16] = '\\n', text[17] = 0;
    host(4, label), host(4, text); /* SYS_WRITE0 */
}
extern uint32_t bnnc_stack_top[], bnnc_data_start[], bnnc_data_end[], bnnc_data_load[], bnnc_bss_start[],
    bnnc_bss_end[];
int main(void);
__attribute__((noreturn)) void bnnc_reset(void);
void bnnc_reset(void) {
    *(volatile uint32_t *)0xE000ED88 |= 0xFu << 20;
    __asm__ volatile("dsb\\n  isb" ::: "memory");
    for (uint32_t *p = bnnc_data_start, *q = bnnc_data_load; p < bnnc_data_end;) *(volatile uint32_t *)p++ = *q++;
    for (uint32_t *p = bnnc_bss_start; p < bnnc_bss_end;) *(volatile uint32_t *)p++ = 0;
    const uint32_t end[2] = {0x20026, (uint32_t)main()};
    for (;;) host(0x20, end);
}
__attribute__((used, section(".isr"))) static void (*const vectors[4])(void) = {(void (*)(void))bnnc_stack_top,
                                                                                bnnc_reset, bnnc_reset, bnnc_reset};
"""
HOST = """#include <inttypes.h>
#include <stdio.h>
void say(const char *label, uint64_t value);
void say(const char *label, uint64_t value) { printf("%s%016" PRIx64 "\\n", label, value); }
"""


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    d, folder = load_digits(), tmp_path_factory.mktemp("digits")
    write_bnnd(
        folder / "digits.bnnd", Dataset(d.images.astype(np.uint8), d.target.astype(np.uint8), classes=10, n_test=97)
    )
    return folder


@pytest.fixture(scope="module")
def networks(digits: Path) -> tuple[Path, list[str], int]:
    """A folder with the C of two trainers and of a predictor, what the host says of them, and the RAM of all plans."""
    one, two = (bnnc.parse(text, str(digits / "net.bnn")).with_(epochs=2) for text in (EDGE, BEP))
    said, run = [], digits / "run"
    trainer = two.compile(threads=1)
    done = trainer.run(["train", "--data", str(digits), "--out", str(run), "--quiet"])
    said += [
        f"class {int(k):016x}"
        for k in trainer.run(["predict", "--data", str(digits), "--out", str(run)]).stdout.split()
    ]
    said += [f"two {cross.state_of(done)}"]
    done = one.compile(threads=1).run(["train", "--data", str(digits), "--out", str(digits / "one"), "--quiet"])
    said += [f"one {cross.state_of(done)}"]
    total = 0
    for planned in (
        one.called("one").plan("cortex-m", ram="1MiB").planned,
        two.called("two").plan("cortex-m").planned,
        two.called("ask").planned_predictor(run, "cortex-m"),
    ):
        bnnc.driver.emit_source(planned).write(digits / "c" / planned.model.prefix)
        total += planned.report.total
    for name in ("one", "two"):
        (digits / "c" / f"{name}_uses.c").write_text(LEARNS.replace("NAME", name))
    for name, text in (("main", MAIN), ("board", BOARD), ("host", HOST)):
        (digits / "c" / f"{name}.c").write_text(text)
    return digits / "c", said, total


def objects(folder: Path, cc: str, out: str, *more: str) -> list[str]:
    """Of each network, of which nothing is seen from outside but what begins with its name; and of who uses them."""
    for name in ("one/one", "two/two", "ask/ask", "one_uses", "two_uses", "main", *more):
        includes = [f"-I{n}" for n in ("one", "two", "ask")]
        argv = [*cc.split(), *FLAGS, *includes, "-c", f"{name}.c", "-o", f"{out}_{Path(name).name}.o"]
        if cc == "gcc":
            argv = [a for a in argv if a not in ("-ffreestanding", "-mno-unaligned-access")]
        subprocess.run(argv, cwd=folder, check=True)
    for name in ("one", "two", "ask"):
        symbols = subprocess.run(
            ["nm", "-g", "--defined-only", f"{out}_{name}.o"], cwd=folder, check=True, capture_output=True, text=True
        ).stdout
        mine = re.findall(r"^\w+ [A-VX-Z] (\w+)$", symbols, re.M)  # W: weak, as memcpy is
        assert f"{name}_predict" in mine and all(s.startswith(f"{name}_") for s in mine), symbols
    return [f"{out}_{Path(n).name}.o" for n in ("one", "two", "ask", "one_uses", "two_uses", "main", *more)]


def qemu(program: Path) -> str:
    """What a program says; QEMU has SYS_WRITE0 on its standard error."""
    argv = [*QEMU.split(), str(program)]
    done = subprocess.run(argv, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
    return done.stdout


def test_in_one_firmware(networks: tuple[Path, list[str], int]) -> None:
    """The linker script of one has room for all; RAM is no more than the plans' together."""
    cross.need(TARGET)
    folder, said, total = networks
    cc = build.find_compiler(TARGET)
    parts = objects(folder, cc, "m", "board")
    link = ["-nostdlib", "-Wl,--gc-sections", "-Wl,-T,one/one.ld", *TARGET.libraries, "-o", "net.elf"]
    subprocess.run([*cc.split(), *parts, *link], cwd=folder, check=True)
    assert 0 < build.read_elf(folder / "net.elf").ram <= total
    assert qemu(folder / "net.elf").split("\n") == [*said, ""]


CMAKE = """cmake_minimum_required(VERSION 3.13)
project(mine C)
add_subdirectory(one)
add_subdirectory(two)
add_subdirectory(ask)
add_executable(net.elf main.c board.c one_uses.c two_uses.c)
target_link_libraries(net.elf PRIVATE one two ask)
target_link_options(net.elf PRIVATE -nostdlib -Wl,-T,${CMAKE_SOURCE_DIR}/one/one.ld)
target_link_libraries(net.elf PRIVATE -lgcc)
"""
TOOLCHAIN = """set(CMAKE_SYSTEM_NAME Generic)
set(CMAKE_SYSTEM_PROCESSOR cortex-m4)
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
set(CMAKE_C_COMPILER arm-none-eabi-gcc)
set(CMAKE_C_FLAGS "-mthumb -mfloat-abi=hard -mcpu=cortex-m4 -mfpu=fpv4-sp-d16 -O1")
"""


def test_in_one_firmware_by_cmake(networks: tuple[Path, list[str], int]) -> None:
    cross.need(TARGET)
    cross.need_tools("cmake", "arm-none-eabi-gcc")
    folder, said, _ = networks
    (folder / "CMakeLists.txt").write_text(CMAKE)
    (folder / "m4.cmake").write_text(TOOLCHAIN)
    for argv in (["cmake", "-B", "b", "-DCMAKE_TOOLCHAIN_FILE=../m4.cmake"], ["cmake", "--build", "b"]):
        subprocess.run(argv, cwd=folder, check=True, capture_output=True)
    assert qemu(folder / "b/net.elf").split("\n") == [*said, ""]


def test_in_one_program_of_this_machine(networks: tuple[Path, list[str], int]) -> None:
    """The same C, by the host's compiler: training in a program of one's own."""
    folder, said, _ = networks
    subprocess.run(["gcc", *objects(folder, "gcc", "h", "host"), "-lm", "-o", "together"], cwd=folder, check=True)
    done = subprocess.run(["./together"], cwd=folder, check=True, capture_output=True, text=True)
    assert done.stdout.split("\n") == [*said, ""]
