/* bnnc_cuda.h: the network's kernels on an NVIDIA GPU, by way of the driver that is loaded when the program starts.
 *
 * bnnc_arena mirrors the device's memory: a step's batch and scalars are sent from it, losses, predictions and counts come
 * back into it, states do when they are read (BNNC_STATES_READ) and go when they were written (BNNC_STATES_WRITTEN). The program holds
 * compiled kernels for some GPU generations and PTX, which the driver compiles, for newer ones.
 */
#ifndef BNNC_CUDA_H
#define BNNC_CUDA_H
#include <dlfcn.h>
#include "../bnnc_images.h"
#include "bnnc_fmt.h"
#include "bnnc_net.h"

typedef int bnnc_cu;
typedef unsigned long long bnnc_cu_ptr;

/* Name in the driver, and its parameters. */
/* clang-format off */
#define BNNC_CUDA_API(X) \
  X(cuInit, (unsigned)) X(cuDriverGetVersion, (int *)) X(cuDeviceGet, (int *, int)) X(cuDeviceGetName, (char *, int, int)) \
  X(cuDeviceGetAttribute, (int *, int, int)) X(cuDevicePrimaryCtxRetain, (void **, int)) X(cuCtxSetCurrent, (void *)) \
  X(cuModuleLoadData, (void **, const void *)) X(cuModuleGetFunction, (void **, void *, const char *)) \
  X(cuFuncSetAttribute, (void *, int, int)) X(cuFuncGetAttribute, (int *, int, void *)) \
  X(cuMemAlloc_v2, (bnnc_cu_ptr *, size_t)) X(cuMemsetD8_v2, (bnnc_cu_ptr, unsigned char, size_t)) \
  X(cuMemHostRegister_v2, (void *, size_t, unsigned)) \
  X(cuMemcpyHtoD_v2, (bnnc_cu_ptr, const void *, size_t)) X(cuMemcpyDtoH_v2, (void *, bnnc_cu_ptr, size_t)) \
  X(cuMemcpyHtoDAsync_v2, (bnnc_cu_ptr, const void *, size_t, void *)) \
  X(cuMemcpyDtoHAsync_v2, (void *, bnnc_cu_ptr, size_t, void *)) X(cuStreamSynchronize, (void *)) \
  X(cuLaunchKernel, (void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void *, void **, void **)) \
  X(cuLaunchCooperativeKernel, (void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void *, void **)) \
  X(cuGetErrorName, (bnnc_cu, const char **))
/* clang-format on */

enum {
    BNNC_CC_MAJOR = 75,
    BNNC_CC_MINOR = 76,
    BNNC_PROCESSORS = 16,
    BNNC_COOPERATIVE = 95,
    BNNC_MOST_SHARED = 97,
    BNNC_LOCAL_BYTES = 3,
    BNNC_SET_SHARED = 8,
    BNNC_LEAST_DRIVER = 12000 /* CUDA 12.0; PTX may need a newer one */
};

static struct {
#define BNNC_FIELD(name, parameters) bnnc_cu(*name) parameters;
    BNNC_CUDA_API(BNNC_FIELD)
#undef BNNC_FIELD
    bnnc_cu_ptr memory;
    void *kernel[BNNC_GPU_KERNELS];
    int processors, arch; /* arch: index into BNNC_GPU_ARCH */
    bool host_is_newer;   /* states that the device has not seen */
    bool device_is_newer; /* a step has changed them there */
    char name[96];
} bnnc_gpu;

