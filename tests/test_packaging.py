"""What a distribution and an operator expect around the binary: service manager, man pages, completion, installation."""
import contextlib
import ctypes
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import time

import pytest

import kit

LISTEN = "allow_anonymous true\nworkers 2\n"


# ---- the service manager ----

def needs_systemd():
    linked = subprocess.run(["ldd", kit.SIGNET], capture_output=True, text=True).stdout
    if "libsystemd" not in linked:
        pytest.skip("this build has no libsystemd")


class Manager:
    """systemd's end of NOTIFY_SOCKET: what was said, in order."""

    def __init__(self):
        # A name without a file: whoever the broker becomes can reach it, as with systemd's own.
        name = f"signet-test-{os.getpid()}-{time.monotonic_ns()}"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + name)
        self.env = {"NOTIFY_SOCKET": "@" + name}

    def next(self, seconds=kit.PATIENCE):
        """One message as a dictionary; None when nobody says anything."""
        self.socket.settimeout(seconds)
        try:
            text = self.socket.recv(4096).decode()
        except TimeoutError:
            return None
        return dict(line.split("=", 1) for line in text.splitlines())

    def wait(self, key):
        """The next message that says <key>, signs of life left out."""
        end = time.monotonic() + kit.PATIENCE
        while time.monotonic() < end:
            message = self.next()
            if message is not None and key in message:
                return message
            assert message is None or set(message) == {"WATCHDOG"}, message
        raise AssertionError(f"nobody said {key}")

    def quiet(self, seconds):
        """Is nothing said for so long?"""
        end = time.monotonic() + kit.PATIENCE
        while time.monotonic() < end:
            if self.next(seconds) is None:
                return True
        return False


@pytest.fixture
def manager():
    needs_systemd()
    manager = Manager()
    yield manager
    manager.socket.close()


def test_ready_reload_and_stop_are_told(manager, broker_of):
    port = kit.free_port()
    broker = broker_of(f"listener {port} 127.0.0.1\n{LISTEN}{kit.STAY_ROOT}", port, env=manager.env)
    ready = manager.wait("READY")
    assert ready == {"READY": "1", "STATUS": "Running: 1 listener, 2 workers."}
    broker.reload()
    reloading = manager.wait("RELOADING")
    assert reloading["RELOADING"] == "1"
    assert int(reloading["MONOTONIC_USEC"]) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert manager.wait("READY") == ready
    broker.conf.write_text("no_such_directive\n")
    broker.process.send_signal(signal.SIGHUP)
    manager.wait("RELOADING")
    failed = manager.wait("READY")
    assert "reload failed" in failed["STATUS"]
    assert broker.listens(port)
    assert broker.stop() == 0
    assert manager.wait("STOPPING")["STOPPING"] == "1"


def test_ready_comes_when_the_ports_are_open(manager, tmp_path):
    """The one moment that Type=notify is for: whoever connects after READY=1 gets in, at the first try."""
    port = kit.free_port()
    broker = kit.Broker(tmp_path / "b", f"listener {port} 127.0.0.1\n{LISTEN}", [], env=manager.env).start()
    try:
        manager.wait("READY")
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    finally:
        assert broker.stop() == 0


