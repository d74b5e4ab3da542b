"""Runs a program as a systemd unit would have it run, as far as that goes without systemd as process 1.

    restricted.py UNIT FOLDER COMMAND...    as root; FOLDER is what the unit's user may write besides /tmp

Applied as the unit's text says: UnsetEnvironment=, PrivateUsers=, UMask=, ProtectSystem=, ProtectHome=, PrivateTmp=, ProtectProc=, ProcSubset=,
CapabilityBoundingSet=, NoNewPrivileges=, LimitCORE=, LimitNOFILE=, SystemCallFilter=, RestrictAddressFamilies=,
RestrictNamespaces=, RestrictRealtime=. Not applied: what is the cgroup's (DeviceAllow=, TasksMax=), PrivateDevices=.
"""

import ctypes
import os
import resource
import subprocess
import sys

unit, folder, *command = sys.argv[1:]
uid = 54321  # nobody else's


with open(unit) as file:
    lines = file.readlines()


def settings(name):
    return [line.split("=", 1)[1].strip() for line in lines if line.startswith(name + "=")]


def is_on(name):
    return settings(name) == ["yes"]


libc = ctypes.CDLL("libc.so.6", use_errno=True)
seccomp = ctypes.CDLL("libseccomp.so.2")
seccomp.seccomp_init.restype = ctypes.c_void_p


def check(result, what):
    if result < 0:
        raise OSError(ctypes.get_errno() or -result, what)


def mount(source, target, kind="", flags=0, options=""):
    check(libc.mount(source.encode(), target.encode(), kind.encode(), flags, options.encode()), f"mount {target}")


READ_ONLY, REMOUNT, BIND, RECURSIVE, PRIVATE = 1, 32, 4096, 16384, 1 << 18


def restrict_files():
    check(libc.unshare(0x00020000), "unshare")  # CLONE_NEWNS
    mount("none", "/", flags=PRIVATE | RECURSIVE)
    os.chown(folder, uid, uid)
    if settings("ProtectSystem") == ["strict"]:
        mount(folder, folder, flags=BIND)
        mount("none", "/", flags=REMOUNT | BIND | READ_ONLY)
    # Every command's own path stays visible, wherever the test has put it.
    kept = {path: os.open(path, os.O_PATH) for path in [folder, command[0]]}
    hidden = ["/tmp", "/var/tmp"] if is_on("PrivateTmp") else []
    if is_on("ProtectHome"):
        hidden += ["/home", "/root", "/run/user"]
    for path in filter(os.path.isdir, hidden):
        mount("tmpfs", path, "tmpfs", options="mode=1777" if "tmp" in path else "mode=0755")
    for path, descriptor in kept.items():
        if os.path.exists(path):
            continue
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        os.mkdir(path) if path == folder else open(path, "x").close()
        mount(f"/proc/self/fd/{descriptor}", path, flags=BIND)
    options = (["subset=pid"] if settings("ProcSubset") == ["pid"] else []) + (
        ["hidepid=invisible"] if settings("ProtectProc") == ["invisible"] else []
    )
    mount("proc", "/proc", "proc", options=",".join(options))


def private_users():
    """Of all users this process then knows root and itself; another one, which is still root, has to say so."""
    this = os.getpid()
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.read(reading, 1)
        for kind in ["uid", "gid"]:
            with open(f"/proc/{this}/{kind}_map", "w") as file:
                file.write(f"0 0 1\n{uid} {uid} 1\n")
        os._exit(0)
    check(libc.unshare(0x10000000), "unshare")  # CLONE_NEWUSER
    os.write(writing, b".")
    _, status = os.wait()
    assert status == 0
    os.close(reading)
    os.close(writing)


def system_calls(group):
    """The names in a group, those of the groups in it included."""
    text = subprocess.run(["systemd-analyze", "syscall-filter", group], check=True, capture_output=True, text=True).stdout
    names = [line.strip() for line in text.splitlines()[1:]]
    names = [name for name in names if name and not name.startswith("#")]
    return {each for name in names for each in (system_calls(name) if name.startswith("@") else [name])}


class Argument(ctypes.Structure):
    _fields_ = [("index", ctypes.c_uint), ("how", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


EPERM, ENOSYS, EAFNOSUPPORT = 1, 38, 97
ALLOW, ERROR = 0x7FFF0000, 0x00050000
EQUAL, GREATER, MASKED_EQUAL = 4, 6, 7


def refuse(name, error, *arguments):
    number = seccomp.seccomp_syscall_resolve_name(name.encode())
    array = (Argument * len(arguments))(*arguments)
    if number >= 0:  # else this machine has no such call
        check(seccomp.seccomp_rule_add_array(filter_, ERROR | error, number, len(arguments), array), name)


def restrict_calls():
    allowed: set[str] = set()
    for words in settings("SystemCallFilter"):
        for word in words.lstrip("~").split():
            names = system_calls(word) if word.startswith("@") else {word}
            allowed = allowed - names if words.startswith("~") else allowed | names
    # systemd adds what any process needs to begin at all.
    allowed |= system_calls("@default")
    for name in sorted(set(known_calls()) - allowed):
        refuse(name, EPERM)
    families = settings("RestrictAddressFamilies")[0].split()
    numbers = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10, "AF_NETLINK": 16}
    for family in set(range(46)) - {numbers[name] for name in families}:
        refuse("socket", EAFNOSUPPORT, Argument(0, EQUAL, family, 0))
    refuse("socket", EAFNOSUPPORT, Argument(0, GREATER, 45, 0))
    if is_on("RestrictNamespaces"):
        for flag in [0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000]:
            for name in ["clone", "unshare"]:
                refuse(name, EPERM, Argument(0, MASKED_EQUAL, flag, flag))
        refuse("setns", EPERM)
        refuse("clone3", ENOSYS)  # its flags are out of a filter's sight
    if is_on("RestrictRealtime"):
        for policy in [1, 2, 6]:  # SCHED_FIFO, SCHED_RR, SCHED_DEADLINE
            refuse("sched_setscheduler", EPERM, Argument(1, EQUAL, policy, 0))
    check(seccomp.seccomp_load(filter_), "seccomp_load")


def known_calls():
    seccomp.seccomp_syscall_resolve_num_arch.restype = ctypes.c_void_p
    for number in range(512):
        name = seccomp.seccomp_syscall_resolve_num_arch(seccomp.seccomp_arch_native(), number)
        if name:
            yield ctypes.string_at(name).decode()


environment = {name: value for name, value in os.environ.items() if name not in settings("UnsetEnvironment")[0].split()}
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
files = int(settings("LimitNOFILE")[0])
resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
filter_ = ctypes.c_void_p(seccomp.seccomp_init(ALLOW))
restrict_files()
os.chdir(folder)
if is_on("PrivateUsers"):
    private_users()
assert settings("CapabilityBoundingSet") == [""] and is_on("NoNewPrivileges")
for capability in range(64):
    libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP; the numbers beyond the last fail
os.umask(int(settings("UMask")[0], 8))
os.setgroups([])
os.setgid(uid)
os.setuid(uid)
check(libc.prctl(38, 1, 0, 0, 0), "no_new_privs")
restrict_calls()
os.execvpe(command[0], command, environment)
