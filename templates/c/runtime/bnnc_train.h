/* bnnc_train.h: a run on files: where the data and the checkpoints are.
 *
 * All that a run is lies in two places: the state range of the arena, and bnnc_cursor. A checkpoint is these two, and
 * the data's order is a function of (seed, epoch), so a resumed run computes the same bits as one that was never
 * stopped.
 */
#ifndef BNNC_TRAIN_H
#define BNNC_TRAIN_H
#include "bnnc_cli.h"
#include "bnnc_data.h"
#include "bnnc_step.h"

static bnnc_set bnnc_train_set, bnnc_test_set;
static char bnnc_path[6][BNNC_PATH_MAX]; /* images and labels of train, of test; the two spools */
static bnnc_file_ctx bnnc_slot_file[2];
static bnnc_store bnnc_slot[2];
static bnnc_boot bnnc_booted;
static char bnnc_slot_path[2][BNNC_PATH_MAX];

/* ---- where the data is ---- */

BNNC_COLD bool bnnc_exists(const char *path) {
    int fd = bnnc_open(path, BNNC_READ);
    if (fd >= 0) bnnc_close(fd);
    return fd >= 0;
}

/* `name` into out, in --data where that is given; the .gz ending is added or left out to fit what is there. */
BNNC_COLD void bnnc_locate(char *out, const char *name, uint32_t length, bool in_data) {
    char first[BNNC_PATH_MAX];
    uint32_t base = 0;
    for (uint32_t i = 0; i < length; i++)
        if (name[i] == '/') base = i + 1;
    for (uint32_t attempt = 0; attempt < 4; attempt++) { /* whole name or last part, as it is or with .gz changed */
        bnnc_text t = {out, BNNC_PATH_MAX, 0, -1};
        if (in_data && bnnc_opt.data) bnnc_put(&t, "%s/", bnnc_opt.data);
        for (uint32_t i = attempt & 2 ? base : 0; i < length; i++) bnnc_putc(&t, name[i]);
        if (attempt & 1) {
            if (length > 3 && !memcmp(name + length - 3, ".gz", 3))
                t.n -= t.n > 3 ? 3 : 0;
            else
                bnnc_puts(&t, ".gz");
        }
        (void)bnnc_cstr(&t);
        if (bnnc_exists(out)) return;
        if (attempt == 0) memcpy(first, out, BNNC_PATH_MAX);
        if (attempt == 1 && !(in_data && bnnc_opt.data && base)) break;
    }
    memcpy(out, first, BNNC_PATH_MAX); /* for the message */
}

/* The MNIST family's habit: x-images-idx3-ubyte has its labels in x-labels-idx1-ubyte. */
BNNC_COLD void bnnc_guess_labels(char *out, const char *images) {
    bnnc_text t = {out, BNNC_PATH_MAX, 0, -1};
    bool found = false;
    for (const char *p = images; *p;) {
        if (!memcmp(p, "images", bnnc_strlen(p) < 6 ? bnnc_strlen(p) : 6) && bnnc_strlen(p) >= 6) {
            bnnc_puts(&t, "labels");
            p += 6;
            found = true;
        } else if (bnnc_strlen(p) >= 4 && !memcmp(p, "idx3", 4)) {
            bnnc_puts(&t, "idx1");
            p += 4;
        } else
            bnnc_putc(&t, *p++);
    }
    (void)bnnc_cstr(&t);
    if (!found) out[0] = 0;
}

/* "FILE[,LABELS]" of a flag, or else the spec's two names, into two paths. False: there is no such source. */
BNNC_COLD bool bnnc_source(char *images, char *labels, const char *flag, const char *spec_images,
                           const char *spec_labels) {
    images[0] = labels[0] = 0;
    if (flag && bnnc_streq(flag, "none")) return false;
    if (flag) {
        uint32_t comma = 0;
        while (flag[comma] && flag[comma] != ',') comma++;
        bnnc_locate(images, flag, comma, false);
        if (flag[comma]) bnnc_locate(labels, flag + comma + 1, bnnc_strlen(flag + comma + 1), false);
    } else {
        if (!*spec_images) return false;
        bnnc_locate(images, spec_images, bnnc_strlen(spec_images), true);
        if (*spec_labels) bnnc_locate(labels, spec_labels, bnnc_strlen(spec_labels), true);
        if (bnnc_labels_optional && !bnnc_exists(labels)) labels[0] = 0;
    }
    if (!labels[0]) {
        bnnc_guess_labels(labels, images);
        if (labels[0] && !bnnc_exists(labels)) {
            char guess[BNNC_PATH_MAX];
            memcpy(guess, labels, BNNC_PATH_MAX);
            bnnc_locate(labels, guess, bnnc_strlen(guess), false);
        }
        if (bnnc_labels_optional && !bnnc_exists(labels)) labels[0] = 0;
    }
    return true;
}

