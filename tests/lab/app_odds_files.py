"""Odd things that move: files, and what is like a file."""

from __future__ import annotations

from typing import Final

FILES: Final = {
    "ghost 50MiB": (
        'h, p = tempfile.mkstemp(dir="/data"); os.unlink(p); os.pwrite(h, b"x"*(50<<20), 0)',
        "assert os.fstat(h).st_size == 50<<20 and os.pread(h, 5, (50<<20)-5) == b'xxxxx'",
    ),
    "renamed open file": (
        """
h=os.open("/data/one",os.O_RDWR|os.O_CREAT); os.write(h,b'hi'); os.rename("/data/one","/data/three")
""",
        "assert os.fstat(h).st_ino==os.stat('/data/three').st_ino; assert os.pread(h,2,0)==b'hi'",
    ),
    "o_tmpfile": (
        "h=os.open(\"/data\",os.O_RDWR|os.O_TMPFILE); os.write(h,b'hi')",
        "assert os.pread(h,2,0)==b'hi'",
    ),
    "deleted folder open and cwd": (
        'os.mkdir("/data/dd"); os.chdir("/data/dd"); h=os.open(".",os.O_RDONLY); os.rmdir("/data/dd")',
        "os.fstat(h)",
    ),
    "mapped deleted exe-like": (
        """
h=os.open("/data/lib",os.O_RDWR|os.O_CREAT); os.write(h,b'y'*8192)
v=mmap.mmap(h,8192,flags=mmap.MAP_PRIVATE); os.close(h); os.unlink('/data/lib')
""",
        "assert v[:3]==b'yyy'",
    ),
    "big memfd hole": (
        "h=os.memfd_create(\"x\"); os.ftruncate(h,64<<20); os.pwrite(h,b'z',(63<<20))",
        "assert os.pread(h,1,63<<20)==b'z' and os.fstat(h).st_size==64<<20",
    ),
    "ns fd": (
        "h=os.open('/proc/self/ns/net',os.O_RDONLY); k=os.open('/proc/self/ns/mnt',os.O_RDONLY)",
        "assert os.fstat(h).st_ino==os.stat('/proc/self/ns/net').st_ino",
    ),
    "proc files": (
        """
h=open('/proc/self/status'); k=open('/proc/meminfo'); m=open('/proc/1/stat')
n=os.open('/proc/self/task',os.O_RDONLY); o=open('/proc/self/maps'); o.read(100)
""",
        "h.seek(0); assert 'Name' in h.read(); k.seek(0); k.read(); m.seek(0); m.read(); os.listdir(n)",
    ),
    "proc of a dead one": (
        """
pid=os.fork()
if pid==0: time.sleep(1e6)
h=open(f'/proc/{pid}/stat'); k=os.open(f'/proc/{pid}',os.O_RDONLY); os.kill(pid,9); os.waitpid(pid,0)
""",
        "pass",
    ),
    "sys files": (
        """
h=open('/sys/kernel/mm/transparent_hugepage/enabled'); k=open('/sys/class/net/eth0/statistics/rx_bytes')
""",
        "h.seek(0); h.read(); k.seek(0); int(k.read())",
    ),
    "cgroup files": (
        "h=open('/sys/fs/cgroup/cgroup.events'); k=os.open('/sys/fs/cgroup',os.O_RDONLY)",
        "h.seek(0); assert 'populated' in h.read(); os.listdir(k)",
    ),
    "inotify on cgroup": (
        "h=libc.inotify_init1(0); assert libc.inotify_add_watch(h,b'/sys/fs/cgroup/cgroup.events',2)>=0",
        "pass",
    ),
    "dnotify": (
        """
h=os.open('/data',0); fcntl.fcntl(h,fcntl.F_SETSIG,40); fcntl.fcntl(h,fcntl.F_NOTIFY,4|0x80000000)
signal.signal(40,signal.SIG_IGN)
""",
        "pass",
    ),
    "ofd lock": (
        """
h=os.open('/data/ofd',os.O_RDWR|os.O_CREAT); fcntl.fcntl(h,37,struct.pack('hhqqi',1,0,0,0,0)+bytes(4))
""",
        """
k=os.open('/data/ofd',os.O_RDWR)
try: fcntl.fcntl(k,37,struct.pack('hhqqi',1,0,0,0,0)+bytes(4)); raise AssertionError('lock is lost')
except (BlockingIOError,PermissionError): os.close(k)
""",
    ),
    "lease": (
        """
h=os.open('/data/le',os.O_RDWR|os.O_CREAT); signal.signal(signal.SIGIO,signal.SIG_IGN)
fcntl.fcntl(h,fcntl.F_SETLEASE,fcntl.F_WRLCK)
""",
        "assert fcntl.fcntl(h,fcntl.F_GETLEASE)==fcntl.F_WRLCK",
    ),
    "async io owner": (
        """
r,w=os.pipe(); fcntl.fcntl(r,fcntl.F_SETOWN,os.getpid()); fcntl.fcntl(r,fcntl.F_SETSIG,41)
signal.signal(41,signal.SIG_IGN)
""",
        "assert fcntl.fcntl(r,fcntl.F_GETOWN)==os.getpid() and fcntl.fcntl(r,fcntl.F_GETSIG)==41",
    ),
    "aio": (
        """
c=ctypes.c_ulong(); assert libc.syscall(206,16,ctypes.byref(c))==0, os.strerror(ctypes.get_errno())
""",
        """
ev=ctypes.create_string_buffer(64); ts=(ctypes.c_long*2)(0,0); assert libc.syscall(208,c,0,1,ev,ts)==0
""",
    ),
    "o_path": (
        "h=os.open('/data',os.O_PATH); k=os.open('/etc/passwd',os.O_PATH)",
        "os.fstat(h)",
    ),
    "fd of root image file": (
        "h=open('/etc/passwd'); h.readline()",
        "h.readline(); h.seek(0)",
    ),
    "nice and scheduler": (
        "os.nice(3); os.sched_setscheduler(0,3,os.sched_param(0))",
        "got=(os.getpriority(0,0),os.sched_getscheduler(0)); assert got==(3,3), got",
    ),
    "membarrier": (
        "assert libc.syscall(324,16,0,0)==0",
        "assert libc.syscall(324,8,0,0)==0, os.strerror(ctypes.get_errno())",
    ),
    "tmpfs full of files": (
        "import pathlib; [pathlib.Path(f'/dev/shm/f{n}').write_text(str(n)) for n in range(3000)]",
        "assert all(open(f'/dev/shm/f{n}').read()==str(n) for n in range(3000))",
    ),
    "xattr acl hardlink sparse": (
        """
h=os.open('/data/sp',os.O_RDWR|os.O_CREAT); os.ftruncate(h,1<<30); os.pwrite(h,b'e',(1<<30)-1)
os.setxattr('/data/sp','user.x',b'v'); os.symlink('nowhere','/data/sl'); os.utime('/data/sp',(1,2))
os.chmod('/data/sp',0o640)
""",
        """
s=os.stat('/data/sp'); assert s.st_size==1<<30 and s.st_blocks<9999, s
assert os.getxattr('/data/sp','user.x')==b'v'; assert os.readlink('/data/sl')=='nowhere'
assert (s.st_mtime,s.st_mode&0o777)==(2,0o640), s
""",
    ),
    "dev shm by root of mapped dev zero": (
        """
v=mmap.mmap(-1,1<<20); z=os.open('/dev/zero',os.O_RDWR); v2=mmap.mmap(z,8192,flags=mmap.MAP_SHARED)
v2[0]=7
""",
        "assert v2[0]==7",
    ),
}
"""What it is: how it is made, and how one sees that it is as it was."""

AS_ROOT: Final = {
    "a folder as its root": (
        """
pid=os.fork()
if pid==0: os.chroot('/data'); os.chdir('/'); time.sleep(1e6)
time.sleep(.2)
""",
        "assert os.readlink(f'/proc/{pid}/root') == '/data'",
    ),
}
