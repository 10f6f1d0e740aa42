/* The services of the lab guest: `segue-guest NAME ARGUMENTS`, one small process each, no fork for a packet. */
#define _GNU_SOURCE
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/input.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 32, DATAGRAM_BYTES = 2048 };

static char batch_bytes[BATCH][DATAGRAM_BYTES];
static struct sockaddr_in6 batch_from[BATCH];
static struct iovec batch_iov[BATCH];
static struct mmsghdr batch[BATCH];

static void reset_batch(void) {
    int i;

    for (i = 0; i < BATCH; i++) {
        batch_iov[i].iov_base = batch_bytes[i];
        batch_iov[i].iov_len = DATAGRAM_BYTES;
        batch[i].msg_hdr.msg_name = &batch_from[i];
        batch[i].msg_hdr.msg_namelen = sizeof batch_from[i];
        batch[i].msg_hdr.msg_iov = &batch_iov[i];
        batch[i].msg_hdr.msg_iovlen = 1;
    }
}

/* Batches, because after a blackout every held datagram is there at once. */
static void udp_echo(int port) {
    int fd = udp_socket(port);
    int got, sent, now, i;

    setpriority(PRIO_PROCESS, 0, -10);
    for (;;) {
        reset_batch();
        got = recvmmsg(fd, batch, BATCH, MSG_WAITFORONE, NULL);
        for (i = 0; i < got; i++) batch_iov[i].iov_len = batch[i].msg_len;
        for (sent = 0; sent < got; sent += now) {
            now = sendmmsg(fd, batch + sent, got - sent, 0);
            /* One peer that cannot be reached must not hold up the others: its datagram is given up. */
            if (now <= 0) now = 1;
        }
    }
}

/* The other direction alone: numbered datagrams, for whoever asks with "RATE SECONDS", from the guest's own clock. */
static void udp_source(int port) {
    int fd = udp_socket(port);

    setpriority(PRIO_PROCESS, 0, -10);
    for (;;) {
        struct sockaddr_in6 to;
        socklen_t to_bytes = sizeof to;
        struct timespec next;
        unsigned long number, rate, seconds;
        char text[64];
        ssize_t got = recvfrom(fd, text, sizeof text - 1, 0, (struct sockaddr *)&to, &to_bytes);

        if (got <= 0) continue;
        text[got] = 0;
        if (sscanf(text, "%lu %lu", &rate, &seconds) != 2 || rate == 0 || rate > 1000000 || seconds > 3600) continue;
        clock_gettime(CLOCK_MONOTONIC, &next);
        for (number = 0; number < rate * seconds; number++) {
            int length = snprintf(text, sizeof text, "%lu\n", number);

            /* A full queue is waited for: a number is never left out by us. */
            while (sendto(fd, text, length, 0, (struct sockaddr *)&to, to_bytes) < 0 && errno == ENOBUFS)
                poll(NULL, 0, 1);
            next.tv_nsec += 1000000000L / rate;
            next.tv_sec += next.tv_nsec / 1000000000L;
            next.tv_nsec %= 1000000000L;
            clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
        }
    }
}

static void echo(struct conn *c) {
    size_t bytes = c->in_len < room(c) ? c->in_len : room(c);

    memcpy(c->out + c->out_len, c->in, bytes);
    c->out_len += bytes;
    taken(c, bytes);
}

static char page_text[256];

static void http_answer(struct conn *c, size_t head_bytes) {
    int stay;

    c->in[head_bytes - 1] = 0;
    stay = strstr(c->in, " HTTP/1.1\r\n") != NULL && strcasestr(c->in, "\nConnection: close") == NULL;
    if (strcasestr(c->in, "\nConnection: keep-alive") != NULL) stay = 1;
    if (strncmp(c->in, "GET ", 4) != 0) {
        say(c, "HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        stay = 0;
    } else {
        say(c, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: %s\r\n\r\n%s",
            (int)strlen(page_text), stay ? "keep-alive" : "close", page_text);
    }
    if (!stay) c->closing = 1;
    taken(c, head_bytes);
}

static void http(struct conn *c) {
    char *end;

    while (!c->closing && room(c) > 1024 && (end = memmem(c->in, c->in_len, "\r\n\r\n", 4)) != NULL)
        http_answer(c, end + 4 - c->in);
    if (c->in_len == BUFFER_BYTES && memmem(c->in, c->in_len, "\r\n\r\n", 4) == NULL) {
        say(c, "HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        c->closing = 1;
        taken(c, c->in_len);
    }
}

static void http_main(int port) {
    char name[128];

    if (gethostname(name, sizeof name) < 0) die("gethostname");
    name[sizeof name - 1] = 0;
    snprintf(page_text, sizeof page_text, "segue guest %s\n", name);
    serve(port, http, NULL);
}

/* The ACPI power button is one of the input devices; the program named puts the guest's services down in order. */
static void power(const char *program) {
    struct pollfd devices[8];
    struct input_event event;
    char path[32];
    int i, count = 0;

    for (i = 0; i < 8; i++) {
        snprintf(path, sizeof path, "/dev/input/event%d", i);
        devices[count].fd = open(path, O_RDONLY | O_CLOEXEC);
        devices[count].events = POLLIN;
        if (devices[count].fd >= 0) count++;
    }
    if (count == 0) die("/dev/input");
    while (poll(devices, count, -1) > 0)
        for (i = 0; i < count; i++)
            if (devices[i].revents && read(devices[i].fd, &event, sizeof event) == sizeof event)
                if (event.type == EV_KEY && event.code == KEY_POWER && event.value == 1)
                    execl(program, program, NULL);
    die(program);
}

static int listens(int port) {
    struct sockaddr_in address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int answer;

    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    answer = connect(fd, (struct sockaddr *)&address, sizeof address) == 0;
    close(fd);
    return answer;
}

/* Says the words the lab waits for, once every TCP port named takes connections. */
static void ready(const char *name, int count, char **ports) {
    int i;

    for (i = 0; i < count; i++)
        while (!listens(atoi(ports[i]))) poll(NULL, 0, 10);
    printf("%s ready\n", name);
}

int main(int argc, char **argv) {
    const char *name = argc > 2 ? argv[1] : "";

    signal(SIGPIPE, SIG_IGN);
    if (strcmp(name, "udp-echo") == 0) udp_echo(atoi(argv[2]));
    else if (strcmp(name, "udp-source") == 0) udp_source(atoi(argv[2]));
    else if (strcmp(name, "tcp-echo") == 0) serve(atoi(argv[2]), echo, NULL);
    else if (strcmp(name, "http") == 0) http_main(atoi(argv[2]));
    else if (strcmp(name, "dirty") == 0) dirty_main(atoi(argv[2]), argc > 3 ? argv[3] : "");
    else if (strcmp(name, "disk") == 0) disk_main(atoi(argv[2]), argc > 3 ? argv[3] : "");
    else if (strcmp(name, "power") == 0) power(argv[2]);
    else if (strcmp(name, "ready") == 0) ready(argv[2], argc - 3, argv + 3);
    else {
        fprintf(stderr, "usage: segue-guest udp-echo|udp-source|tcp-echo|http|dirty|disk PORT | power PROGRAM | ready NAME PORT...\n");
        return 2;
    }
    return 0;
}
