/* bnnc_fmt.h: text without stdio: a bounded text buffer, a small printf, number parsing, and the fatal error.
 *
 * bnnc_put(&t, format, ...) appends to a bnnc_text; what does not fit is cut off, or written to t.fd if >= 0.
 *   %s string   %q JSON string   %d int   %u uint32_t   %U uint64_t   %x uint32_t as 8 hex   %X uint64_t as 16 hex
 *   %.Nf double, N decimals      %g double, 6 significant digits      %j the same for JSON (null where not finite)
 *   %J as %j with 9 digits, which tell every float from every other
 *   a width before the letter pads on the left, with '-' on the right: %5u, %-20s
 * bnnc_fail(code, format, ...) writes "error: ..." to stderr and ends the process.
 */
#ifndef BNNC_FMT_H
#define BNNC_FMT_H
#include "bnnc_sys.h"

static const char *bnnc_unfinished
    __attribute__((unused)); /* a file that is being written: removed where we must stop */

typedef struct {
    char *p;
    uint32_t cap, n;
    int fd;
} bnnc_text; /* p[n] is not kept at 0: see bnnc_cstr */

#ifndef BNNC_BARE
static int bnnc_lost; /* why text for standard output was lost (a negative errno); 0: none was */
#endif

BNNC_COLD void bnnc_flush(bnnc_text *t) {
    const int r = t->fd >= 0 && t->n ? bnnc_write_all(t->fd, t->p, t->n) : 0;
#ifndef BNNC_BARE
    if (r < 0 && t->fd == 1) bnnc_lost = r;
#else
    (void)r;
#endif
    if (t->fd >= 0) t->n = 0;
}

BNNC_COLD void bnnc_putc(bnnc_text *t, char c) {
    if (t->n == t->cap) bnnc_flush(t);
    if (t->n < t->cap) t->p[t->n++] = c;
}

BNNC_COLD void bnnc_puts(bnnc_text *t, const char *s) {
    while (*s) bnnc_putc(t, *s++);
}

/* The text as a C string; the last character is lost where the buffer is full. */
BNNC_COLD const char *bnnc_cstr(bnnc_text *t) {
    t->p[t->n < t->cap ? t->n : t->cap - 1] = 0;
    return t->p;
}

BNNC_COLD void bnnc_put_u64(bnnc_text *t, uint64_t v) {
    char d[20];
    int n = 0;
    do d[n++] = (char)('0' + v % 10);
    while (v /= 10);
    while (n) bnnc_putc(t, d[--n]);
}

BNNC_COLD void bnnc_put_hex(bnnc_text *t, uint64_t v, int digits) {
    while (digits--) bnnc_putc(t, "0123456789abcdef"[v >> (4 * digits) & 15]);
}

BNNC_COLD void bnnc_put_fixed(bnnc_text *t, double v, int decimals) {
    double scale = 1;
    if (v != v) {
        bnnc_puts(t, "nan");
        return;
    }
    if (v < 0) {
        bnnc_putc(t, '-');
        v = -v;
    }
    for (int i = 0; i < decimals; i++) scale *= 10;
    if (v * scale >= 1e18) {
        bnnc_puts(t, "inf");
        return;
    } /* far beyond any figure that is printed with decimals */
    uint64_t u = (uint64_t)(v * scale + 0.5), one = (uint64_t)scale;
    bnnc_put_u64(t, u / one);
    if (decimals) bnnc_putc(t, '.');
    while (one > 1) {
        u %= one;
        one /= 10;
        bnnc_putc(t, (char)('0' + u / one));
    }
}