BNNC_COLD _Noreturn void bnnc_gpu_fail(const char *what, bnnc_cu r) {
    const char *name = "unknown error";
    if (bnnc_gpu.cuGetErrorName) (void)bnnc_gpu.cuGetErrorName(r, &name);
    if (r == 2)
        bnnc_fail(BNNC_E_MEMORY, "this network needs %U bytes of GPU memory, and there are not as many free",
                  (uint64_t)BNNC_DEVICE_BYTES);
    bnnc_fail(BNNC_E_CPU, "the GPU's driver: %s failed with %d, %s", what, r, name);
}
#define BNNC_CU(call, ...) \
    do { \
        const bnnc_cu bnnc_r = bnnc_gpu.call(__VA_ARGS__); \
        if (bnnc_r) bnnc_gpu_fail(#call, bnnc_r); \
    } while (0)

BNNC_COLD void bnnc_gpu_load_driver(void) {
    void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library)
        bnnc_fail(BNNC_E_CPU,
                  "this program needs an NVIDIA GPU and its driver: %s\n"
                  "  hint: install the driver, or compile the network for --target host",
                  dlerror());
#define BNNC_LOAD(name, parameters) \
    *(void **)(void *)&bnnc_gpu.name = dlsym(library, #name); \
    if (!bnnc_gpu.name) \
        bnnc_fail(BNNC_E_CPU, "the GPU's driver is too old: it has no " #name "\n  hint: CUDA 12.0 or newer");
    BNNC_CUDA_API(BNNC_LOAD)
#undef BNNC_LOAD
}

/* The best of what was compiled for this GPU: of its own generation, else PTX. */
BNNC_COLD int bnnc_gpu_choose(int major, int minor) {
    int best = -1;
    for (int i = 0; i < BNNC_GPU_ARCHS; i++) {
        const int arch = bnnc_gpu_arch[i].arch;
        if (bnnc_gpu_arch[i].ptx ? best < 0 && major * 10 + minor >= arch
                                 : arch / 10 == major && arch % 10 <= minor && (arch < 90 || arch % 10 == minor))
            best = i;
    }
    return best;
}

/* What a step sends (its batch and scalars) or leaves (losses, predictions, counts), an operation a range of bytes. */
BNNC_FN void bnnc_gpu_each(void (*f)(uint64_t at, uint64_t n), bool train, bool sent) {
    const uint32_t scalars[] = {NET.lr, NET.step, NET.tick, NET.seed_at, NET.errors, NET.samples, NET.stage, NET.part};
    if (sent) {
        f(train ? NET.train_x : NET.eval_x, BNNC_X_BYTES);
        f(train ? NET.train_labels : NET.eval_labels, NET.batch);
        for (uint32_t i = 0; train && i < sizeof scalars / sizeof scalars[0]; i++)
            if (scalars[i] != BNNC_NOWHERE) f(scalars[i], 4);
        return;
    }
    f(train ? NET.train_loss : NET.eval_loss, (uint64_t)NET.batch * 4);
    f(train ? NET.train_pred : NET.eval_pred, (uint64_t)NET.batch * 4);
    for (int k = 0; train && k < BNNC_COUNTERS; k++) f(NET.counter[k].offset, (uint64_t)NET.counter[k].n * 4);
}

/* Page-locked, so that copies are queued; where that is refused (a page that is locked already), they go all the same. */
BNNC_COLD void bnnc_gpu_pin(uint64_t at, uint64_t n) { (void)bnnc_gpu.cuMemHostRegister_v2(bnnc_arena + at, n, 0); }
BNNC_FN void bnnc_gpu_queue_send(uint64_t at, uint64_t n) {
    BNNC_CU(cuMemcpyHtoDAsync_v2, bnnc_gpu.memory + at, bnnc_arena + at, n, NULL);
}
BNNC_FN void bnnc_gpu_queue_fetch(uint64_t at, uint64_t n) {
    BNNC_CU(cuMemcpyDtoHAsync_v2, bnnc_arena + at, bnnc_gpu.memory + at, n, NULL);
}

BNNC_COLD void bnnc_gpu_start(void) {
    int device = 0, major = 0, minor = 0, version = 0, most = 0, cooperative = 0;
    void *context = NULL;
    bnnc_gpu_load_driver();
    if (bnnc_gpu.cuInit(0))
        bnnc_fail(BNNC_E_CPU, "the driver finds no GPU that can be used\n  hint: nvidia-smi says more");
    BNNC_CU(cuDriverGetVersion, &version);
    BNNC_CU(cuDeviceGet, &device, 0);
    BNNC_CU(cuDeviceGetName, bnnc_gpu.name, (int)sizeof bnnc_gpu.name, device);
    BNNC_CU(cuDeviceGetAttribute, &major, BNNC_CC_MAJOR, device);
    BNNC_CU(cuDeviceGetAttribute, &minor, BNNC_CC_MINOR, device);
    BNNC_CU(cuDeviceGetAttribute, &bnnc_gpu.processors, BNNC_PROCESSORS, device);
    BNNC_CU(cuDeviceGetAttribute, &most, BNNC_MOST_SHARED, device);
    BNNC_CU(cuDeviceGetAttribute, &cooperative, BNNC_COOPERATIVE, device);
    bnnc_gpu.arch = bnnc_gpu_choose(major, minor);
    if (bnnc_gpu.arch < 0)
        bnnc_fail(BNNC_E_CPU,
                  "%s has compute capability %d.%d, and this program holds no kernels for it\n"
                  "  hint: it was compiled for %s",
                  bnnc_gpu.name, major, minor, NET.target);
    const int least = bnnc_gpu_arch[bnnc_gpu.arch].ptx ? BNNC_GPU_PTX_DRIVER : BNNC_LEAST_DRIVER;
    if (version < least)
        bnnc_fail(
            BNNC_E_CPU,
            "the GPU's driver is for CUDA %d.%d, older than %d.%d, which %s needs\n  hint: install a newer driver",
            version / 1000, version % 1000 / 10, least / 1000, least % 1000 / 10, bnnc_gpu.name);
    BNNC_CU(cuDevicePrimaryCtxRetain, &context, device);
    BNNC_CU(cuCtxSetCurrent, context);
    for (int i = 0; i < BNNC_GPU_KERNELS; i++) {
        const bnnc_gpu_kernel *k = &bnnc_gpu_kernels[i];
        const bnnc_gpu_image *image = &k->image[bnnc_gpu.arch];
        void *module = NULL;
        int beside = 0;
        if ((int)image->shared > most || (k->grid == 0 && !cooperative))
            bnnc_fail(BNNC_E_CPU, "%s is too small for kernel %s, which needs %u bytes of shared memory", bnnc_gpu.name,
                      k->name, image->shared);
        BNNC_CU(cuModuleLoadData, &module, bnnc_images + image->at);
        BNNC_CU(cuModuleGetFunction, &bnnc_gpu.kernel[i], module, k->name);
        if (image->shared > 49152) BNNC_CU(cuFuncSetAttribute, bnnc_gpu.kernel[i], BNNC_SET_SHARED, (int)image->shared);
        BNNC_CU(cuFuncGetAttribute, &beside, BNNC_LOCAL_BYTES, bnnc_gpu.kernel[i]);
        if (beside)
            bnnc_fail(BNNC_E_MEMORY, "kernel %s takes %d bytes a thread beside the plan on %s", k->name, beside,
                      bnnc_gpu.name);
    }
    BNNC_CU(cuMemAlloc_v2, &bnnc_gpu.memory, BNNC_DEVICE_BYTES);
    BNNC_CU(cuMemsetD8_v2, bnnc_gpu.memory, 0, BNNC_DEVICE_BYTES);
    for (int i = 0; i < BNNC_GPU_CONSTANTS; i++)
        BNNC_CU(cuMemcpyHtoD_v2, bnnc_gpu.memory + bnnc_gpu_constants[i].at, bnnc_gpu_constants[i].bytes,
                bnnc_gpu_constants[i].n);
    bnnc_gpu_each(bnnc_gpu_pin, true, true), bnnc_gpu_each(bnnc_gpu_pin, false, true);
    bnnc_gpu_each(bnnc_gpu_pin, true, false), bnnc_gpu_each(bnnc_gpu_pin, false, false);
}

BNNC_FN void bnnc_gpu_send(uint64_t at, uint64_t n) {
    BNNC_CU(cuMemcpyHtoD_v2, bnnc_gpu.memory + at, bnnc_arena + at, n);
}
BNNC_FN void bnnc_gpu_fetch(uint64_t at, uint64_t n) {
    BNNC_CU(cuMemcpyDtoH_v2, bnnc_arena + at, bnnc_gpu.memory + at, n);
}

BNNC_COLD void bnnc_gpu_states_read(void) {
    if (bnnc_gpu.device_is_newer) bnnc_gpu_fetch(NET.state_begin, NET.state_bytes);
    bnnc_gpu.device_is_newer = false;
}
BNNC_COLD void bnnc_gpu_states_written(void) { bnnc_gpu.host_is_newer = true, bnnc_gpu.device_is_newer = false; }

BNNC_FN void bnnc_gpu_launch(int i, uint64_t strip) {
    const bnnc_gpu_kernel *k = &bnnc_gpu_kernels[i];
    bnnc_cu_ptr none = 0;
    /* the arena; in a loop, the strip's number (int32); Triton's two scratch pointers, 0 as the strip of kernels in no loop is */
    void *arguments[] = {&bnnc_gpu.memory, &strip, &none, &none};
    const unsigned shared = k->image[bnnc_gpu.arch].shared;
    if (k->grid)
        BNNC_CU(cuLaunchKernel, bnnc_gpu.kernel[i], k->grid, 1, 1, 32 * k->warps, 1, 1, shared, NULL, arguments, NULL);
    else
        BNNC_CU(cuLaunchCooperativeKernel, bnnc_gpu.kernel[i], (unsigned)bnnc_gpu.processors, 1, 1, 32 * k->warps, 1, 1,
                shared, NULL, arguments);
}

/* Launches first .. end - 1 on the batch in bnnc_arena: copies and launches are queued, and waited for once. */
BNNC_FN void bnnc_gpu_step(bool train, int first, int end) {
    if (bnnc_gpu.host_is_newer) bnnc_gpu_send(NET.state_begin, NET.state_bytes);
    bnnc_gpu.host_is_newer = false;
    bnnc_gpu_each(bnnc_gpu_queue_send, train, true);
    for (int i = first; i < end; i++) bnnc_gpu_launch(bnnc_gpu_launches[i].kernel, bnnc_gpu_launches[i].strip);
    bnnc_gpu_each(bnnc_gpu_queue_fetch, train, false);
    BNNC_CU(cuStreamSynchronize, NULL);
    if (train) bnnc_gpu.device_is_newer = true;
}

/* For `info`: what each kernel takes, as the compiler said. */
BNNC_COLD void bnnc_gpu_info(void) {
    bnnc_say(
        1,
        "device memory %U bytes; kernels: programs (0: one a multiprocessor), warps, and registers and shared bytes\n",
        (uint64_t)BNNC_DEVICE_BYTES);
    for (int i = 0; i < BNNC_GPU_KERNELS; i++) {
        const bnnc_gpu_kernel *k = &bnnc_gpu_kernels[i];
        bnnc_say(1, "  %-40s %6u %2u", k->name, k->grid, k->warps);
        for (int a = 0; a < BNNC_GPU_ARCHS; a++)
            if (!bnnc_gpu_arch[a].ptx)
                bnnc_say(1, "  sm_%d %u %u", bnnc_gpu_arch[a].arch, k->image[a].registers, k->image[a].shared);
        bnnc_say(1, "\n");
    }
}
#endif