def test_nobody_is_told_of_a_start_that_fails(manager, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        conf = tmp_path / "taken.conf"
        conf.write_text(f"listener {taken.getsockname()[1]} 127.0.0.1\n{LISTEN}")
        assert kit.signet("broker", "-c", conf, check=False, env=manager.env).returncode == 1
    assert manager.next(0.01) is None


@contextlib.contextmanager
def stopped_thread(pid, name):
    """One thread of another process stands still, as in a turn that does not end."""
    seize, interrupt, detach, wait_all = 0x4206, 0x4207, 17, 0x40000000
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    libc.ptrace.restype = ctypes.c_long
    tid = next(int(task.name) for task in pathlib.Path(f"/proc/{pid}/task").iterdir()
               if (task / "comm").read_text().strip() == name)
    if libc.ptrace(seize, tid, None, None) == -1:
        pytest.skip(f"threads cannot be stopped here: {os.strerror(ctypes.get_errno())}")
    try:
        assert libc.ptrace(interrupt, tid, None, None) == 0
        os.waitpid(tid, wait_all)
        yield
    finally:
        assert libc.ptrace(detach, tid, None, None) == 0


@pytest.mark.parametrize("worker", ["worker-0", "worker-1"])
def test_watchdog_is_fed_while_all_workers_turn(manager, broker_of, worker):
    port = kit.free_port()
    broker = broker_of(f"listener {port} 127.0.0.1\n{LISTEN}", port,
                       env={**manager.env, "WATCHDOG_USEC": "1000000"})
    manager.wait("READY")
    for _ in range(3):
        assert manager.next(kit.PATIENCE) == {"WATCHDOG": "1"}
    mark = broker.mark()
    with stopped_thread(broker.process.pid, worker):
        broker.wait_log(f"{worker.replace('worker-', 'Worker ')} has been busy", mark)
        assert manager.quiet(1)
    broker.wait_log("turns again", mark)
    assert manager.next() == {"WATCHDOG": "1"}


def test_watchdog_of_another_process_is_none(manager, broker_of):
    port = kit.free_port()
    broker_of(f"listener {port} 127.0.0.1\n{LISTEN}", port,
              env={**manager.env, "WATCHDOG_USEC": "20000", "WATCHDOG_PID": "1"})
    manager.wait("READY")
    assert manager.next(0.5) is None


class Activated(kit.Broker):
    """A broker that is given sockets, as systemd gives them: descriptors from 3 on."""

    def __init__(self, directory, conf, sockets, **more):
        super().__init__(directory, conf, [], **more)
        self.sockets = sockets

    def start(self):
        # The shell writes its own id, which the broker then has, and puts the sockets where they belong.
        shell = "export LISTEN_PID=$$; exec " + " ".join(
            f"{3 + i}<&{100 + i} {100 + i}<&-" for i in range(len(self.sockets))) + '; exec "$@"'

        def place():
            for i, one in enumerate(self.sockets):
                os.dup2(one.fileno(), 100 + i)
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen(
                ["/bin/bash", "-c", shell, "bash", kit.SIGNET, "broker", "-c", str(self.conf)], stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, preexec_fn=place, close_fds=False,
                env={**os.environ, **(self.env or {}), "LISTEN_FDS": str(len(self.sockets))})
        return self


@pytest.fixture
def activated(manager, tmp_path):
    running = []

    def start(conf, *sockets):
        broker = Activated(tmp_path / f"activated{len(running)}", conf, sockets, env=manager.env)
        running.append(broker)
        broker.start()
        manager.wait("READY")
        return broker

    yield start
    for broker in running:
        assert broker.stop() == 0, broker.log()[-6000:]


def tcp_socket(address="127.0.0.1", family=socket.AF_INET, only=None):
    one = socket.socket(family)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if only is not None:
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
    one.bind((address, 0))
    one.listen(100)
    return one


def echo(port, topic, host="127.0.0.1"):
    """A message goes round."""
    client = kit.Client(None, topic, port=port, host=host)
    client.subscribe(topic, qos=1)
    client.publish(topic, b"x", qos=1)
    assert client.message().payload == b"x"
    client.close()


def test_sockets_are_taken_and_survive(manager, activated, topic):
    """A client that comes between two brokers waits in the queue of the socket; nobody is refused."""
    with tcp_socket() as one:
        port = one.getsockname()[1]
        conf = f"listener {port} 127.0.0.1\n{LISTEN}"
        first = activated(conf, one)
        assert re.search(rf"Listening on 127.0.0.1:{port} \(not encrypted, socket passed in\)", first.log())
        for _ in range(20):
            echo(port, topic)
        assert first.stop() == 0
        manager.wait("STOPPING")
        with socket.create_connection(("127.0.0.1", port), timeout=5) as early:
            early.sendall(b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04late")
            activated(conf, one)
            early.settimeout(kit.PATIENCE)
            assert early.recv(4) == b"\x20\x02\x00\x00"


def test_only_the_matching_listener_takes_a_socket(activated, topic):
    """The other listener opens its own, and a socket without a listener is named."""
    other = kit.free_port()
    with tcp_socket() as one, tcp_socket() as spare:
        port, unused = one.getsockname()[1], spare.getsockname()[1]
        broker = activated(f"listener {other} 127.0.0.1\nlistener {port} 127.0.0.1\n{LISTEN}", spare, one)
        echo(port, topic)
        echo(other, topic)
        assert re.search(rf"A socket was passed in \(127.0.0.1:{unused}\) that no listener", broker.log())
        assert "socket passed in" not in re.search(rf"Listening on 127.0.0.1:{other} .*", broker.log()).group()


def test_unix_socket_is_left_where_it_is(activated, tmp_path):
    path = tmp_path / "mqtt.sock"
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))
        one.listen(10)
        broker = activated(f"listener 0 {path}\n{LISTEN}", one)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04unix")
            client.settimeout(kit.PATIENCE)
            assert client.recv(4) == b"\x20\x02\x00\x00"
        assert broker.stop() == 0
        assert path.is_socket()


