"""Judges what a host shows of itself: what is wrong, why it matters, what to do."""

from __future__ import annotations

from collections.abc import Iterator

from segue.model.checkup import Certificate, Finding, Folder, HostSigns, Level, PeerSigns
from segue.policy import diagnosis_apps as applications
from segue.policy import membership

CERTIFICATE_DAYS = 30
CLOCK_S = 1.0
"""Logs of two hosts are compared by their clocks, and certificates are judged by them; the blackout is not."""
FRAME_BYTES, TUNNEL_BYTES = 1500, 50
"""What a guest sends at most, and what its tunnel adds to an IP packet: the frame's own Ethernet header, VXLAN,
UDP and IP (RFC 7348: 14 + 8 + 8 + 20)."""
SYNC_SLOW_S = 0.05
"""Two such writes are in every blackout."""
SYNC_UNREAL_S = 2e-6
"""No device answers that fast: nothing was written (a file system in memory, or eatmydata)."""
ROOM_BYTES = 1 << 30
MEMORY_FILE_SYSTEMS = frozenset({"tmpfs", "ramfs"})


def examine(signs: HostSigns) -> tuple[Finding, ...]:
    """Every finding, the good ones too, in the order in which an operator would mend them."""
    found = [
        *_qemu(signs),
        *_rights(signs),
        *_network(signs),
        *_trust(signs),
        *_fleet(signs),
        *_storage(signs),
        *_host(signs),
        *applications.examine(signs.apps, signs.folders),
    ]
    return (*found, *(finding for peer in signs.peers for finding in _peer(peer)))


def worst(findings: tuple[Finding, ...]) -> Level:
    """The gravest level among them."""
    return max((finding.level for finding in findings), key=list(Level).index, default=Level.OK)


def _ok(check: str, what: str) -> Finding:
    return Finding(Level.OK, check, what)


def _warn(check: str, what: str, why: str, todo: str) -> Finding:
    return Finding(Level.WARN, check, what, why, todo)


def _fail(check: str, what: str, why: str, todo: str) -> Finding:
    return Finding(Level.FAIL, check, what, why, todo)


def _qemu(signs: HostSigns) -> Iterator[Finding]:
    yield _ok("qemu", f"QEMU {signs.qemu_version}")
    for program in signs.missing_programs:
        yield _fail(
            "qemu",
            f"there is no {program}",
            "disks cannot be made or moved without it",
            "Install it (Debian: apt-get install qemu-utils).",
        )
    if "zstd" not in signs.compressions:
        yield _warn(
            "qemu",
            "QEMU cannot compress memory with zstd",
            "a guest that writes faster than the link has one means less to be moved",
            "Install a QEMU built with zstd, as Debian's is.",
        )
    if signs.accelerator == "kvm":
        yield _ok("kvm", "guests run by KVM")
        return
    why = "the processor shows no vmx or svm: it has none, or the firmware or the hypervisor below hides it"
    todo = "Turn virtualization on in the firmware, or nested virtualization in the hypervisor below."
    if signs.processor_virtualizes:
        why, todo = "there is no /dev/kvm", "Load the module: modprobe kvm_intel or kvm_amd."
    yield _warn("kvm", "guests are emulated (TCG), many times slower", why, todo)


def _rights(signs: HostSigns) -> Iterator[Finding]:
    if signs.user_fault:
        yield _fail(
            "user", "no guest can be started", signs.user_fault, "See qemu_user in docs/reference/agent.md."
        )
    elif signs.shares_user:
        yield _warn(
            "user",
            "new guests share one user",
            "qemu_uids is 0: a guest that breaks out of its QEMU can read the other guests' disks",
            "Leave qemu_uids out of agent.toml.",
        )
    else:
        yield _ok("user", "each guest has a user number of its own")
    if signs.accelerator == "kvm" and signs.kvm_fault:
        yield _fail(
            "kvm",
            "QEMU may not use KVM",
            signs.kvm_fault,
            "usermod -aG kvm segue-qemu, then restart the agent.",
        )
    if signs.userfault:
        yield _warn(
            "post-copy",
            "no guest can arrive here by post-copy",
            signs.userfault,
            "Give /dev/userfaultfd to a group of segue-qemu's (chgrp, chmod 660), by a udev rule to make it last.",
        )
    else:
        yield _ok("post-copy", "QEMU may handle page faults")
    if signs.memfd_fault:
        yield _fail(
            "memory", "guest memory cannot be made", signs.memfd_fault, "Use a kernel with memfd_create."
        )


