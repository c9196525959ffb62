/* A plugin for QEMU 7.2 (plugin API version 1) that counts how often the guest ran each instruction, by its address; declarations
 * are our own, since Debian packages no qemu-plugin.h.  gcc -O2 -shared -fPIC qemu_mix.c -o qemu_mix.so;
 * qemu-system-arm -plugin ./qemu_mix.so -d plugin: a line each, the count, the address and the text. */
#include <inttypes.h>
#include <stdio.h>

typedef uint64_t plugin_id;
struct block;
struct instruction;
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct block *));
size_t qemu_plugin_tb_n_insns(const struct block *);
struct instruction *qemu_plugin_tb_get_insn(const struct block *, size_t);
char *qemu_plugin_insn_disas(const struct instruction *);
uint64_t qemu_plugin_insn_vaddr(const struct instruction *);
void qemu_plugin_register_vcpu_insn_exec_inline(struct instruction *, int op, void *counter, uint64_t);
void qemu_plugin_register_atexit_cb(plugin_id, void (*)(plugin_id, void *), void *);
void qemu_plugin_outs(const char *);

int qemu_plugin_version = 1;
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
        qemu_plugin_register_vcpu_insn_exec_inline(one, 0 /* add u64 */, &table[h].count, 1);
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
int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv);
int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv) {
    (void)info, (void)argc, (void)argv;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
    qemu_plugin_register_atexit_cb(id, finish, NULL);
    return 0;
}
