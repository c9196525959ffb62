/* probe.c: shows what small parts of the runtime compute, so that test_runtime.py can compare them with Python.
 *   probe philox C0 C1 C2 C3 K0 K1     probe stream SEED STREAM N      probe uniform SEED STREAM N
 *   probe order SEED EPOCH N           probe cosine LR FINAL TOTAL     probe format          probe half
 *   probe inflate FORMAT FILE          probe fuzz FORMAT FILE ROUNDS SCRATCH
 */
#include "bnnc_fmt.h"
#include "bnnc_inflate.h"
#include "bnnc_net.h"
#include "bnnc_rng.h"
static const bnnc_net NET = {.name = "probe"};
static uint8_t bnnc_arena[1];
#include "bnnc_states.h"

static char text_buffer[4096];
static bnnc_text out = {text_buffer, sizeof text_buffer, 0, 1};
static bnnc_inflate z;
static uint8_t file[65536], plain[8192];

static uint32_t number(const char *s) {
    uint32_t v = 0;
    if (!bnnc_parse_u32(s, &v)) bnnc_fail(2, "not a number: %s", s);
    return v;
}
static uint32_t float_bits(float f) {
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}

static int inflate_all(int fd, uint64_t size, uint8_t format, bool show) {
    uint64_t total = 0;
    uint32_t chunk = 1;
    bnnc_inflate_open(&z, fd, 0, size, format);
    for (;;) { /* pieces of every size, so that it stops everywhere */
        int64_t n = bnnc_inflate_read(&z, plain, chunk);
        if (n < 0) {
            if (show) bnnc_say(2, "%s\n", z.error);
            return 1;
        }
        total += (uint64_t)n;
        if (show) (void)bnnc_write_all(1, plain, (uint64_t)n);
        if (n < (int64_t)chunk || total > 100000000) return 0;
        chunk = chunk * 3 % 8191 + 1;
    }
}

static int fuzz(const char *path, uint8_t format, uint32_t rounds, const char *scratch) {
    int fd = bnnc_open(path, BNNC_READ), copy = bnnc_open(scratch, BNNC_UPDATE);
    int64_t n = bnnc_read_at(fd, file, sizeof file, 0);
    uint32_t w[4], good = 0;
    if (n < 4 || copy < 0) bnnc_fail(2, "cannot fuzz %s", path);
    for (uint32_t r = 0; r < rounds; r++) {
        uint8_t old[8];
        uint64_t at[8], size = (uint64_t)n;
        uint32_t k;
        for (k = 0; k < 1 + r % 8; k++) { /* up to eight damaged bytes, and every third input is cut short */
            bnnc_random4(r, 1, k, w);
            at[k] = w[0] % (k < 2 ? (size < 64 ? size : 64) : size);
            old[k] = file[at[k]];
            file[at[k]] = (uint8_t)(w[2] & 1 ? w[1] : file[at[k]] ^ 1u << (w[1] & 7));
        }
        if (r % 3 == 0) size = w[3] % size;
        (void)bnnc_truncate(copy, 0);
        (void)bnnc_write_at(copy, file, size, 0);
        good += inflate_all(copy, size, format, false) == 0;
        while (k--) file[at[k]] = old[k];
    }
    bnnc_say(1, "%u of %u damaged inputs went through\n", good, rounds);
    return 0;
}

static int probe(int argc, char **argv, char **envp) {
    const char *what = argc > 1 ? argv[1] : "";
    uint32_t a[6] = {0}, w[4] = {0};
    bnnc_environ = envp;
    if (bnnc_streq(what, "inflate")) {
        int fd = bnnc_open(argv[3], BNNC_READ);
        return inflate_all(fd, (uint64_t)bnnc_size(fd), (uint8_t)number(argv[2]), true);
    }
    if (bnnc_streq(what, "fuzz")) return fuzz(argv[3], (uint8_t)number(argv[2]), number(argv[4]), argv[5]);
    if (bnnc_streq(what, "cosine")) {
        double lr = 0, final = 0;
        if (!bnnc_parse_float(argv[2], &lr) || !bnnc_parse_float(argv[3], &final)) return 2;
        for (uint32_t t = 1, total = number(argv[4]); t <= total + 2; t++)
            bnnc_put(&out, "%x\n", float_bits(bnnc_cosine_lr((float)lr, (float) final, t, total)));
    } else if (bnnc_streq(what, "format")) {
        static const double values[] = {
            0,          1,    -1,     0.5,   1e-5, 1.5e-7, 123456, 1234567, 99999.95, 999999.5, 0.000123456789,
            3.14159265, 1e15, 2.5e20, 1e-30, 100,  0.1,    65504};
        for (uint32_t i = 0; i < sizeof values / sizeof values[0]; i++)
            bnnc_put(&out, "%g %.3f\n", values[i], values[i] < 1e14 ? values[i] : 0.0);
        bnnc_put(&out, "%d|%u|%U|%x|%X|%5u|%-5u|%-6s|%6s|%q|%j|%%\n", -42, 42u, (uint64_t)1 << 63, 0xBEEFu,
                 (uint64_t)0xABCDEF, 7u, 7u, "ab", "ab", "a\"\\\n\x01z", (double)__builtin_nan(""));
    } else if (bnnc_streq(what, "half")) {
        for (uint32_t h = 0; h < 65536; h++) bnnc_put(&out, "%x\n", float_bits(bnnc_half_to_f32((uint16_t)h)));
        for (uint32_t i = 0; i < 65536; i++) { /* all signs and exponents, chosen mantissas around the ties */
            uint32_t u = (i >> 7) << 23 | (i & 127) << 16 >> 0,
                     bits = u | (i * 2654435761u & 0xFFFF & (i % 3 ? 0xF000u : 0xFFFFu));
            float f;
            memcpy(&f, &bits, 4);
            bnnc_put(&out, "%x %u\n", bits, (uint32_t)bnnc_f32_to_half(f));
        }
    } else {
        for (int i = 2; i < argc && i < 8; i++) a[i - 2] = number(argv[i]);
        if (bnnc_streq(what, "philox")) {
            bnnc_philox(a, a + 4, w);
            bnnc_put(&out, "%x %x %x %x\n", w[0], w[1], w[2], w[3]);
        } else if (bnnc_streq(what, "order")) {
            bnnc_perm p;
            bnnc_perm_init(&p, a[0], (uint32_t)BNNC_STREAM_ORDER, a[1], a[2]);
            for (uint32_t i = 0; i < a[2]; i++) bnnc_put(&out, "%u\n", bnnc_perm_at(&p, i));
        } else {
            for (uint32_t i = 0; i < a[2]; i++) {
                if (i % 4 == 0) bnnc_random4(a[0], a[1], i / 4, w);
                if (bnnc_streq(what, "uniform"))
                    bnnc_put(&out, "%x %u\n", float_bits(bnnc_uniform(w[i % 4], 0.3f)), bnnc_random_bit(w[i % 4]));
                else
                    bnnc_put(&out, "%x\n", w[i % 4]);
            }
        }
    }
    bnnc_flush(&out);
    return 0;
}
BNNC_ENTRY(probe)
