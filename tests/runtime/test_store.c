/* test_store.c: checkpoints on a medium that fails. For every operation at which the power can go, and many ways in
 * which the writes that were not synced yet can end (applied, dropped, torn, garbage), a boot must find the last
 * generation that was committed or the one in progress, whole. */
#include "bnnc_fmt.h"
#include "bnnc_store.h"

enum { CAP = 8192, LENGTH_A = 40, LENGTH_B = 5000, MAX_PENDING = 16, SAVES = 5 };
static const char HASH[] = "0123456789abcdef", OTHER[] = "fedcba9876543210";

typedef struct {
    uint32_t slot, off, n;
    uint8_t data[LENGTH_B];
} pending_write;
typedef struct {
    uint8_t bytes[2][CAP];
    uint32_t size[2];
} image;
static image durable, seen; /* what is on the medium; what a read sees */
static pending_write pending[MAX_PENDING];
static uint32_t n_pending, op, crash_at, fail_at;
static bool dead;
static uint32_t rng_state;

static uint32_t rnd(void) {
    rng_state = rng_state * 1664525u + 1013904223u;
    return rng_state >> 8;
}

static int64_t mem_read(void *ctx, void *dst, uint64_t n, uint64_t off) {
    uint32_t s = (uint32_t)(uintptr_t)ctx;
    if (dead) return -BNNC_EIO;
    if (off >= seen.size[s]) return 0;
    if (n > seen.size[s] - off) n = seen.size[s] - off;
    memcpy(dst, seen.bytes[s] + off, (size_t)n);
    return (int64_t)n;
}
static void apply(image *m, const pending_write *w) {
    memcpy(m->bytes[w->slot] + w->off, w->data, w->n);
    if (m->size[w->slot] < w->off + w->n) m->size[w->slot] = w->off + w->n;
}
static int mem_write(void *ctx, const void *src, uint64_t n, uint64_t off) {
    if (dead) return -BNNC_EIO;
    if (op == fail_at) {
        op++;
        return -BNNC_EIO;
    }
    pending_write *w = &pending[n_pending++];
    w->slot = (uint32_t)(uintptr_t)ctx, w->off = (uint32_t)off, w->n = (uint32_t)n;
    memcpy(w->data, src, (size_t)n);
    apply(&seen, w);
    if (op++ == crash_at) {
        dead = true;
        return -BNNC_EIO;
    }
    return 0;
}
static int mem_sync(void *ctx) {
    uint32_t kept = 0, s = (uint32_t)(uintptr_t)ctx;
    if (dead) return -BNNC_EIO;
    if (op == fail_at) {
        op++;
        return -BNNC_EIO;
    }
    if (op++ == crash_at) {
        dead = true;
        return -BNNC_EIO;
    }
    for (uint32_t i = 0; i < n_pending; i++) {
        if (pending[i].slot == s)
            apply(&durable, &pending[i]);
        else if (kept++ != i)
            pending[kept - 1] = pending[i];
    }
    n_pending = kept;
    return 0;
}
static int64_t mem_size(void *ctx) { return dead ? -BNNC_EIO : (int64_t)seen.size[(uintptr_t)ctx]; }
static const bnnc_store store[2] = {{mem_read, mem_write, mem_sync, mem_size, (void *)0},
                                    {mem_read, mem_write, mem_sync, mem_size, (void *)1}};

static void power_cut(void) { /* what was not synced: each write has its own fate */
    for (uint32_t i = 0; i < n_pending; i++) {
        pending_write *w = &pending[i];
        uint32_t fate = rnd() % 4;
        if (fate == 1) continue;                  /* dropped */
        if (fate == 2) w->n = rnd() % (w->n + 1); /* torn */
        if (fate == 3)
            for (uint32_t k = 0; k < w->n; k++)
                if (rnd() % 3 == 0) w->data[k] = (uint8_t)rnd();
        apply(&durable, w);
    }
    n_pending = 0;
    seen = durable;
    dead = false;
    crash_at = fail_at = UINT32_MAX;
}

static uint8_t cursor[LENGTH_A], state[LENGTH_B];
static const bnnc_span part[2] = {{cursor, LENGTH_A}, {state, LENGTH_B}};
static void content(uint64_t generation) { /* a payload that names its generation in every byte */
    for (uint32_t i = 0; i < LENGTH_A; i++) cursor[i] = (uint8_t)(generation * 7 + i);
    for (uint32_t i = 0; i < LENGTH_B; i++) state[i] = (uint8_t)(generation * 31 + i * 3);
}

static uint32_t checks;
static void check(bool ok, const char *what, uint32_t a, uint32_t b) {
    checks++;
    if (!ok) bnnc_fail(1, "%s (crash at operation %u, seed %u)", what, a, b);
}