def has_ipv6():
    try:
        tcp_socket("::1", socket.AF_INET6).close()
        return True
    except OSError:
        return False


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")
def test_one_socket_for_both_families(activated, topic):
    """ListenStream=8883 of a .socket unit is [::]:8883 and takes IPv4 as well."""
    with tcp_socket("::", socket.AF_INET6, 0) as one:
        port = one.getsockname()[1]
        broker = activated(f"listener {port}\n{LISTEN}", one)
        assert len(re.findall("socket passed in", broker.log())) == 2
        echo(port, topic)
        echo(port, topic, "::1")


def refused_start(tmp_path, conf, *sockets):
    broker = Activated(tmp_path / "refused", conf, sockets).start()
    assert broker.process.wait(kit.PATIENCE) == 1
    return broker.log()


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")
def test_socket_that_lets_in_more_is_refused(manager, tmp_path):
    with tcp_socket("::", socket.AF_INET6, 0) as one:
        port = one.getsockname()[1]
        log = refused_start(tmp_path, f"listener {port}\nsocket_domain ipv6\n{LISTEN}", one)
        assert "BindIPv6Only=ipv6-only" in log


def test_socket_without_the_interface_is_refused(manager, tmp_path):
    with tcp_socket() as one:
        port = one.getsockname()[1]
        log = refused_start(tmp_path, f"listener {port} 127.0.0.1\nbind_interface lo\n{LISTEN}", one)
        assert "BindToDevice=lo" in log


def test_sockets_of_another_process_are_not_ours(manager, broker_of):
    port = kit.free_port()
    broker = broker_of(f"listener {port} 127.0.0.1\n{LISTEN}", port, env={"LISTEN_FDS": "1", "LISTEN_PID": "1"})
    assert "passed in" not in broker.log()


# ---- what is made of the tables ----

DIST = pathlib.Path(kit.SIGNET).resolve().parents[2] / "dist"
PAGES = ["signet.1", "signet-init.1", "signet-ca.1", "signet-device.1", "signet-doctor.1", "signet-why.1", "signet-backup.1", "signet-restore.1", "signet-retrieve.1", "signet-enrol.1", "signet-explain.1", "signet-policy.1", "signet-inspect.1", "signet-passwd.1",
         "signet-pub.1", "signet-sub.1", "signet-store.1", "signet-registry.1", "signet-audit.1", "signet-control.1", "signet-rr.1", "signet-broker.8", "signet-serve.8", "signet.conf.5"]
made = pytest.mark.skipif(not (DIST / "signet.1").exists(), reason="this binary is not in a build folder")


def described():
    """(key, value) of `signet --describe`, values cut to their first line."""
    lines = kit.signet("--describe").stdout.splitlines()
    return [tuple(line.split("\t", 1)) for line in lines if not line.startswith("\t")]


