/* The disk writer of the lab guest: it writes numbered blocks in a random order, and can prove that none was lost.
 *
 * It knows what it wrote where; `check` reads every block back past the guest's own cache. After a boot, when that
 * knowledge is gone, it takes up what the disk holds: each block is whole, or was never written. */
#define _GNU_SOURCE
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

enum { READ_BYTES = 256 << 10, DISK_TICK_MS = 10, DISK_SLICE_MS = 20 };

static int disk = -1;
static uint64_t *counts, *one, *many;
static size_t block_total;
static uint64_t rate, sequence, errors, torn;
static double budget_bytes, last_s;

static void *aligned(size_t bytes) {
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED) die("mmap");
    return memory;
}

/* Calls `judge` for each block as the disk has it now; how many it says are bad, or cannot be read. */
static size_t each_block(int (*judge)(const uint64_t *, size_t)) {
    size_t first, i, bad = 0;

    for (first = 0; first < block_total; first += READ_BYTES / PAGE_BYTES) {
        size_t blocks = block_total - first < READ_BYTES / PAGE_BYTES ? block_total - first : READ_BYTES / PAGE_BYTES;
        ssize_t bytes = blocks * PAGE_BYTES;

        if (pread(disk, many, bytes, (off_t)first * PAGE_BYTES) != bytes) {
            bad += blocks;
            continue;
        }
        for (i = 0; i < blocks; i++) bad += !judge(many + i * (PAGE_BYTES / 8), first + i);
    }
    return bad;
}

static int is_empty(const uint64_t *word) {
    size_t i;

    for (i = 0; i < PAGE_BYTES / 8; i++)
        if (word[i] != 0) return 0;
    return 1;
}

static int as_written(const uint64_t *word, size_t block) {
    return counts[block] == 0 ? is_empty(word) : page_is_right(word, block, counts[block]);
}

static int take_up(const uint64_t *word, size_t block) {
    counts[block] = word[1];
    if (word[1] > sequence) sequence = word[1];
    return as_written(word, block);
}

/* A write that failed is done again: what the block holds meanwhile is not known. */
static void write_block(void) {
    size_t block = mix(sequence, 1) % block_total;

    fill_page(one, block, sequence + 1);
    if (pwrite(disk, one, PAGE_BYTES, (off_t)block * PAGE_BYTES) != PAGE_BYTES) {
        errors++;
        budget_bytes = 0;
        return;
    }
    counts[block] = ++sequence;
}

static int tick(void) {
    double start_s = now_s();

    budget_bytes += rate * (start_s - last_s);
    last_s = start_s;
    if (budget_bytes > rate * 0.2) budget_bytes = rate * 0.2;
    while (budget_bytes >= PAGE_BYTES && now_s() - start_s < DISK_SLICE_MS / 1e3) {
        budget_bytes -= PAGE_BYTES;
        write_block();
    }
    return DISK_TICK_MS;
}

static void answer(struct conn *c, const char *line) {
    size_t bad;

    if (strcmp(line, "check") == 0) {
        bad = each_block(as_written);
        if (bad == 0) say(c, "ok %lu\n", (unsigned long)block_total);
        else say(c, "bad %lu\n", (unsigned long)bad);
    } else if (strcmp(line, "status") == 0) {
        say(c, "written %lu errors %lu torn %lu uptime %.3f\n", (unsigned long)sequence, (unsigned long)errors,
            (unsigned long)torn, now_s());
    } else {
        say(c, "error say: check or status\n");
    }
}

static void lines(struct conn *c) {
    each_line(c, answer);
}

/* `start` is DEVICE:RATE/SIZE from the kernel command line; the disk is all its own. */
void disk_main(int port, const char *start) {
    const char *at = strchr(start, ':'), *size = strchr(start, '/');
    char path[64];

    if (at == NULL || size == NULL) die("segue.disk=DEVICE:RATE/SIZE");
    snprintf(path, sizeof path, "/dev/%.*s", (int)(at - start), start);
    disk = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
    if (disk < 0) die(path);
    block_total = bytes_of(size + 1) / PAGE_BYTES;
    if (block_total == 0) die(size);
    counts = aligned(block_total * sizeof *counts);
    one = aligned(PAGE_BYTES);
    many = aligned(READ_BYTES);
    torn = each_block(take_up);
    setpriority(PRIO_PROCESS, 0, 10);
    rate = bytes_of(at + 1);
    last_s = now_s();
    serve(port, lines, tick);
}
