"""Things that an application may hold and that few do, as a process makes them and looks at them again.

Each is made in a process of its own inside the container, whose first process is `PROGRAM`. What it needs is imported.
"""

from __future__ import annotations

from typing import Final

PROGRAM: Final = """
import ctypes, errno, fcntl, glob, json, mmap, os, select, signal, socket, struct, sys, tempfile, threading, time
libc = ctypes.CDLL(None, use_errno=True)
children = {}
for name, make, look in json.loads(sys.argv[1]):
    ask, said = os.pipe(), os.pipe()
    if os.fork() == 0:
        os.close(ask[1]); os.close(said[0])
        here, wrong = dict(globals()), ""
        try:
            exec(make, here)
        except BaseException as error:
            wrong = f"cannot be made: {error!r}"
        os.write(said[1], b"made\\n")
        while os.read(ask[0], 1):
            word = wrong
            try:
                wrong or exec(look, here)
            except BaseException as error:
                word = repr(error)
            os.write(said[1], word.replace("\\n", " ").encode()[:2000] + b"\\n")
        os._exit(0)
    os.close(ask[0]); os.close(said[1])
    children[name] = (ask[1], os.fdopen(said[0]))
    children[name][1].readline()
signal.signal(signal.SIGPIPE, signal.SIG_IGN)
def answer(name):
    ask, said = children[name]
    try:
        os.write(ask, b"?")
    except OSError:
        return "it has ended"
    return (said.readline() or "it has ended").strip()
server = socket.create_server(("", 8080))
while True:
    connection, _ = server.accept()
    with connection, connection.makefile("rwb", buffering=0) as lines:
        for line in lines:
            found = {name: answer(name) for name in children}
            lines.write(json.dumps({name: word for name, word in found.items() if word}).encode() + b"\\n")
"""

_UNSHARED: Final = """
if (child := os.fork()) == 0:
    assert libc.unshare(0x10000000 | {flags}) == 0
    time.sleep(1e6)
time.sleep(0.2)
assert os.waitpid(child, os.WNOHANG)[0] == 0
"""

STAYS: Final = {
    "a unix socket to a program outside": (
        "s = socket.socket(socket.AF_UNIX); s.connect('/out/stream')",
        "outside",
    ),
    "the same without a connection": (
        "s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.connect('/out/dgram')",
        "outside",
    ),
    "words for a unix socket that does not accept": (
        "l = socket.socket(socket.AF_UNIX); l.bind('/data/l'); l.listen(5)\n"
        "c = socket.socket(socket.AF_UNIX); c.connect('/data/l'); c.send(b'hey')",
        "has not accepted",
    ),
    "a message queue": (
        "h = libc.mq_open(b'/q', os.O_CREAT | os.O_RDWR, 0o600, None); assert h >= 0",
        "not mounted",
    ),
    "memory for itself alone": ("h = libc.syscall(447, 0); assert h >= 0", "memfd_secret"),
    "a user's name space": (_UNSHARED.format(flags="0"), "name space"),
    "a network's name space": (_UNSHARED.format(flags="0x40000000"), "name space"),
    "a process's name space": (
        "assert libc.unshare(0x30000000) == 0\nif os.fork() == 0: time.sleep(1e6)",
        "name space",
    ),
    "watches of /proc": (
        "h = libc.inotify_init1(0); assert libc.inotify_add_watch(h, b'/proc/self', 2) >= 0",
        "files of /proc",
    ),
    "a process without its first thread": (
        "if os.fork() == 0:\n    threading.Thread(target=lambda: time.sleep(1e6)).start(); libc.pthread_exit(None)\n"
        "time.sleep(0.3)",
        "first thread",
    ),
    "a file of two names that lost one": (
        "open('/data/one', 'w'); os.link('/data/one', '/data/two'); h = open('/data/one'); os.unlink('/data/one')",
        "/data/one",
    ),
    "a deleted file of the image": ("h = open('/etc/group'); os.unlink('/etc/group')", "/etc/group"),
    "a library that was replaced": (
        "path = os.path.realpath(glob.glob('/usr/lib/x86_64-linux-gnu/libexpat.so*')[0]); h = os.open(path, 0)\n"
        "view = mmap.mmap(h, 4096, prot=1, flags=mmap.MAP_PRIVATE); os.close(h)\n"
        "open(path + '.new', 'wb').write(open(path, 'rb').read()); os.rename(path + '.new', path)",
        "libexpat",
    ),
    "a deleted file of 300 MiB": (
        "h, path = tempfile.mkstemp(dir='/data'); os.unlink(path)\n"
        "for at in range(300): os.pwrite(h, bytes(1 << 20), at << 20)",
        "300 MiB",
    ),
    "an eventfd as a semaphore": ("e = os.eventfd(5, os.EFD_SEMAPHORE)", "semaphore"),
    "packets in a pipe": ("p = os.pipe2(os.O_DIRECT)", "O_DIRECT"),
    "an epoll of what another has open": (
        "e = select.epoll(); r, w = os.pipe(); e.register(r, 1)\n"
        "if os.fork() == 0: time.sleep(1e6)\nos.close(r)",
        "has closed",
    ),
    "a multicast group": (
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "there = struct.pack('i', socket.if_nametoindex('eth0'))\n"
        "s.setsockopt(0, 35, socket.inet_aton('239.1.2.3') + bytes(4) + there)",
        "239.1.2.3",
    ),
    "an IPv6 multicast group": (
        "s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)\n"
        "there = struct.pack('I', socket.if_nametoindex('eth0'))\n"
        "s.setsockopt(41, 20, socket.inet_pton(socket.AF_INET6, 'ff02::1234') + there)",
        "ff02::1234",
    ),
    "a shell at a terminal": (
        "import pty\nif pty.fork()[0] == 0: os.execvp('busybox', ['busybox', 'sh'])\ntime.sleep(0.3)",
        "/dev/tty",
    ),
    "a tracer": (
        "if (child := os.fork()) == 0: time.sleep(1e6)\n"
        "assert libc.ptrace(16, child, 0, 0) == 0; os.waitpid(child, 0); libc.ptrace(7, child, 0, 0)",
        "traced",
    ),
    "MPTCP": ("s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)", "MPTCP"),
    "vsock": ("s = socket.socket(40, socket.SOCK_STREAM)", "AF_VSOCK"),
}
"""What it is: how it is made, and a word of the refusal."""
