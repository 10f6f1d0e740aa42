/* What the parts of the lab guest's service program share: one process serves one port, and nothing here forks. */
#ifndef SEGUE_GUEST_H
#define SEGUE_GUEST_H

#include <stddef.h>
#include <stdint.h>

enum { BUFFER_BYTES = 16384, PAGE_BYTES = 4096 };

/* One client. A handler takes from `in` and adds to `out`; the loop does the reading, writing and closing. */
struct conn {
    int fd;
    int closing; /* close as soon as `out` is empty */
    int ended;   /* the client sends no more, but may still want its answers */
    size_t in_len;
    size_t out_len;
    char in[BUFFER_BYTES];
    char out[BUFFER_BYTES];
};

typedef void (*handler)(struct conn *);
/* Does what is due, and says in how many ms it wants to be called again: 0 is after a client has said something. */
typedef int (*ticker)(void);

/* Serves TCP connections for ever, and calls `tick` as often as it asks for, unless it is NULL. */
void serve(int port, handler handle, ticker tick);

void taken(struct conn *c, size_t bytes);
size_t room(const struct conn *c);
void say(struct conn *c, const char *format, ...);
void each_line(struct conn *c, void (*answer)(struct conn *, const char *));
void die(const char *what);
int udp_socket(int port);

/* What is written to memory and to disks, in pattern.c. */
double now_s(void);
uint64_t bytes_of(const char *text);
uint64_t mix(uint64_t page, uint64_t count);
void fill_page(uint64_t *word, uint64_t page, uint64_t count);
int page_is_right(const uint64_t *word, uint64_t page, uint64_t count);

/* The memory dirtier, in dirty.c. */
void dirty_main(int port, const char *start);

/* The disk writer, in disk.c. */
void disk_main(int port, const char *start);

#endif
