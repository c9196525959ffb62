/* bnnc_cli.h: the command line: verbs, flags, --help, and "did you mean". Fills bnnc_opt or ends with exit code 2. */
#ifndef BNNC_CLI_H
#define BNNC_CLI_H
#include "bnnc_cpu.h"
#include "bnnc_fmt.h"
#include "bnnc_net.h"

static struct {
    const char *verb, *train, *test, *data, *out, *cache, *resume, *log, *init, *export_to, *isa;
    double lr, save_every;
    uint32_t epochs, steps, seed, threads, save_every_steps, eval_every;
    bool lr_given, seed_given, steps_given, threads_given, quiet, json, kernels, ask, last, proba;
} bnnc_opt;

enum {
    BNNC_TRAIN = 1,
    BNNC_EVAL = 2,
    BNNC_INFO = 4,
    BNNC_BENCH = 8,
    BNNC_PREDICT = 16,
    BNNC_SELFTEST = 32,
    BNNC_MEASURES = BNNC_EVAL | BNNC_PREDICT,
    BNNC_RUNS = BNNC_TRAIN | BNNC_MEASURES,
    BNNC_COMPUTES = BNNC_RUNS | BNNC_BENCH
};
#ifdef BNNC_PREDICTS
#define BNNC_VERB_LIST \
    {"predict", BNNC_PREDICT}, { "info", BNNC_INFO }
#else
#define BNNC_VERB_LIST \
    {"train", BNNC_TRAIN}, {"eval", BNNC_EVAL}, {"predict", BNNC_PREDICT}, {"info", BNNC_INFO}, {"bench", BNNC_BENCH}, \
    { \
        "selftest", BNNC_SELFTEST \
    }
#endif
static const struct {
    const char *name;
    int bit;
} bnnc_verbs[] = {BNNC_VERB_LIST};
enum { BNNC_N_VERBS = sizeof bnnc_verbs / sizeof bnnc_verbs[0] };

typedef struct {
    const char *name;
    char kind; /* s text, u number, f decimal, b switch */
    int verbs; /* that it is for */
    void *value;
    bool *given;
} bnnc_flag;
#ifdef BNNC_PREDICTS
static const bnnc_flag bnnc_flags[] = {
    {"--test", 's', BNNC_PREDICT, &bnnc_opt.test, NULL},
    {"--proba", 'b', BNNC_PREDICT, &bnnc_opt.proba, NULL},
    {"--isa", 's', BNNC_PREDICT, &bnnc_opt.isa, NULL},
    {"--json", 'b', BNNC_PREDICT | BNNC_INFO, &bnnc_opt.json, NULL},
};
static const char bnnc_help[] =
    "usage: %s VERB [flags]\n"
    "\n"
    "  predict  the class of each sample, a line each (--json: objects)\n"
    "  info     what this program is, and its memory (--json)\n"
    "\n"
    "  --test FILE  samples as they are measured: idx, idx.gz, .npy, .bnnd or CIFAR-10's .bin\n"
    "  --proba      how sure it is, too: a probability, or score\n"
    "  --isa LEVEL  " BNNC_CPU_NAMES " or auto; all give the same bits\n";