def _network(signs: HostSigns) -> Iterator[Finding]:
    for facility, fault in sorted(signs.network_faults.items()):
        if fault:
            yield _fail(
                "network",
                f"{facility} does not work",
                fault,
                f"Load or build the kernel's module for {facility}: guests cannot be moved without it.",
            )
        else:
            yield _ok("network", f"{facility} works")
    if signs.conntrack_fault:
        yield _warn(
            "network",
            "connection tracking cannot be read",
            signs.conntrack_fault,
            "Only where this host's firewall is stateful: modprobe nf_conntrack_netlink.",
        )
    if signs.bridge_there:
        yield _ok("network", f"bridge {signs.bridge}, MTU {signs.bridge_mtu}")
    else:
        yield _fail(
            "network",
            f"there is no bridge {signs.bridge}",
            "guests' cards are plugged into it",
            "Make it (docs/how-to/install-an-agent.md), or name another one as `bridge` on every host.",
        )


def _trust(signs: HostSigns) -> Iterator[Finding]:
    yield from _certificate(signs.certificate, signs.name)
    if signs.channels == "off":
        yield _warn(
            "channels",
            "memory and disks travel in plain",
            "channels is 'off' in [tls]",
            "Leave it out of agent.toml, on all hosts, once you have measured.",
        )
    else:
        yield _ok("channels", "memory and disks travel over TLS")
    if signs.failpoints:
        yield _warn(
            "failpoints",
            "this agent can be told to die",
            "failpoints is set: whoever writes that file commands root here",
            "Leave it out of agent.toml, unless this is a rehearsal.",
        )


def _fleet(signs: HostSigns) -> Iterator[Finding]:
    if signs.foreign:
        yield _fail(
            "fleet",
            f"not obeyed: {', '.join(signs.foreign)}",
            f"this host belongs to fleet {membership.short(signs.fleet)}, and that is another one's controller",
            "Take it out of `controllers` in agent.toml; or, if it has an empty store in the place of a lost one, do "
            "what `segue status` says there.",
        )
    elif signs.fleet:
        yield _ok("fleet", f"it belongs to fleet {membership.short(signs.fleet)}")


def _certificate(seen: Certificate, name: str) -> Iterator[Finding]:
    renew = "Renew it and restart the agent; guests run on (docs/how-to/install-an-agent.md)."
    if seen.unreadable:
        yield _fail("certificate", "it cannot be read", seen.unreadable, renew)
        return
    if not seen.signed_by_ca:
        yield _fail("certificate", "no other host trusts it", "the CA in [tls] did not sign it", renew)
    if name not in seen.host_names:
        why = f"it names {', '.join(seen.host_names) or 'no host'}, this host is {name}"
        yield _fail("certificate", "no other host trusts it", why, renew)
    yield _days("certificate", seen.days_left, renew)
    yield _days("CA", seen.ca_days_left, "Make a new CA, and new certificates for all hosts.")
    if seen.key_others_may_read:
        yield _fail(
            "certificate",
            "its key is not root's alone",
            "whoever reads it can speak as this host",
            "chmod 600 on the key; make a new one if others may have read it.",
        )


def _days(whose: str, left: float, todo: str) -> Finding:
    if left <= 0:
        return _fail("certificate", f"the {whose} has expired", f"{-left:.0f} days ago", todo)
    if left < CERTIFICATE_DAYS:
        why = f"{left:.0f} days are left; then no other host answers this one"
        return _warn("certificate", f"the {whose} expires soon", why, todo)
    return _ok("certificate", f"the {whose} is good for {left:.0f} days")