def needs(program):
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    return program


def rendered(page):
    """The page as a reader sees it, and what the formatter had to complain about."""
    result = subprocess.run([needs("man"), "--warnings", "-E", "UTF-8", "-Tutf8", "-l", str(DIST / page)], capture_output=True,
                            text=True, env={**os.environ, "MANWIDTH": "200", "LC_ALL": "C.UTF-8", "MANROFFSEQ": "", "TERM": "dumb",
                                            "MAN_KEEP_FORMATTING": "", "GROFF_NO_SGR": "1"})
    assert result.returncode == 0, result.stderr
    return re.sub(".\b", "", result.stdout), result.stderr


@made
@pytest.mark.parametrize("page", PAGES)
def test_pages_render_without_a_warning(page):
    text, complaints = rendered(page)
    assert complaints == ""
    headings = ["NAME", "SYNOPSIS", "DESCRIPTION", "EXAMPLES", "SEE ALSO"]
    if not page.startswith("signet.conf"):
        headings += ["EXIT STATUS"]
    for heading in headings:
        assert re.search(rf"^{heading}$\n\s+\S", text, re.M), f"{page} has no {heading}"
    assert not re.search("@[A-Z]{3,}@", text), "a placeholder was left"


@made
@pytest.mark.parametrize("page", PAGES)
def test_pages_have_no_fault_that_mandoc_knows(page):
    result = subprocess.run([needs("mandoc"), "-Tlint", "-W", "warning", str(DIST / page)], capture_output=True, text=True)
    assert (result.returncode, result.stdout + result.stderr) == (0, "")


@made
def test_every_command_option_and_directive_has_its_place():
    command, pages = None, {}
    options = 0
    for key, value in described():
        if key == "command":
            command = value
            section = 8 if command in ("broker", "serve") else 1
            pages[command] = rendered(f"signet-{command}.{section}")[0]
            assert f"signet-{command}({section})" in rendered("signet.1")[0]
        elif key == "directive":
            pages.setdefault("directives", rendered("signet.conf.5")[0])
            assert re.search(rf"^ +{re.escape(value)} ", pages["directives"], re.M), value
        elif key == "name" or (key == "option" and value):
            options += 1
            assert re.search(rf"^ +(-\w, )?{re.escape(value)}\b", pages[command], re.M), f"{command} {value}"
    assert set(pages) == {page.split(".")[0].removeprefix("signet-") for page in PAGES if page.startswith("signet-")} | {"directives"}
    assert options > 100


