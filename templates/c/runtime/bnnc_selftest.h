/* bnnc_selftest.h: the verb selftest: does this machine compute what every other one does? No data is needed.
 *
 * First known answers: of Philox those of its authors (Random123's kat_vectors), of the checksums those that their definitions give
 * for "123456789" and "foobar"; the other answers are CRC-32s of what bnnc/rng.py and bnnc/ir/num.py compute in NumPy
 * (tests/runtime/test_verbs.py does so again). Then steps on random batches, on each instruction set that the CPU has, on all
 * threads and on one: each must leave the same states, losses and classes. Where there is only one way, it is gone twice. What
 * would take longer than some seconds is left out, but for two ways, unless --steps says how many steps are wanted.
 */
#ifndef BNNC_SELFTEST_H
#define BNNC_SELFTEST_H
#include "bnnc_num.h"
#include "bnnc_prepare.h"
#include "bnnc_progress.h"

#ifndef BNNC_SELFTEST_SECONDS
#define BNNC_SELFTEST_SECONDS 5
#endif

enum {
    BNNC_A_CRC,
    BNNC_A_ADLER,
    BNNC_A_FNV,
    BNNC_A_PHILOX,
    BNNC_A_STREAM,
    BNNC_A_UNIFORM,
    BNNC_A_NORMAL,
    BNNC_A_BERNOULLI,
    BNNC_A_ORDER,
    BNNC_A_RATE,
    BNNC_A_TO_HALF,
    BNNC_A_FROM_HALF,
    BNNC_A_EXP,
    BNNC_A_LOG,
    BNNC_A_POWER,
    BNNC_A_ROOT,
    BNNC_ANSWERS
};
static const struct {
    const char *what;
    uint32_t crc;
} bnnc_answers[BNNC_ANSWERS] = {
    {"CRC-32", 0xCBF43926},
    {"Adler-32", 0x091E01DE},
    {"FNV-1a", 0x88435141},
    {"Philox4x32-10", 0x22F17509},
    {"random words", 0xA8CE2576},
    {"uniform numbers", 0xEFCF8DC6},
    {"normal numbers", 0x4E910775},
    {"random masks", 0xE1D16D83},
    {"order of the samples", 0xC8613533},
    {"learning rates", 0x382ADD3F},
    {"float to half", 0x29130905},
    {"half to float", 0x98C78FDC},
    {"exp", 0x74F4CE15},
    {"log", 0x787CC260},
    {"powers", 0xA97F86CC},
    {"square roots", 0x8717F0A3},
};

static volatile uint32_t bnnc_nothing; /* 0, which the compiler does not know: it would compute answers by itself */

/* Number i = 0, 1, ... of an answer whose arguments are counted: its bits. */
BNNC_COLD uint32_t bnnc_answer_word(int what, uint32_t i) {
    uint32_t w[4];
    const float up =
        bnnc_from_bits(i * 522241 & (i % 2 ? ~0xFFFu : ~0u)); /* from 0 to 1e37; ties where rounded to half */
    switch (what) {
    case BNNC_A_STREAM: return bnnc_random4(7, 3, i / 4, w), w[i % 4];
    case BNNC_A_UNIFORM: return bnnc_random4(7, 3, i / 4, w), bnnc_to_bits(bnnc_uniform(w[i % 4], 0.3f));
    case BNNC_A_NORMAL: return (uint32_t)bnnc_normal(7, 3, i, 300);
    case BNNC_A_BERNOULLI: return bnnc_bernoulli(7, 3, 5, 1234, (int)i);
    case BNNC_A_RATE: return bnnc_to_bits(bnnc_cosine_lr(0.05f, 0.1f, i + 1, 4000));
    case BNNC_A_TO_HALF: return bnnc_f32_to_half(up) | (uint32_t)bnnc_f32_to_f16(-up) << 16;
    case BNNC_A_FROM_HALF:
        return bnnc_to_bits(bnnc_half_to_f32((uint16_t)(i * 7))) ^ bnnc_to_bits(bnnc_f16_to_f32((uint16_t)(i * 7 + 1)));
    case BNNC_A_EXP: return bnnc_to_bits(bnnc_exp((float)((int32_t)i - 2048) * 0.05f));
    case BNNC_A_LOG: return bnnc_to_bits(bnnc_log(up));
    case BNNC_A_POWER: return bnnc_to_bits(bnnc_powi(0.999f, (float)i));
    default: return bnnc_to_bits(bnnc_sqrtf(up));
    }
}

