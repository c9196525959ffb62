/* take.h: what the servers of this folder read requests with; after the runtime. */
/* Exactly n bytes of standard input; false at its end. */
static bool take(void *p, uint32_t n) {
    for (uint32_t done = 0; done < n;) {
        int64_t r = bnnc_read(0, (uint8_t *)p + done, n - done);
        if (r <= 0) return false;
        done += (uint32_t)r;
    }
    return true;
}