BASH = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
compopt() { :; }
$(complete -p signet | sed 's/.*-F \\([^ ]*\\).*/\\1/')
printf '%s\\n' "${COMPREPLY[@]}"
"""


def bash_completes(folder, *words):
    result = subprocess.run([needs("bash"), "--norc", "--noprofile", "-uc", BASH, "bash", str(DIST / "signet"), *words],
                            capture_output=True, text=True, cwd=folder)
    assert (result.returncode, result.stderr) == (0, "")
    return set(result.stdout.split("\n")) - {""}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a file.conf").write_text("")
    (tmp_path / "a folder").mkdir()
    (tmp_path / "b.pem").write_text("")
    return tmp_path


KEY_TYPES = {"p256", "p384", "p521", "rsa2048", "rsa3072", "rsa4096", "rsa8192"}
COMPLETIONS = [
    (["signet", "p"], {"pub", "passwd", "policy"}),
    (["signet", "ca", ""], {"issue", "sign", "list", "show", "export", "adopt", "trust", "revoke", "ocsp"}),
    (["signet", "device", ""], {"add", "bundle", "pending", "approve", "refuse", "token", "tokens", "withdraw"}),
    (["signet", "init", "--p"], {"--port", "--policy", "--passphrase-file", "--pkcs11"}),
    (["signet", "init", "--key-type", ""], KEY_TYPES),
    (["signet", "init", "--key-type", "=", "rsa2"], {"rsa2048"}),
    (["signet", "init", "--key-type", "="], KEY_TYPES),
    (["signet", "ca", "issue", "--ca", "c"], {"client", "control", "cloud"}),
    (["signet", "ca", "issue", "--dir", "a"], {"a folder"}),
    (["signet", "ca", "issue", "x"], set()),
    (["signet", "broker", "-c", "a"], {"a file.conf", "a folder"}),
    (["signet", "broker", "--t"], {"--test-config"}),
    (["signet", "pub", "-q", ""], {"0", "1", "2"}),
    (["signet", "pub", "--file", "b"], {"b.pem"}),
    (["signet", "pub", "-m", ""], set()),
    (["signet", "sub", "-V", "mqttv3"], {"mqttv31", "mqttv311"}),
    (["signet", "inspect", "b"], {"b.pem"}),
    (["signet", "passwd", "-H", "sha"], {"sha512", "sha512-pbkdf2"}),
    (["signet", "no-such-command", ""], set()),
]


@made
@pytest.mark.parametrize("words, expected", COMPLETIONS, ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_bash_completes(folder, words, expected):
    assert bash_completes(folder, *words) == expected


@made
def test_bash_knows_every_command_and_option(folder):
    command, options = None, []
    assert bash_completes(folder, "signet", "") == {value for key, value in described() if key == "command"}
    for key, value in described():
        if key == "command":
            command, options = [value], []
        elif key == "subcommand":
            command = [command[0], value]
        elif key == "name":
            options.append((command, value))
            assert value in bash_completes(folder, "signet", *command, value), f"{command} {value}"


# zsh completes in an interactive shell only: one is run in a terminal of its own, and says what was offered for a line.
ZSH_SETUP = r"""
PROMPT=
fpath=("$SETUP" $fpath)
autoload -Uz compinit
compinit -u -d "$SETUP/dump"
cd "$FOLDER"
compadd() {
	local -a hits
	if [[ "${(@)@[1,(i)(-|--)]}" != *-[OAD]\ * ]]; then
		builtin compadd -A hits "$@"
		(( $#hits )) && print -l -r -- "HIT"$^hits
	fi
	builtin compadd "$@"
}
zle -C complete-word complete-word _main_complete
bindkey '^I' complete-word
zle-line-init() { print READY } # only now the terminal is the editor's
zle -N zle-line-init
"""
ZSH = r"""
zmodload zsh/zpty
zpty z "TERM=dumb zsh -f -i"
zpty -w z "source $SETUP/setup.zsh"
while zpty -r z line; do [[ $line == *READY* ]] && break; done
zpty -w -n z "$LINE"$'\t'
zpty -w -n z $'\C-u'"print DO""NE"$'\n'
while zpty -r z line; do print -r -- "$line"; [[ $line == *DONE* && $line != *print* ]] && break; done
zpty -d z
"""


@made
@pytest.mark.parametrize("line, expected", [
    ("signet p", {"pub", "passwd"}),
    ("signet ca ex", {"export"}),
    ("signet init --key-type rsa2", {"rsa2048"}),
    ("signet ca issue --ca c", {"client", "control", "cloud"}),
    ("signet pub --reta", {"--retain"}),
    ("signet inspect b", {"b.pem"}),
])
def test_zsh_completes(folder, line, expected):
    setup = folder / "setup"
    setup.mkdir()
    shutil.copy(DIST / "_signet", setup / "_signet")
    (setup / "setup.zsh").write_text(ZSH_SETUP)
    result = subprocess.run([needs("zsh"), "-fc", ZSH], capture_output=True, text=True, timeout=kit.PATIENCE,
                            env={**os.environ, "SETUP": str(setup), "FOLDER": str(folder), "LINE": line})
    hits = set(re.findall(r"HIT([\w.-]+)", result.stdout))
    assert hits >= expected, result.stdout + result.stderr


@made
def test_zsh_completion_is_well_formed():
    result = subprocess.run([needs("zsh"), "-n", str(DIST / "_signet")], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")


# ---- the unit, and what is installed ----

@made
def test_unit_has_what_it_promises():
    unit = (DIST / "signet.service").read_text()
    assert "@" not in re.sub(r"@system-service|@privileged|@resources", "", unit)
    for line in ["User=signet", "NoNewPrivileges=yes", "ProtectSystem=strict", "MemoryDenyWriteExecute=yes", "LimitCORE=0",
                 "CapabilityBoundingSet=", "ExecReload=kill -HUP $MAINPID"]:
        assert line in unit.splitlines()
    linked = "libsystemd" in subprocess.run(["ldd", kit.SIGNET], capture_output=True, text=True).stdout
    assert ("Type=notify" in unit, "WatchdogSec=" in unit) == (linked, linked)


@made
def test_unit_is_little_exposed():
    result = subprocess.run([needs("systemd-analyze"), "security", "--offline=yes", "--no-pager", str(DIST / "signet.service")],
                            capture_output=True, text=True)
    found = re.search(r"exposure level for \S+: ([\d.]+)", result.stdout)
    if not found:
        pytest.skip("this systemd-analyze cannot look at files")
    assert float(found[1]) <= 1.5


@made
@pytest.mark.skipif(shutil.which("meson") is None, reason="meson is not installed")
def test_everything_is_installed(tmp_path):
    build = DIST.parent
    result = subprocess.run(["meson", "install", "--no-rebuild", "--quiet", "-C", str(build), "--destdir", str(tmp_path)],
                            capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    found = {str(path.relative_to(tmp_path)): path.stat().st_mode & 0o7777 for path in tmp_path.rglob("*") if path.is_file()}
    prefix = next(name for name in found if name.endswith("bin/signet")).removesuffix("bin/signet")
    expected = {"share/bash-completion/completions/signet", "share/zsh/site-functions/_signet", "lib/systemd/system/signet.service",
                "lib/sysusers.d/signet.conf", "lib/tmpfiles.d/signet.conf", "share/doc/signet/LICENSE",
                *(f"share/man/man{page[-1]}/{page}" for page in PAGES)}
    assert expected <= {name.removeprefix(prefix) for name in found}
    assert found[prefix + "bin/signet"] == 0o755
    assert {name: oct(mode) for name, mode in found.items() if mode != (0o755 if name.endswith("bin/signet") else 0o644)} == {}


def test_make_install_passes_the_paths_on(tmp_path):
    """What make would run: the paths are configured before anything is built with them."""
    out = subprocess.run(["make", "-n", "install", "PREFIX=/usr", f"DESTDIR={tmp_path}"], cwd=kit.ROOT, capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    configure, build, install = (out.stdout.index(word) for word in ("-Dprefix=/usr -Dsysconfdir=/etc", "ninja -C", "meson install"))
    assert configure < build < install
    assert f"--destdir {tmp_path}" in out.stdout


@made
@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="needs root, to become somebody else")
def test_the_service_can_read_what_the_manual_has_it_read(tmp_path):
    """The commands of docs/service.md, with another group than signet's, which is not here."""
    site = tmp_path / "etc"
    for parent in (tmp_path, *tmp_path.parents):
        if parent.stat().st_mode & 0o001 == 0 and parent.stat().st_uid == 0 and str(parent).startswith("/tmp/"):
            parent.chmod(0o711)
    kit.signet("init", "--dir", site, "--host", "localhost", "--no-passphrase")
    manual = (kit.ROOT / "docs/service.md").read_text()
    commands = re.findall(r"^ch(?:grp|mod) .*$", manual, re.M)
    assert len(commands) == 3
    script = "\n".join(commands).replace("chgrp signet", "chgrp 12345")
    subprocess.run(["sh", "-euc", script], cwd=site, check=True)
    shutil.copy(kit.SIGNET, tmp_path / "signet")
    user = ["setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups"]
    result = subprocess.run([*user, tmp_path / "signet", "broker", "-c", site / "signet.conf", "--test-config"],
                            capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    for ca in ("root", "cloud", "client", "watch", "control"):
        assert subprocess.run([*user, "cat", site / "pki" / ca / "key.pem"], capture_output=True).returncode != 0
