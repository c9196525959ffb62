/* A plugin for QEMU that counts how often the guest ran each instruction, by its address.
 * gcc -O2 -shared -fPIC qemu_mix.c -o qemu_mix.so; qemu-system-arm -plugin ./qemu_mix.so -d plugin: a line each, the
 * count, the address and the text. */
#include <stdio.h>

#include "qemu_plugin.h"

static struct {
    char *text;
    uint64_t at, count;
} table[1 << 16];

static void translate(plugin_id id, struct block *b) {
    (void)id;
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(b); i++) {
        struct instruction *one = qemu_plugin_tb_get_insn(b, i);
        const uint64_t at = qemu_plugin_insn_vaddr(one);
        uint32_t h = (uint32_t)at / 2 & 0xFFFF;
        while (table[h].text && table[h].at != at) h = (h + 1) & 0xFFFF;
        if (!table[h].text) table[h].text = qemu_plugin_insn_disas(one), table[h].at = at;
        qemu_plugin_register_vcpu_insn_exec_inline(one, ADD_U64, &table[h].count, 1);
    }
}
static void finish(plugin_id id, void *unused) {
    char text[256];
    (void)id, (void)unused;
    for (uint32_t h = 0; h < 1 << 16; h++)
        if (table[h].count) {
            snprintf(text, sizeof text, "%" PRIu64 " %" PRIx64 " %s\n", table[h].count, table[h].at, table[h].text);
            qemu_plugin_outs(text);
        }
}
