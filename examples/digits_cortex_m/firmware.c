/* A firmware that learns: what you write, and what bnnc gives you (digits_cortex_m.h).
 *
 * For an ARM MPS2 board with image AN386 (Cortex-M4), which QEMU has; the places to change for another board are its UART and
 * its flash. Training is interrupted once, as by a power cut, and goes on from the checkpoint to the same weights.
 */
#include "digits_cortex_m.h"
#include "digits_cortex_m_samples.h"

/* ---- the board: text through UART 0, and 128 KiB of what stands for flash ---- */

static volatile uint32_t *const uart = (volatile uint32_t *)0x40004000; /* data, state, control, -, baud rate */
static uint8_t *const flash = (uint8_t *)0x00200000;
enum { SLOT = 0x10000 };

static void print(void *me, const char *text, uint32_t n) {
    (void)me;
    for (uint32_t i = 0; i < n; i++) {
        while (uart[1] & 1) {}
        uart[0] = (uint8_t)text[i];
    }
}

static int slot_read(void *me, int slot, void *to, uint32_t n, uint32_t at) {
    (void)me;
    for (uint32_t i = 0; i < n; i++) ((uint8_t *)to)[i] = flash[slot * SLOT + at + i];
    return 0;
}
static int slot_write(void *me, int slot, const void *from, uint32_t n, uint32_t at) {
    (void)me;
    for (uint32_t i = 0; at == 512 && i < SLOT; i++) flash[slot * SLOT + i] = 0xFF; /* a save begins: erase */
    for (uint32_t i = 0; i < n; i++) flash[slot * SLOT + at + i] = ((const uint8_t *)from)[i];
    return 0;
}
static int slot_sync(void *me, int slot) {
    (void)me, (void)slot;
    return 0;
}

/* ---- the data: here a table; a sensor would give one sample after the other ---- */

static int sample(void *me, uint32_t i, void *x, uint8_t *label) {
    (void)me;
    for (uint32_t b = 0; b < sizeof BNNC_SAMPLE[i]; b++) ((uint8_t *)x)[b] = BNNC_SAMPLE[i][b];
    *label = BNNC_LABEL[i];
    return 0;
}

static uint32_t steps_left = 50;
static int stop(void *me) {
    (void)me;
    return steps_left && --steps_left == 0;
}

static const bnnc_board board = {.n_train = BNNC_TRAIN_SAMPLES,
                                 .n_test = BNNC_TEST_SAMPLES,
                                 .sample = sample,
                                 .print = print,
                                 .stop = stop,
                                 .slot_read = slot_read,
                                 .slot_write = slot_write,
                                 .slot_sync = slot_sync};

static void say(const char *label, uint64_t value, int digits) {
    char text[17];
    for (int i = digits; i-- > 0; value >>= 4) text[i] = "0123456789abcdef"[value & 15];
    uint32_t n = 0;
    while (label[n]) n++;
    print(0, label, n), print(0, text, (uint32_t)digits), print(0, "\n", 1);
}

int main(void);
int main(void) {
    bnnc_result r;
    uint32_t right = 0;
    uart[4] = 16, uart[2] = 1;
    int code = digits_cortex_m_train(&board, &r);
    say("stopped, code ", (uint64_t)code, 1), say("state ", r.state, 16);
    code = digits_cortex_m_train(&board, &r); /* as after a reset */
    say("ended, code ", (uint64_t)code, 1);
    for (uint32_t i = 0; i < 16; i++) {
        uint8_t x[sizeof BNNC_SAMPLE[0]], label;
        (void)sample(0, BNNC_TRAIN_SAMPLES + i, x, &label);
        right += digits_cortex_m_predict(x) == label;
    }
    say("of 10 (hex) test samples right: ", right, 2), say("state ", r.state, 16);
    return code;
}

/* ---- startup, as any firmware has it ---- */

extern uint32_t bnnc_stack_top[], bnnc_data_start[], bnnc_data_end[], bnnc_data_load[], bnnc_bss_start[],
    bnnc_bss_end[];

__attribute__((noreturn)) void bnnc_reset(void);
void bnnc_reset(void) {
    *(volatile uint32_t *)0xE000ED88 |= 0xFu << 20; /* the FPU on */
    __asm__ volatile("dsb\n  isb" ::: "memory");
    for (uint32_t *p = bnnc_data_start, *q = bnnc_data_load; p < bnnc_data_end;) *(volatile uint32_t *)p++ = *q++;
    for (uint32_t *p = bnnc_bss_start; p < bnnc_bss_end;) *(volatile uint32_t *)p++ = 0;
    (void)main();
    for (;;) *(volatile uint32_t *)0xE000ED0C = 0x05FA0004; /* a reset; QEMU ends with -no-reboot */
}

__attribute__((used, section(".isr"))) static void (*const vectors[4])(void) = {(void (*)(void))bnnc_stack_top,
                                                                                bnnc_reset, bnnc_reset, bnnc_reset};