#else
static const bnnc_flag bnnc_flags[] = {
    {"--train", 's', BNNC_RUNS, &bnnc_opt.train, NULL},
    {"--test", 's', BNNC_RUNS, &bnnc_opt.test, NULL},
    {"--data", 's', BNNC_RUNS, &bnnc_opt.data, NULL},
    {"--epochs", 'u', BNNC_TRAIN, &bnnc_opt.epochs, NULL},
    {"--steps", 'u', BNNC_TRAIN | BNNC_BENCH | BNNC_SELFTEST, &bnnc_opt.steps, &bnnc_opt.steps_given},
    {"--seed", 'u', BNNC_TRAIN | BNNC_BENCH, &bnnc_opt.seed, &bnnc_opt.seed_given},
    {"--lr", 'f', BNNC_TRAIN, &bnnc_opt.lr, &bnnc_opt.lr_given},
    {"--eval-every", 'u', BNNC_TRAIN, &bnnc_opt.eval_every, NULL},
    {"--init", 's', BNNC_RUNS, &bnnc_opt.init, NULL},
    {"--export", 's', BNNC_TRAIN | BNNC_EVAL, &bnnc_opt.export_to, NULL},
    {"--out", 's', BNNC_RUNS, &bnnc_opt.out, NULL},
    {"--cache", 's', BNNC_RUNS, &bnnc_opt.cache, NULL},
    {"--resume", 's', BNNC_TRAIN, &bnnc_opt.resume, NULL},
    {"--save-every", 'f', BNNC_TRAIN, &bnnc_opt.save_every, NULL},
    {"--save-every-steps", 'u', BNNC_TRAIN, &bnnc_opt.save_every_steps, NULL},
    {"--log", 's', BNNC_TRAIN, &bnnc_opt.log, NULL},
    {"--ask", 'b', BNNC_TRAIN, &bnnc_opt.ask, NULL},
    {"--quiet", 'b', BNNC_COMPUTES, &bnnc_opt.quiet, NULL},
    {"--threads", 'u', BNNC_COMPUTES | BNNC_SELFTEST, &bnnc_opt.threads, &bnnc_opt.threads_given},
    {"--isa", 's', BNNC_COMPUTES | BNNC_SELFTEST, &bnnc_opt.isa, NULL},
    {"--last", 'b', BNNC_MEASURES, &bnnc_opt.last, NULL},
    {"--proba", 'b', BNNC_PREDICT, &bnnc_opt.proba, NULL},
    {"--json", 'b', BNNC_MEASURES | BNNC_INFO | BNNC_BENCH, &bnnc_opt.json, NULL},
    {"--kernels", 'b', BNNC_BENCH, &bnnc_opt.kernels, NULL},
};
static const char bnnc_help[] =
    "usage: %s VERB [flags]\n"
    "\n"
    "  train    train the network; the same command after an interruption goes on where it stopped\n"
    "  eval     accuracy on the test set, or of what was held out, class by class (--json)\n"
    "  predict  the class of each test sample, a line each; labels may be missing (--json: objects)\n"
    "  info     what this program is: network, rule, memory table (--json: the whole plan)\n"
    "  bench    time of a training step, predicted and measured (--json; --kernels: of each kernel)\n"
    "  selftest known answers, and steps that must give the same bits in every way to run them\n"
    "\n"
    "data\n"
    "  --data FOLDER            where the files named in the spec are\n"
    "  --train FILE[,LABELS]    other training data: idx, idx.gz, .npy, .bnnd or CIFAR-10's .bin\n"
    "  --test FILE[,LABELS]     other test data; none: no test (eval: held-out samples)\n"
    "  --cache FOLDER           for data that must be expanded once (default: the --out folder)\n"
    "training\n"
    "  --epochs N               (default %u); an epoch is full batches, what is left over sits it out\n"
    "  --steps N                stop after N steps in total; of bench (default 50), selftest (5 or less)\n"
    "  --lr X                   first learning rate (default %g)\n"
    "  --seed N                 first weights and order of the samples (default %u)\n"
    "  --eval-every N           test after every N epochs (default 1)\n"
    "  --init FILE              first weights from a .safetensors file\n"
    "  --export FILE            weights to a .safetensors file at the end, or where it is stopped\n"
    "run\n"
    "  --out FOLDER             checkpoints (default run)\n"
    "  --last                   of eval, predict: the last network, not the best on held-out samples\n"
    "  --proba                  of predict: with its probability, or score (`bnnc compile --scores`)\n"
    "  --resume auto|never      never: start again, and remove the checkpoints (default auto)\n"
    "  --save-every SECONDS     time between checkpoints, 0: every step (default 60)\n"
    "  --log FILE.jsonl         one JSON object an epoch\n"
    "  --ask                    wait after each epoch: a line on standard input goes on, its end stops\n"
    "  --quiet                  only the result, and errors\n"
    "  --threads N              (default: as many as there are cores, at most %u)\n"
    "  --isa LEVEL              " BNNC_CPU_NAMES " or auto; all give the same bits\n"
    "\n"
    "exit codes: 0 done, 2 command line, 5 data, 6 checkpoint, 7 CPU, 8 memory, 9 self-test,\n"
    "  129/130/141/143 closed terminal, Ctrl-C, closed pipe, kill; train has written a checkpoint\n";
#endif
enum { BNNC_N_FLAGS = sizeof bnnc_flags / sizeof bnnc_flags[0] };