/* Six or nine significant digits, no trailing zeros; with an exponent below 1e-4 and from 1e15. */
BNNC_COLD void bnnc_put_general(bnnc_text *t, double v, int digits) {
    int e = digits - 1;
    const double least = digits > 6 ? 1e8 : 1e5;
    if (v != v) {
        bnnc_puts(t, "nan");
        return;
    }
    if (v < 0) {
        bnnc_putc(t, '-');
        v = -v;
    }
    if (v == 0) {
        bnnc_putc(t, '0');
        return;
    }
    if (v > 1e300) {
        bnnc_puts(t, "inf");
        return;
    }
    while (v < least - 0.05) v *= 10, e--;
    while (v >= 10 * least - 0.5) v /= 10, e++;
    uint32_t u = (uint32_t)(v + 0.5);
    if (u >= 10 * (uint32_t)least) u /= 10, e++; /* rounded up to the next power of ten */
    char d[9];
    int last = 0;
    for (int i = digits - 1; i >= 0; i--, u /= 10) {
        d[i] = (char)('0' + u % 10);
        if (d[i] != '0' && i > last) last = i;
    }
    if (e < -4 || e > 14) { /* d.ddde-xx */
        bnnc_putc(t, d[0]);
        for (int i = 1; i <= last; i++) {
            if (i == 1) bnnc_putc(t, '.');
            bnnc_putc(t, d[i]);
        }
        bnnc_puts(t, e < 0 ? "e-" : "e+");
        if (e < 0) e = -e;
        if (e < 10) bnnc_putc(t, '0');
        bnnc_put_u64(t, (uint64_t)e);
        return;
    }
    if (e < 0) {
        bnnc_puts(t, "0.");
        for (int i = e; i < -1; i++) bnnc_putc(t, '0');
    }
    for (int i = 0; i <= last || i <= e; i++) {
        if (i == e + 1 && e >= 0) bnnc_putc(t, '.');
        bnnc_putc(t, i < digits ? d[i] : '0');
    }
}

BNNC_COLD void bnnc_put_json(bnnc_text *t, const char *s) {
    bnnc_putc(t, '"');
    for (; *s; s++) {
        uint8_t c = (uint8_t)*s;
        if (c == '"' || c == '\\') bnnc_putc(t, '\\');
        if (c >= 32)
            bnnc_putc(t, (char)c);
        else if (c == '\n')
            bnnc_puts(t, "\\n");
        else {
            bnnc_puts(t, "\\u00");
            bnnc_put_hex(t, c, 2);
        }
    }
    bnnc_putc(t, '"');
}

BNNC_COLD void bnnc_vput(bnnc_text *out, const char *f, va_list ap) {
    for (; *f; f++) {
        if (*f != '%') {
            bnnc_putc(out, *f);
            continue;
        }
        char field[32]; /* numbers are formed here, then padded */
        bnnc_text t = {field, sizeof field, 0, -1};
        const char *s = NULL;
        uint32_t width = 0, decimals = 6, shown;
        bool left = false;
        if (*++f == '-') left = true, f++;
        while (*f >= '0' && *f <= '9') width = width * 10 + (uint32_t)(*f++ - '0');
        if (*f == '.') decimals = (uint32_t)(f[1] - '0'), f += 2;
        if (*f == 's')
            s = va_arg(ap, const char *);
        else if (*f == 'q')
            bnnc_put_json(out, va_arg(ap, const char *));
        else if (*f == 'd') {
            int64_t v = va_arg(ap, int);
            if (v < 0) bnnc_putc(&t, '-');
            bnnc_put_u64(&t, (uint64_t)(v < 0 ? -v : v));
        } else if (*f == 'u')
            bnnc_put_u64(&t, va_arg(ap, uint32_t));
        else if (*f == 'U')
            bnnc_put_u64(&t, va_arg(ap, uint64_t));
        else if (*f == 'x')
            bnnc_put_hex(&t, va_arg(ap, uint32_t), 8);
        else if (*f == 'X')
            bnnc_put_hex(&t, va_arg(ap, uint64_t), 16);
        else if (*f == 'f')
            bnnc_put_fixed(&t, va_arg(ap, double), (int)decimals);
        else if (*f == 'g')
            bnnc_put_general(&t, va_arg(ap, double), 6);
        else if (*f == 'j' || *f == 'J') {
            double v = va_arg(ap, double);
            if (!(v > -1e300 && v < 1e300))
                bnnc_puts(&t, "null");
            else
                bnnc_put_general(&t, v, *f == 'J' ? 9 : 6);
        } else
            bnnc_putc(&t, *f);
        shown = s ? bnnc_strlen(s) : t.n;
        uint32_t wide = shown; /* in characters: of UTF-8 the bytes that begin one */
        for (uint32_t i = 0; s && i < shown; i++) wide -= (s[i] & 0xC0) == 0x80;
        for (uint32_t i = wide; !left && i < width; i++) bnnc_putc(out, ' ');
        for (uint32_t i = 0; i < shown; i++) bnnc_putc(out, s ? s[i] : field[i]);
        for (uint32_t i = wide; left && i < width; i++) bnnc_putc(out, ' ');
    }
}

