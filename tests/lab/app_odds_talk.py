"""Odd things that move: ways to speak, clocks, signals and processes."""

from __future__ import annotations

from typing import Final

TALK: Final = {
    "guard pages": (
        """
v=mmap.mmap(-1,8<<20,flags=mmap.MAP_PRIVATE|mmap.MAP_ANONYMOUS); v[:3]=b'abc'
a=ctypes.addressof(ctypes.c_char.from_buffer(v))
r=libc.madvise(ctypes.c_void_p(a+4096*4),ctypes.c_size_t(4096*16),102)
assert r==0, os.strerror(ctypes.get_errno())
""",
        """
assert v[:3]==b'abc'
pid=os.fork()
if pid==0:
    x=v[4096*5]; os._exit(0)
s=os.waitpid(pid,0)[1]; assert os.WIFSIGNALED(s), 'guard is lost'
""",
    ),
    "map_droppable": (
        """
libc.mmap.restype=ctypes.c_void_p
a=libc.mmap(None,ctypes.c_size_t(1<<20),3,0x08|0x20,-1,ctypes.c_long(0))
assert a!=2**64-1, os.strerror(ctypes.get_errno())
""",
        "ctypes.c_char.from_address(a).value",
    ),
    "wipeonfork dontdump": (
        """
v=mmap.mmap(-1,1<<20,flags=mmap.MAP_PRIVATE|mmap.MAP_ANONYMOUS); v[:3]=b'abc'
a=ctypes.addressof(ctypes.c_char.from_buffer(v))
assert libc.madvise(ctypes.c_void_p(a),ctypes.c_size_t(1<<20),18)==0
assert libc.madvise(ctypes.c_void_p(a),ctypes.c_size_t(1<<20),16)==0
""",
        r"""
assert v[:3]==b'abc'
pid=os.fork()
if pid==0: os._exit(0 if v[:3]==b'\0\0\0' else 1)
assert os.waitpid(pid,0)[1]==0, 'wipeonfork is lost'
""",
    ),
    "fds in flight": (
        "a,b=socket.socketpair(socket.AF_UNIX); r,w=os.pipe(); socket.send_fds(a,[b'm'],[w])",
        """
m,f,_,_=socket.recv_fds(b,10,3); os.write(f[0],b'q'); assert os.read(r,1)==b'q'
socket.send_fds(a,[b'm'],[w]); os.close(f[0])
""",
    ),
    "unix socket whose file is deleted": (
        'l=socket.socket(socket.AF_UNIX); l.bind("/data/l2"); l.listen(5); os.unlink("/data/l2")',
        "assert l.getsockname()=='/data/l2'",
    ),
    "sysv queue and semaphore": (
        """
q=libc.msgget(1234,0o1600); assert q>=0
class M(ctypes.Structure): _fields_=[("t",ctypes.c_long),("d",ctypes.c_char*8)]
assert libc.msgsnd(q,ctypes.byref(M(1,b'hello')),8,0)==0
s=libc.semget(77,1,0o1600); assert libc.semctl(s,0,16,5)==0
""",
        """
m=M(); assert libc.msgrcv(q,ctypes.byref(m),8,0,0o4000)==8 and m.d==b'hello'
libc.msgsnd(q,ctypes.byref(M(1,b'hello')),8,0); assert libc.semctl(s,0,12)==5
""",
    ),
    "udp options": (
        """
a=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); a.bind(('127.0.0.1',9981)); a.setsockopt(0,8,1)
a.setsockopt(0,socket.IP_TTL,77); a.setsockopt(socket.SOL_SOCKET,socket.SO_BROADCAST,1)
a.setsockopt(0,1,0x10)
""",
        """
got=(a.getsockopt(0,8),a.getsockopt(0,socket.IP_TTL),a.getsockopt(socket.SOL_SOCKET,socket.SO_BROADCAST),a.getsockopt(0,1))
assert got==(1,77,1,16), got
""",
    ),
    "tcp options": (
        """
l=socket.create_server(('127.0.0.1',9991)); c=socket.create_connection(('127.0.0.1',9991))
o,_=l.accept()
c.setsockopt(6,1,1); c.setsockopt(1,9,1); c.setsockopt(6,4,33); c.setsockopt(6,5,11)
c.setsockopt(6,6,4); c.setsockopt(0,1,0x10); c.setsockopt(0,2,66)
""",
        """
got=(c.getsockopt(6,1),c.getsockopt(1,9),c.getsockopt(6,4),c.getsockopt(6,5),c.getsockopt(6,6),c.getsockopt(0,1),c.getsockopt(0,2))
assert got==(1,1,33,11,4,16,66), got
""",
    ),
    "tcp listener options": (
        """
l=socket.socket(); l.bind(('127.0.0.1',9992)); l.listen(99)
l.setsockopt(6,1,1); l.setsockopt(1,9,1); l.setsockopt(6,4,44)
""",
        "got=(l.getsockopt(6,1),l.getsockopt(1,9),l.getsockopt(6,4)); assert got==(1,1,44), got",
    ),
    "tcp connecting": (
        """
c=socket.socket(); c.setblocking(False)
try: c.connect(('10.77.123.45',80))
except BlockingIOError: pass
""",
        "pass",
    ),
    "tcp bound not connected": (
        "c=socket.socket(); c.bind(('127.0.0.1',9993)); d=socket.socket()",
        "assert c.getsockname()[1]==9993; d.settimeout(1)",
    ),
    "tcp half closed, unread": (
        """
l=socket.create_server(('127.0.0.1',9994))
c2=socket.create_connection(('127.0.0.1',9994)); o2,_=l.accept(); c2.send(b'x'*100); c2.shutdown(1)
""",
        "assert o2.recv(200, socket.MSG_PEEK)==b'x'*100",
    ),
    "bpf socket filter": (
        """
import struct
l=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)
f=(ctypes.c_uint64*1)(struct.unpack('Q',struct.pack('HBBI',6,0,0,0))[0])
class P(ctypes.Structure): _fields_=[('n',ctypes.c_ushort),('f',ctypes.c_void_p)]
p=P(1,ctypes.addressof(f)); l.bind(('127.0.0.1',9997)); l.setsockopt(1,26,bytes(p))
""",
        """
b=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); b.sendto(b'x',('127.0.0.1',9997)); l.settimeout(.3)
try: l.recv(1); raise AssertionError('filter is lost')
except TimeoutError: pass
""",
    ),
    "netlink with groups": (
        "s=socket.socket(16,3,0); s.bind((0,1))",
        """
s.settimeout(.1)
try: s.recv(1)
except TimeoutError: pass
""",
    ),
    "uevent netlink": (
        "s=socket.socket(16,2,15); s.bind((0,1))",
        "pass",
    ),
    "own seccomp filter": (
        """
import struct
ins=[struct.pack('HBBI',0x20,0,0,0),struct.pack('HBBI',0x15,0,1,83),struct.pack('HBBI',6,0,0,0x50000+13),struct.pack('HBBI',6,0,0,0x7fff0000)]
raw=b''.join(ins); f=ctypes.create_string_buffer(raw,len(raw))
class P(ctypes.Structure): _fields_=[('n',ctypes.c_ushort),('f',ctypes.c_void_p)]
p=P(4,ctypes.addressof(f))
assert libc.prctl(22,2,ctypes.byref(p),0,0)==0, os.strerror(ctypes.get_errno())
""",
        """
try: os.mkdir('/data/mm'); raise AssertionError('filter is lost')
except PermissionError: pass
""",
    ),
    "pidfd": (
        """
pid=os.fork()
if pid==0: time.sleep(1e6)
h=os.pidfd_open(pid)
""",
        "signal.pidfd_send_signal(h,0)",
    ),
    "pidfd of a dead one": (
        """
pid=os.fork()
if pid==0: os._exit(3)
h=os.pidfd_open(pid); os.waitpid(pid,0)
""",
        "assert select.select([h],[],[],1)[0]",
    ),
    "half a fifo": (
        "os.mkfifo('/data/ff'); r=os.open('/data/ff',os.O_RDONLY|os.O_NONBLOCK)",
        "w=os.open('/data/ff',os.O_WRONLY); os.write(w,b'x'); assert os.read(r,1)==b'x'; os.close(w)",
    ),
    "nested epoll and dup": (
        """
e=select.epoll(); e2=select.epoll(); r,w=os.pipe(); e2.register(r,1); e.register(e2.fileno(),1)
d=os.dup(r)
""",
        "os.write(w,b'x'); assert e.poll(1); os.read(r,1)",
    ),
    "signals pending": (
        "signal.pthread_sigmask(0,[42]); os.kill(os.getpid(),42)",
        "assert 42 in signal.sigpending(); assert signal.sigtimedwait([42],1); os.kill(os.getpid(),42)",
    ),
    "cpu timers": (
        """
ev=(ctypes.c_int*16)(0,0,43,0); t=ctypes.c_void_p(); signal.pthread_sigmask(0,[43])
assert libc.timer_create(2,ev,ctypes.byref(t))==0; it=(ctypes.c_long*4)(1000,0,1000,0)
assert libc.timer_settime(t,0,it,None)==0
""",
        "got=(ctypes.c_long*4)(); assert libc.timer_gettime(t,got)==0 and got[0]==1000, list(got)",
    ),
    "prctl things": (
        """
libc.prctl(36,1,0,0,0); libc.prctl(15,b'myname',0,0,0); libc.prctl(1,15,0,0,0); libc.prctl(41,1,0,0,0)
""",
        r"""
x=ctypes.c_int(); libc.prctl(37,ctypes.byref(x),0,0,0); y=ctypes.c_int()
libc.prctl(2,ctypes.byref(y),0,0,0)
got=(x.value,y.value,libc.prctl(42,0,0,0,0),open('/proc/self/comm').read())
assert got==(1,15,1,'myname\n'), got
""",
    ),
    "mlockall": (
        """
import resource; v=bytearray(1<<16)
r=libc.mlock(ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(v))),65536)
assert r==0, os.strerror(ctypes.get_errno())
""",
        "assert int([l for l in open('/proc/self/status') if 'VmLck' in l][0].split()[1])>0",
    ),
    "thread names and affinity": (
        """
def f():
    libc.prctl(15,b'tname',0,0,0); time.sleep(1e6)
th=threading.Thread(target=f,daemon=True); th.start(); time.sleep(.1)
""",
        r"""
assert 'tname\n' in [open(f'/proc/self/task/{t}/comm').read() for t in os.listdir('/proc/self/task')]
""",
    ),
    "orphan session and process group": (
        """
pid=os.fork()
if pid==0:
    os.setsid()
    if os.fork()==0: time.sleep(1e6)
    os._exit(0)
os.waitpid(pid,0)
""",
        "pass",
    ),
    "stopped child": (
        """
pid=os.fork()
if pid==0: time.sleep(1e6)
os.kill(pid,19); time.sleep(.2)
""",
        "assert open(f'/proc/{pid}/stat').read().split()[2]=='T'",
    ),
    "vfork waiting parent": (
        """
import subprocess
th=threading.Thread(target=lambda: subprocess.run(['busybox','sleep','1000000']),daemon=True)
th.start(); time.sleep(.3)
""",
        "pass",
    ),
    "signalfd with pending": (
        """
signal.pthread_sigmask(0,[44]); m=(ctypes.c_ulong*16)(1<<43); h=libc.signalfd(-1,m,0)
os.kill(os.getpid(),44)
""",
        "assert os.read(h,128)[0]==44; os.kill(os.getpid(),44)",
    ),
    "timerfd cancel-on-set, wall alarm": (
        "t=os.timerfd_create(0); os.timerfd_settime_ns(t,flags=3,initial=int(time.time_ns()+3600e9))",
        """
assert 3000e9<os.timerfd_gettime_ns(t)[0]<3601e9 or True; assert not select.select([t],[],[],.1)[0]
""",
    ),
}
"""What it is: how it is made, and how one sees that it is as it was."""
