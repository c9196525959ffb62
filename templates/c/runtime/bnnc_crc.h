/* bnnc_crc.h: CRC-32 (zip, PNG; polynomial 0xEDB88320 reflected), Adler-32 and FNV-1a 64. Tables of 64 bytes only:
 * half a byte at a time is fast enough for files, and the trainer's memory is counted to the byte. */
#ifndef BNNC_CRC_H
#define BNNC_CRC_H
#include "bnnc_sys.h"

/* Start with 0; feed the result back in for the next piece. */
BNNC_FN uint32_t bnnc_crc32(uint32_t crc, const void *data, uint64_t n) {
    static const uint32_t nibble[16] = {0x00000000u, 0x1DB71064u, 0x3B6E20C8u, 0x26D930ACu, 0x76DC4190u, 0x6B6B51F4u,
                                        0x4DB26158u, 0x5005713Cu, 0xEDB88320u, 0xF00F9344u, 0xD6D6A3E8u, 0xCB61B38Cu,
                                        0x9B64C2B0u, 0x86D3D2D4u, 0xA00AE278u, 0xBDBDF21Cu};
    const uint8_t *p = data;
    crc = ~crc;
    while (n--) {
        crc ^= *p++;
        crc = nibble[crc & 15] ^ crc >> 4;
        crc = nibble[crc & 15] ^ crc >> 4;
    }
    return ~crc;
}

/* Start with 1. */
BNNC_FN uint32_t bnnc_adler32(uint32_t adler, const uint8_t *p, uint64_t n) {
    uint32_t a = adler & 0xFFFF, b = adler >> 16;
    while (n--) {
        a += *p++;
        if (a >= 65521) a -= 65521;
        b += a;
        if (b >= 65521) b -= 65521;
    }
    return b << 16 | a;
}

/* Start with 0xCBF29CE484222325. The fingerprint of the weights that `train` prints. */
BNNC_FN uint64_t bnnc_fnv64(uint64_t h, const void *data, uint64_t n) {
    const uint8_t *p = data;
    while (n--) h = (h ^ *p++) * 0x100000001B3u;
    return h;
}

#endif