BNNC_COLD __attribute__((noinline)) void bnnc_put(bnnc_text *t, const char *f, ...) {
    va_list ap;
    va_start(ap, f);
    bnnc_vput(t, f, ap);
    va_end(ap);
}

/* Writes straight to a file descriptor: 1 is standard output, 2 standard error. */
BNNC_COLD __attribute__((noinline)) void bnnc_say(int fd, const char *f, ...) {
    char line[256];
    bnnc_text t = {line, sizeof line, 0, fd};
    va_list ap;
    va_start(ap, f);
    bnnc_vput(&t, f, ap);
    va_end(ap);
    bnnc_flush(&t);
}

#ifndef BNNC_BARE /* there is no process to end */
BNNC_COLD __attribute__((noinline, cold)) _Noreturn void bnnc_fail(int code, const char *f, ...) {
    char line[256];
    bnnc_text t = {line, sizeof line, 0, 2};
    va_list ap;
    va_start(ap, f);
    bnnc_puts(&t, "error: ");
    bnnc_vput(&t, f, ap);
    bnnc_putc(&t, '\n');
    va_end(ap);
    bnnc_flush(&t);
    if (bnnc_unfinished) (void)bnnc_unlink(bnnc_unfinished);
    bnnc_exit(code);
}
#endif

/* Decimal text to u32. False where it is not a number or too large. */
BNNC_COLD bool bnnc_parse_u32(const char *s, uint32_t *out) {
    uint64_t v = 0;
    if (!*s) return false;
    for (; *s; s++) {
        if (*s < '0' || *s > '9') return false;
        v = v * 10 + (uint64_t)(*s - '0');
        if (v > UINT32_MAX) return false;
    }
    *out = (uint32_t)v;
    return true;
}

/* "0.001", "1e-3". Exact for up to 15 digits and exponents to +-22, as one rounding in double is all that happens. */
BNNC_COLD bool bnnc_parse_float(const char *s, double *out) {
    double v = 0, scale = 1;
    int point = 0, e = 0, digits = 0;
    bool negative = *s == '-', dot = false, down = false;
    if (negative) s++;
    for (; (*s >= '0' && *s <= '9') || (*s == '.' && !dot); s++) {
        if (*s == '.') {
            dot = true;
            continue;
        }
        v = v * 10 + (double)(*s - '0');
        digits++;
        if (dot) point++;
    }
    if (!digits || digits > 15) return false;
    if (*s == 'e' || *s == 'E') {
        s++;
        if (*s == '-' || *s == '+') down = *s++ == '-';
        if (!*s) return false;
        for (; *s >= '0' && *s <= '9'; s++)
            if ((e = e * 10 + (*s - '0')) > 22) return false;
    }
    if (*s) return false;
    e = (down ? -e : e) - point;
    for (int i = e < 0 ? -e : e; i > 0; i--) scale *= 10;
    *out = (e < 0 ? v / scale : v * scale) * (negative ? -1 : 1);
    return true;
}

#endif
