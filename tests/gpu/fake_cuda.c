/* A stand-in for libcuda.so.1: device memory is malloc's, a kernel is the C backend's of the same network.
 *
 *   FAKE_CC=90        compute capability (default 90)      FAKE_DRIVER=12080  version
 *   FAKE_NET=net.so   the network's C kernels (-DBNNC_LIBRARY), FAKE_ARENA the bytes of its arena
 *   FAKE_LOG=file     what was asked of the driver, a line each
 *   FAKE_NO_DEVICE, FAKE_LOCAL=bytes, FAKE_MEMORY=bytes that there are
 */
#include <dlfcn.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned long long ptr;
static unsigned char *memory;
static size_t memory_bytes;
static struct {
    char name[96];
} functions[256];
static int n_functions;
static void *net;

static int number(const char *name, int otherwise) { return getenv(name) ? atoi(getenv(name)) : otherwise; }
static void note(const char *f, ...) {
    va_list a;
    FILE *log = getenv("FAKE_LOG") ? fopen(getenv("FAKE_LOG"), "a") : NULL;
    if (!log) return;
    va_start(a, f);
    vfprintf(log, f, a);
    va_end(a);
    fclose(log);
}

int cuInit(unsigned flags) { return flags || getenv("FAKE_NO_DEVICE") ? 100 : 0; }
int cuDriverGetVersion(int *v) { return *v = number("FAKE_DRIVER", 12080), 0; }
int cuDeviceGet(int *d, int i) { return *d = i, 0; }
int cuDeviceGetName(char *s, int n, int d) { return (void)d, snprintf(s, (size_t)n, "Fake GPU"), 0; }
int cuDeviceGetAttribute(int *v, int what, int d) {
    const int cc = number("FAKE_CC", 90);
    (void)d;
    *v = what == 75 ? cc / 10 : what == 76 ? cc % 10 : what == 16 ? 7 : what == 95 ? 1 : what == 97 ? 101376 : -1;
    return *v < 0;
}
int cuDevicePrimaryCtxRetain(void **c, int d) { return *c = (void *)functions, d; }
int cuCtxSetCurrent(void *c) { return c != (void *)functions; }
int cuModuleLoadData(void **m, const void *image) {
    const unsigned char *p = image;
    *m = (void *)(uintptr_t)image;
    note("image %s\n",
         !memcmp(p, "\177ELF", 4) ? p[48] == 90 || p[49] == 90 || p[50] == 90 ? "cubin sm_90" : "cubin sm_80" : "ptx");
    return 0;
}
int cuModuleGetFunction(void **f, void *m, const char *name) {
    if (!m || n_functions == 256) return 500;
    snprintf(functions[n_functions].name, sizeof functions[0].name, "%s", name);
    *f = &functions[n_functions++];
    return 0;
}
int cuFuncSetAttribute(void *f, int what, int v) { return note("set %s %d %d\n", (char *)f, what, v), 0; }
int cuFuncGetAttribute(int *v, int what, void *f) { return *v = what == 3 ? number("FAKE_LOCAL", 0) : 0, f == NULL; }
int cuMemAlloc_v2(ptr *p, size_t n) {
    if (memory || n > (size_t)number("FAKE_MEMORY", 1 << 30)) return 2;
    memory = malloc(n), memory_bytes = n, *p = (ptr)(uintptr_t)memory;
    note("alloc %zu\n", n);
    return 0;
}
static int inside(ptr p, size_t n) {
    return p >= (ptr)(uintptr_t)memory && p + n <= (ptr)(uintptr_t)memory + memory_bytes;
}
int cuMemsetD8_v2(ptr p, unsigned char v, size_t n) {
    return inside(p, n) ? memset((void *)(uintptr_t)p, v, n), 0 : 700;
}
int cuMemHostRegister_v2(void *p, size_t n, unsigned flags) { return (void)p, note("pinned %zu\n", n), (int)flags; }
static int send(ptr to, const void *from, size_t n) {
    return inside(to, n) ? memcpy((void *)(uintptr_t)to, from, n), 0 : 700;
}
static int fetch(void *to, ptr from, size_t n) {
    return inside(from, n) ? memcpy(to, (void *)(uintptr_t)from, n), 0 : 700;
}
/* These two are waited for, each by itself. */
int cuMemcpyHtoD_v2(ptr to, const void *from, size_t n) { return note("copy to %zu\n", n), send(to, from, n); }
int cuMemcpyDtoH_v2(void *to, ptr from, size_t n) { return note("copy from %zu\n", n), fetch(to, from, n); }
int cuMemcpyHtoDAsync_v2(ptr to, const void *from, size_t n, void *stream) { return stream ? 400 : send(to, from, n); }
/* What is fetched arrives when it is waited for. */
static struct {
    void *to;
    ptr from;
    size_t n;
} queued[64];
static int n_queued;
int cuMemcpyDtoHAsync_v2(void *to, ptr from, size_t n, void *stream) {
    if (stream || n_queued == 64) return 400;
    queued[n_queued].to = to, queued[n_queued].from = from, queued[n_queued++].n = n;
    return 0;
}
int cuStreamSynchronize(void *stream) {
    int r = stream ? 400 : 0;
    note("wait %d\n", n_queued);
    for (int i = 0; i < n_queued; i++) r |= fetch(queued[i].to, queued[i].from, queued[i].n);
    return n_queued = 0, r;
}
int cuGetErrorName(int r, const char **name) {
    return *name = r == 2 ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR_FAKE", 0;
}

static int launch(const char *name, unsigned grid, unsigned block, unsigned shared, void **args) {
    static void (*step)(int);
    static int (*kernel)(int, int, int, int), (*next)(int); /* next: of networks with loops over strips */
    static uint8_t *(*arena)(void);
    const size_t bytes = (size_t)number("FAKE_ARENA", 0);
    const int whole = !strcmp(name, "train_step") || !strcmp(name, "eval_step");
    int r = 0;
    if (*(ptr *)args[0] != (ptr)(uintptr_t)memory || *(ptr *)args[1] > 0xFFFF || *(ptr *)args[2] || *(ptr *)args[3] ||
        block % 32)
        return 1;
    if (!net) {
        net = dlopen(getenv("FAKE_NET"), RTLD_NOW | RTLD_LOCAL);
        if (!net) return fprintf(stderr, "%s\n", dlerror()), 1;
        *(void **)&step = dlsym(net, "bnnc_test_step"), *(void **)&kernel = dlsym(net, "bnnc_test_kernel");
        *(void **)&arena = dlsym(net, "bnnc_test_arena"), *(void **)&next = dlsym(net, "bnnc_test_next");
    }
    memcpy(arena(), memory, bytes);
    if (whole)
        step(name[0] == 'e');
    else
        for (int i = 0; i < n_functions; i++)
            if (!strcmp(functions[i].name, name)) {
                r = kernel(0, i, 0, 1);
                if (next) next(i);
            }
    memcpy(memory, arena(), bytes);
    note("launch %s %u %u %u %u\n", name, grid, block, shared, *(unsigned *)args[1]);
    return r;
}
int cuLaunchKernel(void *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared, void *stream, void **args, void **extra) {
    return gy != 1 || gz != 1 || by != 1 || bz != 1 || stream || extra ? 1 : launch(f, gx, bx, shared, args);
}
int cuLaunchCooperativeKernel(void *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                              unsigned shared, void *stream, void **args) {
    return gy != 1 || gz != 1 || by != 1 || bz != 1 || stream ? 1 : launch(f, gx, bx, shared, args);
}