/* Opens both sets as the flags and the spec say. `need_train`: a training set is a must. */
BNNC_COLD void bnnc_open_data(bool need_train) {
    bool quiet = bnnc_opt.quiet || bnnc_opt.json || bnnc_labels_optional; /* of predict only the classes */
    const bool none = bnnc_opt.test && bnnc_streq(bnnc_opt.test, "none"),
               own_test = bnnc_opt.test || (!bnnc_opt.train && *NET.test_images != 0);
    bool train = bnnc_source(bnnc_path[0], bnnc_path[1], bnnc_opt.train, NET.train_images, NET.train_labels_file);
    if (need_train && !train)
        bnnc_fail(BNNC_E_USAGE,
                  "no training data: the spec names none\n  hint: --train IMAGES,LABELS or --train FILE.bnnd");
    if (train && (need_train || !own_test || (none && !bnnc_labels_optional)))
        bnnc_data_open(&bnnc_train_set, own_test ? NULL : &bnnc_test_set, "train", bnnc_path[0], bnnc_path[1],
                       bnnc_opt.cache, quiet, bnnc_path[4]);
    if (!bnnc_test_set.n &&
        bnnc_source(bnnc_path[2], bnnc_path[3], bnnc_opt.test, NET.test_images, NET.test_labels_file))
        bnnc_data_open(&bnnc_test_set, NULL, "test", bnnc_path[2], bnnc_path[3], bnnc_opt.cache, quiet, bnnc_path[5]);
    bnnc_data_done();
}

/* ---- checkpoints ---- */

/* Opens the two slots and finds the one to go on from. `write`: makes the folder and the files. */
BNNC_COLD void bnnc_open_slots(bool write) {
    if (write) {
        int r = bnnc_make_folders(bnnc_opt.out);
        if (r < 0)
            bnnc_fail(BNNC_E_CHECKPOINT, "cannot make the folder %s: %s\n  hint: --out FOLDER", bnnc_opt.out,
                      bnnc_errname(r));
    }
    for (int i = 0; i < 2; i++) {
        bnnc_text t = {bnnc_slot_path[i], BNNC_PATH_MAX, 0, -1};
        bnnc_put(&t, "%s/slot_%s.bnnck", bnnc_opt.out, i ? "b" : "a");
        (void)bnnc_cstr(&t);
        if (write && bnnc_streq(bnnc_opt.resume, "never")) (void)bnnc_unlink(bnnc_slot_path[i]);
        bnnc_slot_file[i] =
            (bnnc_file_ctx){bnnc_open(bnnc_slot_path[i], write ? BNNC_UPDATE : BNNC_READ), bnnc_opt.out, false};
        if (write && bnnc_slot_file[i].fd < 0)
            bnnc_fail(BNNC_E_CHECKPOINT, "cannot write %s: %s\n  hint: --out FOLDER", bnnc_slot_path[i],
                      bnnc_errname(bnnc_slot_file[i].fd));
        bnnc_slot[i] = bnnc_file_store(&bnnc_slot_file[i]);
    }
    if (write && bnnc_streq(bnnc_opt.resume, "never"))
        (void)bnnc_sync_folder(bnnc_opt.out); /* or a power cut brings them back */
    bnnc_booted = bnnc_ckpt_find(bnnc_slot, NET.hash, sizeof bnnc_cur + NET.state_bytes);
    if (write && bnnc_booted.slot >= 0) {
        const int other = 1 - bnnc_booted.slot;
        if (bnnc_booted.state[other] == BNNC_SLOT_DAMAGED || bnnc_booted.state[other] == BNNC_SLOT_TORN)
            bnnc_say(2, "note: %s is incomplete, as after a power cut; going on from the other one\n",
                     bnnc_slot_path[other]);
    }
    if (bnnc_booted.slot >= 0) return;
    for (int i = 0; i < 2; i++)
        if (bnnc_booted.state[i] == BNNC_SLOT_FOREIGN)
            bnnc_fail(BNNC_E_CHECKPOINT,
                      "%s belongs to another network, rule or batch size than this program's (%s)\n"
                      "  hint: --out ANOTHER_FOLDER, or --resume never to remove it",
                      bnnc_slot_path[i], NET.hash);
    if (bnnc_ckpt_lost(&bnnc_booted)) {
        const bool first = bnnc_booted.state[0] != BNNC_SLOT_EMPTY,
                   both = first && bnnc_booted.state[1] != BNNC_SLOT_EMPTY;
        bnnc_fail(BNNC_E_CHECKPOINT,
                  "%s%s %s: no power cut does that, the medium may be failing\n"
                  "  hint: put a copy of the folder back; train --resume never starts again from nothing",
                  both ? "both checkpoints in " : "", both ? bnnc_opt.out : bnnc_slot_path[!first],
                  both ? "are damaged" : "is damaged, and there is no other checkpoint");
    }
    if (write && bnnc_booted.state[0] == BNNC_SLOT_TORN)
        bnnc_say(2, "note: %s is incomplete, as after a power cut in the first save; training starts again\n",
                 bnnc_slot_path[0]);
}