/* Edit distance of two short words; for suggestions only. */
BNNC_COLD uint32_t bnnc_distance(const char *a, const char *b) {
    uint32_t row[33], n = bnnc_strlen(b);
    if (n > 32) return 99;
    for (uint32_t j = 0; j <= n; j++) row[j] = j;
    for (uint32_t i = 1; *a; a++, i++) {
        uint32_t diagonal = row[0];
        row[0] = i;
        for (uint32_t j = 1; j <= n; j++) {
            uint32_t best = diagonal + (*a != b[j - 1]);
            diagonal = row[j];
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[n];
}

/* The words that end with "hint: did you mean", or the fallback where nothing is near. */
BNNC_COLD _Noreturn void bnnc_unknown(const char *what, const char *word, bool flag) {
    const char *best = NULL;
    uint32_t nearest = 4;
    for (uint32_t i = 0; i < (flag ? (uint32_t)BNNC_N_FLAGS : (uint32_t)BNNC_N_VERBS); i++) {
        const char *name = flag ? bnnc_flags[i].name : bnnc_verbs[i].name;
        uint32_t d = bnnc_distance(word, name);
        if (d < nearest) nearest = d, best = name;
    }
    if (best) bnnc_fail(BNNC_E_USAGE, "unknown %s %s\n  hint: did you mean %s?", what, word, best);
    bnnc_fail(BNNC_E_USAGE, "unknown %s %s\n  hint: --help lists them all", what, word);
}

/* "--flag=value": where the name ends; 0: the argument is not this flag. */
BNNC_COLD uint32_t bnnc_flag_length(const char *arg, const char *name) {
    uint32_t n = bnnc_strlen(name);
    for (uint32_t i = 0; i < n; i++)
        if (arg[i] != name[i]) return 0;
    return arg[n] == 0 || arg[n] == '=' ? n : 0;
}

BNNC_COLD void bnnc_flag_value(const bnnc_flag *f, const char *value) {
    uint32_t u;
    double d;
    if (f->given) *f->given = true;
    if (f->kind == 's') {
        if (!*value) bnnc_fail(BNNC_E_USAGE, "%s needs a value", f->name);
        *(const char **)f->value = value;
    } else if (f->kind == 'u') {
        if (!bnnc_parse_u32(value, &u))
            bnnc_fail(BNNC_E_USAGE, "%s: '%s' is not a whole number from 0 to 4294967295", f->name, value);
        *(uint32_t *)f->value = u;
    } else {
        if (!bnnc_parse_float(value, &d) || d < 0)
            bnnc_fail(BNNC_E_USAGE, "%s: '%s' is not a number of at least 0\n  hint: such as 0.001, 1e-3 or 60",
                      f->name, value);
        *(double *)f->value = d;
    }
}

/* Returns the verb's bit, or 0 where --help or --version was all that was asked for. */
BNNC_COLD int bnnc_parse_args(int argc, char **argv) {
    int verb = 0;
    bnnc_opt.out = "run", bnnc_opt.resume = "auto";
    bnnc_opt.epochs = NET.epochs, bnnc_opt.seed = NET.seed, bnnc_opt.lr = (double)NET.lr0;
    bnnc_opt.save_every = 60, bnnc_opt.eval_every = 1;
    for (int i = 1; i < argc; i++) {
        if (bnnc_streq(argv[i], "--help") || bnnc_streq(argv[i], "-h") || bnnc_streq(argv[i], "help")) {
            bnnc_say(1, bnnc_help, NET.name, NET.epochs, (double)NET.lr0, NET.seed, NET.max_threads);
            return 0;
        }
        if (bnnc_streq(argv[i], "--version")) {
            bnnc_say(1, "%s %s (bnnc %s, target %s)\n", NET.name, NET.hash, NET.version, NET.target);
            return 0;
        }
    }
    for (int i = 1; i < argc; i++) {
        const char *arg = argv[i];
        if (!verb) {
            for (uint32_t k = 0; k < BNNC_N_VERBS; k++)
                if (bnnc_streq(arg, bnnc_verbs[k].name)) verb = bnnc_verbs[k].bit, bnnc_opt.verb = arg;
            if (!verb) bnnc_unknown("verb", arg, false);
            continue;
        }
        const bnnc_flag *f = NULL;
        uint32_t n = 0;
        for (uint32_t k = 0; k < BNNC_N_FLAGS && !n; k++) n = bnnc_flag_length(arg, (f = &bnnc_flags[k])->name);
        if (!n) bnnc_unknown(arg[0] == '-' ? "flag" : "argument", arg, true);
        if (!(f->verbs & verb))
            bnnc_fail(BNNC_E_USAGE, "%s means nothing to %s\n  hint: --help says which flags there are", f->name,
                      bnnc_opt.verb);
        if (f->kind == 'b') {
            if (arg[n]) bnnc_fail(BNNC_E_USAGE, "%s takes no value", f->name);
            *(bool *)f->value = true;
        } else if (arg[n] == '=')
            bnnc_flag_value(f, arg + n + 1);
        else if (i + 1 < argc)
            bnnc_flag_value(f, argv[++i]);
        else
            bnnc_fail(BNNC_E_USAGE, "%s needs a value", f->name);
    }
    if (!verb) bnnc_fail(BNNC_E_USAGE, "nothing to do\n  hint: %s %s, or --help", NET.name, bnnc_verbs[0].name);
    if (!bnnc_streq(bnnc_opt.resume, "auto") && !bnnc_streq(bnnc_opt.resume, "never"))
        bnnc_fail(BNNC_E_USAGE, "--resume: '%s' is neither auto nor never", bnnc_opt.resume);
#ifndef BNNC_SCORES
    if (bnnc_opt.proba)
        bnnc_fail(BNNC_E_USAGE, "--proba: compiled without scores\n  hint: `bnnc compile --scores`, same checkpoints");
#endif
    if (bnnc_opt.lr_given && NET.lr == BNNC_NOWHERE)
        bnnc_fail(BNNC_E_USAGE, "--lr: the rule %s has no learning rate\n  hint: leave it out", NET.rule);
    if (bnnc_opt.threads_given && (bnnc_opt.threads < 1 || bnnc_opt.threads > NET.max_threads))
        bnnc_fail(BNNC_E_USAGE,
                  "--threads %u: this program was compiled for 1 to %u\n"
                  "  hint: their stacks are part of the memory plan; compile it again for more",
                  bnnc_opt.threads, NET.max_threads);
    if (bnnc_opt.eval_every < 1) bnnc_opt.eval_every = 1;
    if (!bnnc_opt.cache) bnnc_opt.cache = bnnc_opt.out;
    return verb;
}

#endif
