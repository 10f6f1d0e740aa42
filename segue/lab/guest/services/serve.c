/* The sockets of the lab guest: an epoll loop for one TCP port, and the UDP socket with room for a held burst. */
#define _GNU_SOURCE
#include "guest.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { UDP_BUFFER_BYTES = 8 << 20 };

void die(const char *what) {
    perror(what);
    exit(1);
}

static int bound_socket(int type, int port) {
    struct sockaddr_in6 address; /* any address, IPv4 as well */
    int one = 1, zero = 0;
    int fd = socket(AF_INET6, type | SOCK_CLOEXEC, 0);

    if (fd < 0) die("socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero);
    memset(&address, 0, sizeof address);
    address.sin6_family = AF_INET6;
    address.sin6_port = htons(port);
    address.sin6_addr = in6addr_any;
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0) die("bind");
    return fd;
}

/* Frames that were held during a blackout arrive in one burst: the buffer has to take seconds of them. */
int udp_socket(int port) {
    int fd = bound_socket(SOCK_DGRAM, port);
    int bytes = UDP_BUFFER_BYTES;

    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes) < 0) die("SO_RCVBUFFORCE");
    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes) < 0) die("SO_SNDBUFFORCE");
    return fd;
}

size_t room(const struct conn *c) {
    return BUFFER_BYTES - c->out_len;
}

void taken(struct conn *c, size_t bytes) {
    c->in_len -= bytes;
    memmove(c->in, c->in + bytes, c->in_len);
}

/* Adds a text to the answer; one that does not fit any more ends the connection instead of being cut. */
void say(struct conn *c, const char *format, ...) {
    va_list arguments;
    int length;

    va_start(arguments, format);
    length = vsnprintf(c->out + c->out_len, room(c), format, arguments);
    va_end(arguments);
    if (length < 0 || (size_t)length >= room(c)) {
        c->closing = 1;
        return;
    }
    c->out_len += length;
}

/* Hands every whole line to `answer`, as long as there is room for what it says. */
void each_line(struct conn *c, void (*answer)(struct conn *, const char *)) {
    char *end;

    while (!c->closing && room(c) > 256 && (end = memchr(c->in, '\n', c->in_len)) != NULL) {
        *end = 0;
        if (end > c->in && end[-1] == '\r') end[-1] = 0;
        answer(c, c->in);
        taken(c, end + 1 - c->in);
    }
    if (c->in_len == BUFFER_BYTES && memchr(c->in, '\n', c->in_len) == NULL) c->closing = 1;
}

static void drop(struct conn *c) {
    close(c->fd);
    free(c);
}

static int flush_out(struct conn *c) {
    while (c->out_len > 0) {
        ssize_t sent = send(c->fd, c->out, c->out_len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0) return errno == EAGAIN || errno == EINTR ? 0 : -1;
        c->out_len -= sent;
        memmove(c->out, c->out + sent, c->out_len);
    }
    return 0;
}

static int fill_in(struct conn *c) {
    ssize_t got;

    if (c->in_len == BUFFER_BYTES) return 0;
    got = recv(c->fd, c->in + c->in_len, BUFFER_BYTES - c->in_len, MSG_DONTWAIT);
    if (got > 0) c->in_len += got;
    if (got == 0) c->ended = 1;
    return got < 0 && errno != EAGAIN && errno != EINTR ? -1 : 0;
}

/* A client that does not read its answers is not read from either, so that no buffer has to grow. */
static void watch(int poller, struct conn *c, int operation) {
    struct epoll_event wanted;

    wanted.events = 0;
    if (c->in_len < BUFFER_BYTES && !c->closing && !c->ended) wanted.events |= EPOLLIN;
    if (c->out_len > 0) wanted.events |= EPOLLOUT;
    wanted.data.ptr = c;
    if (epoll_ctl(poller, operation, c->fd, &wanted) < 0) die("epoll_ctl");
}

static void attend(int poller, struct conn *c, unsigned events, handler handle) {
    int broken = (events & (EPOLLERR | EPOLLHUP)) || ((events & EPOLLIN) && fill_in(c) < 0);

    if (!broken) {
        handle(c);
        broken = flush_out(c) < 0;
        handle(c); /* what had no room in `out` before */
    }
    if (broken || (c->out_len == 0 && (c->closing || c->ended))) drop(c);
    else watch(poller, c, EPOLL_CTL_MOD);
}

static void welcome(int poller, int listener) {
    int one = 1;
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct conn *c;

    if (fd < 0) return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    c = calloc(1, sizeof *c);
    if (c == NULL) {
        close(fd);
        return;
    }
    c->fd = fd;
    watch(poller, c, EPOLL_CTL_ADD);
}

/* One that asks for nothing leaves the guest at rest: under emulation 200 ticks a second cost a tenth of a core. */
static void arm(int timer, int in_ms) {
    struct itimerspec once;

    memset(&once, 0, sizeof once);
    once.it_value.tv_nsec = in_ms * 1000000L;
    if (timerfd_settime(timer, 0, &once, NULL) < 0) die("timerfd_settime");
}

static void add_plain(int poller, int *fd) {
    struct epoll_event wanted;

    wanted.events = EPOLLIN;
    wanted.data.ptr = fd;
    if (epoll_ctl(poller, EPOLL_CTL_ADD, *fd, &wanted) < 0) die("epoll_ctl");
}

void serve(int port, handler handle, ticker tick) {
    struct epoll_event events[64];
    int count, i, is_due;
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    int poller = epoll_create1(EPOLL_CLOEXEC);
    int listener = bound_socket(SOCK_STREAM, port);

    if (timer < 0) die("timerfd_create");
    if (listen(listener, 1024) < 0) die("listen");
    add_plain(poller, &listener);
    add_plain(poller, &timer);
    is_due = 1;
    for (;;) {
        if (is_due && tick != NULL) arm(timer, tick());
        is_due = 0;
        count = epoll_wait(poller, events, 64, -1);
        if (count < 0 && errno != EINTR) die("epoll_wait");
        for (i = 0; i < count; i++) {
            if (events[i].data.ptr == &listener) {
                welcome(poller, listener);
                continue;
            }
            if (events[i].data.ptr != &timer) attend(poller, events[i].data.ptr, events[i].events, handle);
            is_due = 1;
        }
    }
}
