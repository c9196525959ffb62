/* A plugin for QEMU 7.2 (plugin API version 1) that counts the guest's instructions; declarations are our own, since
 * Debian packages no qemu-plugin.h.  gcc -O2 -shared -fPIC qemu_count.c -o qemu_count.so; qemu-arm -plugin ./qemu_count.so -d plugin */
#include <inttypes.h>
#include <stdio.h>

typedef uint64_t plugin_id;
struct block;
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct block *));
size_t qemu_plugin_tb_n_insns(const struct block *);
void qemu_plugin_register_vcpu_tb_exec_inline(struct block *, int op, void *counter, uint64_t);
void qemu_plugin_register_atexit_cb(plugin_id, void (*)(plugin_id, void *), void *);
void qemu_plugin_outs(const char *);

int qemu_plugin_version = 1;
static uint64_t count;

static void translate(plugin_id id, struct block *b) {
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_inline(b, 0 /* add u64 */, &count, qemu_plugin_tb_n_insns(b));
}
static void finish(plugin_id id, void *unused) {
    char text[64];
    (void)id, (void)unused;
    snprintf(text, sizeof text, "insns %" PRIu64 "\n", count);
    qemu_plugin_outs(text);
}
int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv);
int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv) {
    (void)info, (void)argc, (void)argv;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
    qemu_plugin_register_atexit_cb(id, finish, NULL);
    return 0;
}