BNNC_COLD uint32_t bnnc_answer(int what) {
    const uint32_t none = bnnc_nothing,
                   pi[6] = {0x243F6A88 ^ none, 0x85A308D3, 0x13198A2E, 0x03707344, 0xA4093822, 0x299F31D0};
    const uint32_t all[6] = {~none, ~none, ~none, ~none, ~none, ~none}, zero[6] = {none};
    uint32_t w[12], crc = none;
    bnnc_perm p;
    if (what == BNNC_A_CRC) return bnnc_crc32(none, "123456789", 9);
    if (what == BNNC_A_ADLER) return bnnc_adler32(1 + none, (const uint8_t *)"123456789", 9);
    if (what == BNNC_A_FNV) {
        const uint64_t h = bnnc_fnv64(0xCBF29CE484222325u ^ none, "foobar", 6);
        return bnnc_crc32(0, &h, 8);
    }
    if (what == BNNC_A_PHILOX) {
        bnnc_philox(zero, zero + 4, w), bnnc_philox(all, all + 4, w + 4), bnnc_philox(pi, pi + 4, w + 8);
        return bnnc_crc32(0, w, sizeof w);
    }
    bnnc_perm_init(&p, 7, (uint32_t)BNNC_STREAM_ORDER, 3, 4001);
    for (uint32_t i = none; i < 4000; i++) {
        const uint32_t word = what == BNNC_A_ORDER ? bnnc_perm_at(&p, i) : bnnc_answer_word(what, i);
        crc = bnnc_crc32(crc, &word, 4);
    }
    return crc;
}

/* The fingerprint of all that some training steps and an evaluation on random samples leave. */
BNNC_FN uint64_t bnnc_fingerprint(uint32_t steps) {
    bnnc_start_afresh(NET.seed, (double)NET.lr0, 0, 0);
    BNNC_STATES_WRITTEN();
    for (uint32_t k = 0; k < steps * NET.parts; k++) {
        const float part = (float)(k % NET.parts);
        bnnc_random_batch(NET.train_x, NET.train_labels, k);
        bnnc_put_scalars(NET.lr0, k / NET.parts + 1);
        bnnc_put_scalar(NET.part, &part);
        net_train_step();
    }
    bnnc_random_batch(NET.eval_x, NET.eval_labels, steps);
    net_eval_step();
    const int loss = NET.loss_is_int ? BNNC_I32 : BNNC_F32;
    const uint64_t h = bnnc_hash_numbers(bnnc_state_hash(), NET.eval_loss, (uint64_t)NET.batch * 4, loss);
    return bnnc_fnv64(h, bnnc_arena + NET.eval_pred, (uint64_t)NET.batch * 4);
}

BNNC_FN int bnnc_selftest(void) {
    uint32_t wrong = 0;
    if (bnnc_opt.steps_given && (bnnc_opt.steps < 1 || bnnc_opt.steps > 1000))
        bnnc_fail(BNNC_E_USAGE, "--steps %u: selftest takes 1 to 1000", bnnc_opt.steps);
    for (int i = 0; i < BNNC_ANSWERS; i++) {
        const uint32_t got = bnnc_answer(i);
        const bool same = got == bnnc_answers[i].crc;
        wrong += !same;
        if (same)
            bnnc_say(1, "%-24s ok\n", bnnc_answers[i].what);
        else
            bnnc_say(1, "%-24s DIFFERS: %x, expected %x\n", bnnc_answers[i].what, got, bnnc_answers[i].crc);
    }
    bnnc_prepare();
#ifdef BNNC_NEXT
    const int have = (int)(sizeof RATES / sizeof RATES[0]);
#else /* kernels run elsewhere */
    const int have = 1;
#endif
    const int top = bnnc_cpu_level(), levels = top + 1 < have ? top + 1 : have, each = bnnc_pool.n > 1 ? 2 : 1,
              all = bnnc_pool.n, ways = levels * each > 1 ? levels * each : 2;
    /* by what the plan counts, so that all machines do the same: a second's work of a small board, but at least one step */
    const uint64_t most = 1000000000u / (NET.step_operations * NET.parts + 1);
    const uint32_t steps = bnnc_opt.steps_given ? bnnc_opt.steps : most < 1 ? 1 : most < 5 ? (uint32_t)most : 5;
    const uint64_t start = bnnc_clock_ns();
    uint64_t first = 0;
    for (int i = 0; i < ways; i++) {
        const int level = top - i % levels;
        if (i > 1 && !bnnc_opt.steps_given && bnnc_seconds(start, bnnc_clock_ns()) >= BNNC_SELFTEST_SECONDS) {
            bnnc_say(1, "left out, since steps are slow: %d of %d ways to run them (--steps 1 takes the time)\n",
                     ways - i, ways);
            break;
        }
        if (level != bnnc_cpu_level()) bnnc_cpu_switch(level);
        bnnc_pool.n = i / levels ? 1 : all;
        const uint64_t h = bnnc_fingerprint(steps);
        if (i == 0) first = h;
        wrong += h != first;
        bnnc_say(1, "steps %u  %-8s  threads %d  state %X  %s\n", steps, have > 1 ? bnnc_cpu_names[level] : NET.target,
                 bnnc_pool.n, h, h == first ? "ok" : "DIFFERS");
    }
    if (wrong)
        bnnc_fail(BNNC_E_SELFTEST,
                  "%u checks differ: what is trained here is not what is trained elsewhere\n"
                  "  hint: again? memory, power supply or overclocking; always the same? report it, with this output",
                  wrong);
    bnnc_say(1, "ok\n");
    return BNNC_OK;
}

#endif
