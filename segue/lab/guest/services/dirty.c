/* The memory dirtier of the lab guest: it writes pages at a steady rate, and can prove that none was lost.
 *
 * Every page is filled from its number and the count of its writes, and that count is also kept apart. A page
 * that arrives on another host one write too old, or in another page's place, is found by `check`. */
#define _GNU_SOURCE
#include "guest.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>

enum { WORDS = PAGE_BYTES / 8, SLICE_MS = 20 };
enum { OFTEN_MS = 5, SELDOM_MS = 20, LITTLE_BYTES_PER_S = 8 << 20 };
enum { DEFAULT_BYTES = 32 << 20, SPARE_BYTES = 24 << 20 };

static uint64_t *pages;
static uint64_t *counts;
static size_t page_total, next_page;
static uint64_t rate, written;
static double budget_bytes, last_s;

static void write_page(size_t page) {
    fill_page(pages + page * WORDS, page, ++counts[page]);
}

static size_t bad_pages(void) {
    size_t page, bad = 0;

    for (page = 0; page < page_total; page++) bad += !page_is_right(pages + page * WORDS, page, counts[page]);
    return bad;
}

static void *fresh(size_t bytes) {
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return memory == MAP_FAILED ? NULL : memory;
}

/* The kernel promises more than it has, so what is free is asked for first. */
static int has_free(uint64_t bytes) {
    struct sysinfo memory;

    return sysinfo(&memory) == 0 && bytes + SPARE_BYTES < (uint64_t)memory.freeram * memory.mem_unit;
}

/* A size that the guest has no memory for leaves the old working set as it was. */
static int set_size(uint64_t bytes) {
    size_t page, total = bytes / PAGE_BYTES;
    uint64_t *new_pages, *new_counts;

    if (total == 0 || !has_free(bytes)) return 0;
    new_pages = fresh(total * PAGE_BYTES);
    new_counts = fresh(total * sizeof *counts);
    if (new_pages == NULL || new_counts == NULL) {
        if (new_pages != NULL) munmap(new_pages, total * PAGE_BYTES);
        if (new_counts != NULL) munmap(new_counts, total * sizeof *counts);
        return 0;
    }
    if (page_total > 0) {
        munmap(pages, page_total * PAGE_BYTES);
        munmap(counts, page_total * sizeof *counts);
    }
    pages = new_pages;
    counts = new_counts;
    page_total = total;
    next_page = 0;
    for (page = 0; page < total; page++) write_page(page);
    return 1;
}

/* The time a guest stood still is not made up for: a burst after a blackout would not be a steady rate. */
static int tick(void) {
    double start_s = now_s();

    budget_bytes += rate * (start_s - last_s);
    last_s = start_s;
    if (budget_bytes > rate * 0.2) budget_bytes = rate * 0.2;
    while (page_total > 0 && budget_bytes >= PAGE_BYTES && now_s() - start_s < SLICE_MS / 1e3) {
        write_page(next_page);
        next_page = (next_page + 1) % page_total;
        written += PAGE_BYTES;
        budget_bytes -= PAGE_BYTES;
    }
    if (rate == 0) return 0;
    return rate <= LITTLE_BYTES_PER_S ? SELDOM_MS : OFTEN_MS;
}

static void set_rate(uint64_t bytes_per_s) {
    if (page_total == 0 && bytes_per_s > 0) set_size(DEFAULT_BYTES);
    rate = bytes_per_s;
    budget_bytes = 0;
    last_s = now_s();
}

static void answer(struct conn *c, const char *line) {
    size_t bad;

    if (strncmp(line, "rate ", 5) == 0) {
        set_rate(bytes_of(line + 5));
        say(c, "ok\n");
    } else if (strncmp(line, "size ", 5) == 0) {
        say(c, set_size(bytes_of(line + 5)) ? "ok\n" : "error no memory for that size\n");
    } else if (strcmp(line, "check") == 0) {
        bad = bad_pages();
        if (bad == 0) say(c, "ok\n");
        else say(c, "bad %lu\n", (unsigned long)bad);
    } else if (strcmp(line, "status") == 0) {
        say(c, "rate %lu size %lu written %lu uptime %.3f\n", (unsigned long)rate,
            (unsigned long)(page_total * PAGE_BYTES), (unsigned long)written, now_s());
    } else {
        say(c, "error say: rate BYTES_PER_S, size BYTES, check or status\n");
    }
}

static void lines(struct conn *c) {
    each_line(c, answer);
}

/* `start` is RATE[/SIZE] from the kernel command line, or empty. The dirtier gives way to the echo services. */
void dirty_main(int port, const char *start) {
    const char *size = strchr(start, '/');

    setpriority(PRIO_PROCESS, 0, 10);
    if (size != NULL) set_size(bytes_of(size + 1));
    set_rate(bytes_of(start));
    serve(port, lines, tick);
}