/* True: bnnc_cur and the states are those of the checkpoint. */
BNNC_COLD bool bnnc_resume(void) {
    bnnc_span span[2];
    if (bnnc_booted.slot < 0) return false;
    bnnc_payload(span);
    if (!bnnc_ckpt_load(&bnnc_slot[bnnc_booted.slot], span))
        bnnc_fail(BNNC_E_CHECKPOINT, "cannot read %s\n  hint: try again; --resume never starts again",
                  bnnc_slot_path[bnnc_booted.slot]);
    BNNC_STATES_WRITTEN();
    return true;
}

BNNC_COLD void bnnc_save(void) {
    bnnc_span span[2];
    BNNC_STATES_READ();
    bnnc_payload(span);
    int r = bnnc_ckpt_save(bnnc_slot, &bnnc_booted, NET.hash, span);
    if (r < 0)
        bnnc_fail(BNNC_E_CHECKPOINT,
                  "cannot write the checkpoint %s: %s\n  hint: the one before it is whole; make room and give the "
                  "same command again",
                  bnnc_slot_path[bnnc_booted.slot == 0], bnnc_errname(r));
}

BNNC_COLD void bnnc_best_path(char *path) {
    bnnc_text t = {path, BNNC_PATH_MAX, 0, -1};
    bnnc_put(&t, "%s/best.bnnck", bnnc_opt.out);
    (void)bnnc_cstr(&t);
}

/* Another run's is none of this one's, after a power cut neither. */
BNNC_COLD void bnnc_forget_best(void) {
    char path[BNNC_PATH_MAX];
    bnnc_best_path(path);
    if (bnnc_unlink(path) >= 0) (void)bnnc_sync_folder(bnnc_opt.out);
}

/* The network of this epoch, as a slot of its own: in the place of the one before when it is whole. */
BNNC_COLD void bnnc_keep_best(void) {
    char path[BNNC_PATH_MAX], temp[BNNC_PATH_MAX];
    bnnc_text t = {temp, BNNC_PATH_MAX, 0, -1};
    bnnc_span span[2];
    bnnc_best_path(path);
    bnnc_put(&t, "%s.%d", path, bnnc_pid());
    bnnc_file_ctx file = {bnnc_open(bnnc_unfinished = bnnc_cstr(&t), BNNC_CREATE), bnnc_opt.out, true};
    const bnnc_store store = bnnc_file_store(&file);
    int r = file.fd;
    BNNC_STATES_READ();
    bnnc_payload(span);
    if (r >= 0) r = bnnc_ckpt_write(&store, 1, NET.hash, span);
    if (r >= 0) r = bnnc_rename(temp, path);
    if (r < 0)
        bnnc_fail(BNNC_E_CHECKPOINT, "cannot write %s: %s\n  hint: make room and give the same command again", path,
                  bnnc_errname(r));
    bnnc_unfinished = NULL;
    bnnc_close(file.fd);
    (void)bnnc_sync_folder(bnnc_opt.out);
}

/* True: bnnc_cur and the states are those of the epoch that was best on the hold-out. False: none was kept. */
BNNC_COLD bool bnnc_load_best(void) {
    char path[BNNC_PATH_MAX];
    bnnc_slot_header h;
    bnnc_span span[2];
    bnnc_best_path(path);
    bnnc_file_ctx file = {bnnc_open(path, BNNC_READ), bnnc_opt.out, true};
    const bnnc_store store = bnnc_file_store(&file);
    if (file.fd < 0) return false;
    bnnc_payload(span);
    if (bnnc_slot_look(&store, NET.hash, span[0].n + span[1].n, &h) != BNNC_SLOT_VALID || !bnnc_ckpt_load(&store, span))
        bnnc_fail(BNNC_E_CHECKPOINT,
                  "%s is damaged, or another network's\n"
                  "  hint: put a copy back; --last takes the network of the last epoch",
                  path);
    bnnc_close(file.fd);
    BNNC_STATES_WRITTEN();
    return true;
}

#endif
