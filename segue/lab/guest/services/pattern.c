/* What the writers of memory and of a disk write: pages that say which they are and how often they were written. */
#define _GNU_SOURCE
#include "guest.h"

#include <stdlib.h>
#include <time.h>

enum { WORDS = PAGE_BYTES / 8 };

double now_s(void) {
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

/* Bytes with an optional K, M or G (powers of 1024). */
uint64_t bytes_of(const char *text) {
    char *unit;
    double value = strtod(text, &unit);

    if (value < 0) return 0;
    if (*unit == 'K' || *unit == 'k') value *= 1 << 10;
    if (*unit == 'M' || *unit == 'm') value *= 1 << 20;
    if (*unit == 'G' || *unit == 'g') value *= 1 << 30;
    return (uint64_t)value;
}

uint64_t mix(uint64_t page, uint64_t count) {
    uint64_t x = page * 0x9E3779B97F4A7C15ULL + count * 0xC2B2AE3D27D4EB4FULL;

    x = (x ^ (x >> 31)) * 0xBF58476D1CE4E5B9ULL;
    return x ^ (x >> 29);
}

void fill_page(uint64_t *word, uint64_t page, uint64_t count) {
    uint64_t *end = word + WORDS;
    uint64_t value = mix(page, count);

    *word++ = page;
    *word++ = count;
    while (word < end) {
        word[0] = value;
        word[1] = ~value;
        value += 0x9E3779B97F4A7C15ULL;
        word += 2;
    }
}

int page_is_right(const uint64_t *word, uint64_t page, uint64_t count) {
    const uint64_t *end = word + WORDS;
    uint64_t value = mix(page, count);

    if (word[0] != page || word[1] != count) return 0;
    for (word += 2; word < end; word += 2) {
        if (word[0] != value || word[1] != ~value) return 0;
        value += 0x9E3779B97F4A7C15ULL;
    }
    return 1;
}
