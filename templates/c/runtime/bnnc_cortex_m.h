/* bnnc_cortex_m.h: a whole program for a Cortex-M: startup, samples from flash, text through a debugger (semihosting).
 *
 * Included last by the generated file where samples were compiled in (NAME_samples.h). It is both the proof that the memory is
 * what the plan says, and an example of firmware; your own has its own startup, and calls NAME_train itself.
 * The stack is painted before main: what is no longer painted at the end was used. The stack lies at the start of the
 * RAM, so that one which grows too far faults instead of changing a variable; unaligned accesses fault too.
 */
#ifndef BNNC_CORTEX_M_H
#define BNNC_CORTEX_M_H
#include "bnnc_firmware.h"
#include "bnnc_fmt.h"
#include "bnnc_net.h"

extern uint32_t bnnc_ram_start[], bnnc_stack_top[], bnnc_data_start[], bnnc_data_end[], bnnc_data_load[],
    bnnc_bss_start[], bnnc_bss_end[]; /* of the linker script */
#define BNNC_PAINT 0xA5A5A5A5u

/* Asks whoever holds the debug port. Without one a breakpoint is a fault. */
BNNC_FN uint32_t bnnc_semihost(uint32_t what, const void *arguments) {
    register uint32_t r0 __asm__("r0") = what;
    register const void *r1 __asm__("r1") = arguments;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

BNNC_FN _Noreturn void bnnc_exit(uint32_t code) {
    const uint32_t arguments[2] = {0x20026 /* the application has ended */, code};
    for (;;) (void)bnnc_semihost(0x20 /* SYS_EXIT_EXTENDED */, arguments);
}

static void bnnc_semihost_print(void *me, const char *text, uint32_t n) {
    const uint32_t arguments[3] = {*(const uint32_t *)me, (uint32_t)(uintptr_t)text, n};
    (void)bnnc_semihost(5 /* SYS_WRITE */, arguments);
}

int main(void);
#ifdef BNNC_PREDICTS /* the class of each sample, a line each */
int main(void) {
    const uint32_t console[3] = {(uint32_t)(uintptr_t)":tt", 4 /* to write */, 3};
    uint32_t handle = bnnc_semihost(1 /* SYS_OPEN */, console);
    const bnnc_board board = {.print = bnnc_semihost_print, .me = &handle};
    const uint32_t *unused = bnnc_ram_start;
    bnnc_board_now = &board;
    for (uint32_t i = 0; i < BNNC_TEST_SAMPLES; i++) {
        bnnc_take((const BNNC_RAW *)(const void *)BNNC_SAMPLE[i]);
#ifdef BNNC_CLASS_NAMES
        bnnc_say(1, "%s\n", BNNC_CLASS_NAMES[bnnc_class_of_it()]);
#else
        bnnc_say(1, "%d\n", (int)bnnc_class_of_it());
#endif
    }
    while (unused < bnnc_stack_top && *unused == BNNC_PAINT) unused++;
    bnnc_say(1, "memory: predicted %U bytes; stack: %u of %u bytes were used\n", NET.total_bytes,
             (uint32_t)(bnnc_stack_top - unused) * 4, (uint32_t)(bnnc_stack_top - bnnc_ram_start) * 4);
    return 0;
}
#else
static int bnnc_flash_sample(void *me, uint32_t i, void *x, uint8_t *label) {
    (void)me;
    memcpy(x, BNNC_SAMPLE[i], sizeof BNNC_SAMPLE[i]);
    *label = BNNC_LABEL[i];
    return 0;
}

int main(void) {
    const uint32_t console[3] = {(uint32_t)(uintptr_t)":tt", 4 /* to write */, 3};
    uint32_t handle = bnnc_semihost(1 /* SYS_OPEN */, console);
    const bnnc_board board = {.n_train = BNNC_TRAIN_SAMPLES,
                              .n_test = BNNC_TEST_SAMPLES,
                              .sample = bnnc_flash_sample,
                              .print = bnnc_semihost_print,
                              .thresholds = BNNC_THRESHOLDS,
                              .me = &handle};
    bnnc_result r;
    const uint32_t *unused = bnnc_ram_start;
    const int code = BNNC_NAMED(train)(&board, &r);
    while (unused < bnnc_stack_top && *unused == BNNC_PAINT) unused++;
    bnnc_say(1, "memory: predicted %U bytes; stack: %u of %u bytes were used\nstate %X\n", NET.total_bytes,
             (uint32_t)(bnnc_stack_top - unused) * 4, (uint32_t)(bnnc_stack_top - bnnc_ram_start) * 4, r.state);
    return code;
}

#endif

/* The first code that runs. */
__attribute__((used, noreturn)) void bnnc_reset(void);
void bnnc_reset(void) {
    volatile uint32_t *const system = (volatile uint32_t *)(uintptr_t)0xE000ED00u;
#ifdef __ARM_FP
    system[0x88 / 4] |= 0xFu << 20; /* CPACR: the FPU is off after a reset */
#endif
    system[0x14 / 4] |= 1u << 3; /* CCR: unaligned accesses fault */
    __asm__ volatile("dsb\n  isb" ::: "memory");
    for (uint32_t *p = bnnc_ram_start, *sp = __builtin_frame_address(0); p < sp - 16; p++)
        *(volatile uint32_t *)p = BNNC_PAINT;
    for (uint32_t *p = bnnc_data_start, *q = bnnc_data_load; p < bnnc_data_end;) *(volatile uint32_t *)p++ = *q++;
    for (uint32_t *p = bnnc_bss_start; p < bnnc_bss_end;) *(volatile uint32_t *)p++ = 0;
    bnnc_exit((uint32_t)main());
}

__attribute__((noreturn)) static void bnnc_fault(void) { bnnc_exit(100); }

/* Stack, reset, NMI, hard fault, and the three that are off. */
__attribute__((used, section(".isr"))) static void (*const bnnc_vectors[7])(void) = {
    (void (*)(void))bnnc_stack_top, bnnc_reset, bnnc_fault, bnnc_fault, bnnc_fault, bnnc_fault, bnnc_fault};

#endif
