/* bnnc_predict.h: the program of a network that only predicts: reads a file sample by sample, and says what each is. */
#ifndef BNNC_PREDICT_H
#define BNNC_PREDICT_H
#include "bnnc_cli.h"
#include "bnnc_cpu.h"
#include "bnnc_format.h"
#include "bnnc_predicted.h"
#include "bnnc_sample.h"

static union {
    BNNC_RAW raw[BNNC_RAW_VALUES];
    uint8_t bytes[sizeof(BNNC_RAW[BNNC_RAW_VALUES])];
} bnnc_sample_read;

/* The samples are of the network's type, or bits already where it makes bits of them. */
BNNC_COLD bool bnnc_encoded(const bnnc_file *f) {
    const uint32_t kind = f->format == BNNC_BNND ? f->bnnd.kind : f->is_float ? 2 : 0;
    const bool done = NET.encoding.how && f->elems == NET.elems && kind == 1;
    const uint32_t want = bnnc_kind_as_bnnd(NET.encoding.how ? NET.encoding.in_kind : NET.in_kind),
                   elems = NET.encoding.how ? NET.encoding.steps * NET.encoding.channels : NET.elems;
    if (!done && (kind != want || f->elems != elems || (f->format == BNNC_NPY && !f->is_float && f->width != 1)))
        bnnc_fail(BNNC_E_DATA, "%s: expected samples of %u values (%s), found %u (%s)", f->path, elems,
                  bnnc_kind_names[want], f->elems, bnnc_kind_names[kind]);
    return done;
}

BNNC_COLD int bnnc_predict_file(void) {
    bnnc_text t = {(char *)bnnc_io, sizeof bnnc_io, 0, 1};
    bnnc_file f;
    uint32_t crc = 0;
    uint8_t label;
    if (!bnnc_opt.test) bnnc_fail(BNNC_E_USAGE, "no samples\n  hint: --test FILE");
    bnnc_describe(&f, bnnc_opt.test, "samples");
    const bool encoded = bnnc_encoded(&f), cifar = f.format == BNNC_CIFAR;
    uint8_t *const to = encoded ? bnnc_arena + NET.eval_x : bnnc_sample_read.bytes;
    const uint64_t bytes = encoded ? bnnc_kind_bytes(1) : f.width ? (uint64_t)f.elems * f.width : (f.elems + 7) / 8;
    bnnc_names_of(&f);
    if (f.format == BNNC_BNND && f.bnnd.compression)
        bnnc_inflate_open(&bnnc_z, f.fd, 96, f.size - f.bnnd.names_bytes, BNNC_RAW_DEFLATE);
    else
        bnnc_stream(&f), bnnc_stream_skip(&f, f.data_off);
    for (uint32_t i = 0; i < f.n && !bnnc_lost; i++) {
        if (cifar)
            bnnc_next_cifar(&f);
        else
            bnnc_stream_get(&f, to, bytes), crc = bnnc_crc32(crc, to, bytes);
        for (uint64_t j = 0; cifar && j < bytes; j++) to[j] = bnnc_io[j];
        if (f.format == BNNC_BNND) bnnc_stream_get(&f, &label, 1), crc = bnnc_crc32(crc, &label, 1);
        if (encoded)
            bnnc_pad_row(to);
        else
            bnnc_take(bnnc_sample_read.raw);
        bnnc_predicted(&t, i, (uint32_t)bnnc_class_of_it(), 0);
        bnnc_flush(&t);
    }
    bnnc_stream_end(&f);
    if (f.format == BNNC_BNND && crc != f.bnnd.payload_crc)
        bnnc_fail(BNNC_E_DATA, "%s is damaged: the checksum of its samples does not match\n  hint: copy the file again",
                  f.path);
    return BNNC_OK;
}

static int bnnc_main(int argc, char **argv, char **envp) {
    bnnc_environ = envp;
    const int verb = bnnc_parse_args(argc, argv);
    if (verb == BNNC_INFO) {
        if (bnnc_opt.json)
            bnnc_say(1, "%s\n", NET.plan_json);
        else
            bnnc_say(1, "%s  spec %s  bnnc %s  target %s\n%s", NET.name, NET.hash, NET.version, NET.target,
                     NET.summary);
    }
    if (verb != BNNC_PREDICT) return BNNC_OK;
    bnnc_cpu_choose(bnnc_opt.isa);
    const int code = bnnc_predict_file();
    if (bnnc_lost) bnnc_fail(BNNC_E_DATA, "cannot write to standard output: %s", bnnc_errname(bnnc_lost));
    return code;
}

BNNC_ENTRY(bnnc_main)
#endif
