/* A plugin for QEMU that counts the guest's instructions.
 * gcc -O2 -shared -fPIC qemu_count.c -o qemu_count.so; qemu-arm -plugin ./qemu_count.so -d plugin */
#include <stdio.h>

#include "qemu_plugin.h"

static uint64_t count;

static void translate(plugin_id id, struct block *b) {
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_inline(b, ADD_U64, &count, qemu_plugin_tb_n_insns(b));
}
static void finish(plugin_id id, void *unused) {
    char text[64];
    (void)id, (void)unused;
    snprintf(text, sizeof text, "insns %" PRIu64 "\n", count);
    qemu_plugin_outs(text);
}
