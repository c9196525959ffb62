/* What our plugins use of QEMU's interface for plugins, version 1 (QEMU 7.2): Debian packages no qemu-plugin.h. */
#ifndef QEMU_PLUGIN_H
#define QEMU_PLUGIN_H
#include <inttypes.h>
#include <stddef.h>

enum { ADD_U64 = 0 }; /* of qemu_plugin_op */
typedef uint64_t plugin_id;
struct block;
struct instruction;
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct block *));
void qemu_plugin_register_vcpu_tb_exec_inline(struct block *, int op, void *counter, uint64_t);
void qemu_plugin_register_vcpu_insn_exec_inline(struct instruction *, int op, void *counter, uint64_t);
void qemu_plugin_register_atexit_cb(plugin_id, void (*)(plugin_id, void *), void *);
size_t qemu_plugin_tb_n_insns(const struct block *);
struct instruction *qemu_plugin_tb_get_insn(const struct block *, size_t);
char *qemu_plugin_insn_disas(const struct instruction *);
uint64_t qemu_plugin_insn_vaddr(const struct instruction *);
void qemu_plugin_outs(const char *);

int qemu_plugin_version = 1;
static void translate(plugin_id id, struct block *b); /* the plugin's own: of a block, before it runs */
static void finish(plugin_id id, void *unused);       /* and at the end */

int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv);
int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv) {
    (void)info, (void)argc, (void)argv;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
    qemu_plugin_register_atexit_cb(id, finish, NULL);
    return 0;
}
#endif