def _storage(signs: HostSigns) -> Iterator[Finding]:
    for folder in signs.folders:
        yield _folder(folder)
        if folder.key == "state_dir" and folder.file_system in MEMORY_FILE_SYSTEMS:
            yield _fail(
                "journal",
                f"{folder.path} is lost with the power",
                f"it is a {folder.file_system}; a host that forgets which guests it gave away could run one twice",
                "Put state_dir on a disk.",
            )
    if signs.sync_s < SYNC_UNREAL_S:
        why = f"a write that must be on the disk took {signs.sync_s * 1e6:.1f} µs"
        yield _fail(
            "journal",
            "its disk does not sync",
            why,
            "Put state_dir on a file system that keeps fsync's promise.",
        )
    elif signs.sync_s > SYNC_SLOW_S:
        why = f"a write takes {signs.sync_s * 1e3:.0f} ms, and two of them are in every blackout"
        yield _warn("journal", "its disk is slow", why, "Put state_dir on a faster disk.")
    else:
        yield _ok("journal", f"a durable write takes {signs.sync_s * 1e3:.1f} ms")


def _folder(folder: Folder) -> Finding:
    if folder.fault:
        todo = f"Make it, mount it, or correct {folder.key} in agent.toml."
        return _fail("storage", f"{folder.key} {folder.path} cannot be used", folder.fault, todo)
    if folder.free_bytes < min(ROOM_BYTES, folder.total_bytes // 20):
        why = f"{folder.free_bytes >> 20} MiB of {folder.total_bytes >> 20} MiB are free"
        return _warn("storage", f"{folder.path} is nearly full", why, "Make room.")
    return _ok(
        "storage", f"{folder.key} {folder.path} ({folder.file_system}), {folder.free_bytes >> 30} GiB free"
    )


def _host(signs: HostSigns) -> Iterator[Finding]:
    if signs.promised_bytes > signs.memory_total_bytes:
        promised, there = signs.promised_bytes >> 20, signs.memory_total_bytes >> 20
        why = f"{promised} MiB are promised to guests, the host has {there} MiB"
        yield _fail("memory", "more is promised than there is", why, "Move a guest away.")
    if signs.overcommit == 2:
        yield _warn(
            "memory",
            "the kernel refuses memory that is only promised",
            "vm.overcommit_memory is 2, and QEMU asks for all of a guest's memory at once",
            "sysctl vm.overcommit_memory=0: segue itself promises no more than there is.",
        )
    if signs.service:
        yield _ok("service", f"the agent is kept running by {signs.service}")
    else:
        yield _warn(
            "service",
            "nobody starts this agent again",
            "a guest in the middle of its handoff would wait for it",
            "Run it as a service: packaging/segue-agent.service.",
        )


def _peer(peer: PeerSigns) -> Iterator[Finding]:
    check = f"peer {peer.name}"
    if peer.fault:
        todo = f"Look at the certificate and the name of {peer.name}, and at both clocks."
        if not peer.not_trusted:
            todo = f"Look whether {peer.name} and its agent run, and whether [peers] has its address."
        yield _fail(check, "it cannot be spoken to", peer.fault, todo)
        return
    for misfit in peer.misfits:
        yield _fail(check, "guests cannot go there", misfit, "Make both hosts alike in this.")
    if not peer.misfits:
        yield _ok(check, "it answers, and both speak alike")
    off_s = abs(peer.clock_offset_s) - peer.clock_uncertainty_s
    if off_s > CLOCK_S:
        why = f"they are {abs(peer.clock_offset_s):.1f} s apart"
        yield _warn(check, "the clocks differ", why, "Have NTP keep both (chrony, systemd-timesyncd).")
    yield _width(check, peer.widest_bytes)


def _width(check: str, widest: int) -> Finding:
    wanted = FRAME_BYTES + TUNNEL_BYTES
    if widest >= wanted:
        return _ok(check, f"packets of {widest} bytes pass")
    if not widest:
        why = "no answer to a ping of any size: a firewall, or no path"
        return _warn(check, "the path's MTU is not known", why, "Let ICMP echo pass between hosts.")
    why = f"{widest} bytes pass, {wanted} are needed: a guest's frame and {TUNNEL_BYTES} bytes of the tunnel"
    todo = "Set an MTU of 1,600 on the links and switches between the hosts, or a smaller one in the guests."
    return _warn(check, "full-sized frames are lost while a guest moves", why, todo)