static void check_boot(uint64_t committed, uint32_t at, uint32_t seed) {
    bnnc_boot b = bnnc_ckpt_find(store, HASH, LENGTH_A + LENGTH_B);
    check(b.generation == committed || b.generation == committed + 1,
          "the recovered generation is neither committed nor in progress", at, seed);
    check((b.slot < 0) == (b.generation == 0), "slot and generation disagree", at, seed);
    check(!bnnc_ckpt_lost(&b), "a power cut looks as if the medium had lost a checkpoint", at, seed);
    if (b.slot >= 0) {
        memset(state, 0, sizeof state);
        check(bnnc_ckpt_load(&store[b.slot], part), "a valid slot does not load", at, seed);
        uint8_t got_cursor[LENGTH_A];
        static uint8_t got[LENGTH_B];
        memcpy(got_cursor, cursor, LENGTH_A);
        memcpy(got, state, LENGTH_B);
        content(b.generation);
        check(!memcmp(got_cursor, cursor, LENGTH_A) && !memcmp(got, state, LENGTH_B),
              "the payload is not that generation's", at, seed);
    }
    for (int more = 0; more < 2; more++) { /* life goes on */
        content(b.generation + 1);
        check(bnnc_ckpt_save(store, &b, HASH, part) == 0, "a save after the recovery fails", at, seed);
    }
    bnnc_boot again = bnnc_ckpt_find(store, HASH, LENGTH_A + LENGTH_B);
    check(again.generation == b.generation && again.slot == b.slot, "a save after the recovery is lost", at, seed);
}

static void fresh(uint32_t seed) {
    memset(&durable, 0, sizeof durable);
    memset(&seen, 0, sizeof seen);
    n_pending = op = 0;
    crash_at = fail_at = UINT32_MAX;
    dead = false;
    rng_state = seed * 2654435761u + 1;
}

static int test_main(int argc, char **argv, char **envp) {
    (void)argc, (void)argv;
    bnnc_environ = envp;
    for (uint32_t at = 0; at < SAVES * 5; at++) /* a save is five operations: two writes, sync, header, sync */
        for (uint32_t seed = 0; seed < 60; seed++) {
            fresh(seed);
            crash_at = at;
            bnnc_boot b = bnnc_ckpt_find(store, HASH, LENGTH_A + LENGTH_B);
            uint64_t committed = 0;
            for (uint32_t g = 1; g <= SAVES; g++) {
                content(g);
                if (bnnc_ckpt_save(store, &b, HASH, part) < 0) break;
                committed = g;
            }
            check(dead && committed == at / 5, "the crash was not where it should be", at, seed);
            power_cut();
            check_boot(committed, at, seed);
        }

    for (uint32_t at = 0; at < SAVES * 5;
         at++) { /* an error without a crash: reported, nothing lost, the next save works */
        fresh(at);
        fail_at = at;
        bnnc_boot b = bnnc_ckpt_find(store, HASH, LENGTH_A + LENGTH_B);
        uint32_t failed = 0;
        for (uint32_t g = 1; g <= SAVES; g++) {
            content(b.generation + 1);
            failed += bnnc_ckpt_save(store, &b, HASH, part) < 0;
        }
        check(failed == 1 && b.generation == SAVES - 1, "one failed operation, one failed save", at, 0);
        power_cut();
        check_boot(b.generation, at, 0);
    }

    fresh(1); /* another spec's, other lengths, damage to both */
    bnnc_boot b = bnnc_ckpt_find(store, HASH, LENGTH_A + LENGTH_B);
    content(1);
    bnnc_ckpt_save(store, &b, HASH, part);
    bnnc_boot other = bnnc_ckpt_find(store, OTHER, LENGTH_A + LENGTH_B);
    check(other.slot < 0 && other.state[0] == BNNC_SLOT_FOREIGN && other.state[1] == BNNC_SLOT_EMPTY,
          "another spec's slot", 0, 0);
    other = bnnc_ckpt_find(store, HASH, LENGTH_A + LENGTH_B + 1);
    check(other.slot < 0 && other.state[0] == BNNC_SLOT_FOREIGN, "a slot of another length", 0, 0);
    content(2);
    bnnc_ckpt_save(store, &b, HASH, part);
    for (uint32_t i = 0; i < 2; i++) seen.bytes[i][BNNC_PAYLOAD + 77] ^= 1;
    other = bnnc_ckpt_find(store, HASH, LENGTH_A + LENGTH_B);
    check(other.slot < 0 && other.state[0] == BNNC_SLOT_DAMAGED && other.state[1] == BNNC_SLOT_DAMAGED &&
              bnnc_ckpt_lost(&other),
          "two damaged slots", 0, 0);
    for (uint32_t kept = 0; kept < 2; kept++) { /* one damaged, the other missing; its header, or its end too */
        for (uint32_t how = 0; how < 3; how++) {
            image both = seen;
            seen.size[1 - kept] = 0;
            if (how == 1) memset(seen.bytes[kept], 0, 64);
            if (how == 2) seen.size[kept] -= 5;
            other = bnnc_ckpt_find(store, HASH, LENGTH_A + LENGTH_B);
            const bool torn = how == 1; /* as a cut in the first save, which goes into the first slot, leaves it */
            check(other.slot < 0 && other.state[kept] == (torn ? BNNC_SLOT_TORN : BNNC_SLOT_DAMAGED) &&
                      other.state[1 - kept] == BNNC_SLOT_EMPTY,
                  "a damaged slot alone", kept, how);
            check(bnnc_ckpt_lost(&other) == !(torn && kept == 0), "what was lost", kept, how);
            seen = both;
        }
    }
    bnnc_say(1, "ok %u checks\n", checks);
    return 0;
}
BNNC_ENTRY(test_main)
