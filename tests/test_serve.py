"""signet serve: each process is started, watched, killed and started again, and the others do not notice."""
import json
import os
import pathlib
import pwd
import re
import shutil
import signal
import socket
import ssl
import subprocess
import urllib.request

import pytest

import apikit
import certs
import kit

ROOT = os.geteuid() == 0


class Serve:
    """`signet serve` on an installation; what kit.Client wants to know of a broker."""

    def __init__(self, pki, *options, port=None, stdin=subprocess.DEVNULL, lines=()):
        self.pki, self.options, self.stdin, self.host = pki, options, stdin, "127.0.0.1"
        self.fixed, self.lines, self.log_file = port, lines, pki.dir / "serve.log"
        self.configure()

    def configure(self):
        pki, lines = self.pki, self.lines
        self.port = self.fixed or kit.free_port()
        # Folders of tests are for nobody but who made them; and one installation may be served twice.
        first = pki.dir / "signet.conf.first"
        if first.exists():
            shutil.copy(first, pki.dir / "signet.conf")
        else:
            shutil.copy(pki.dir / "signet.conf", first)
        conf = pki.conf(self.port, *lines, persistence="true", persistence_location=str(pki.dir / "store"))
        (pki.dir / "store").mkdir(exist_ok=True)
        (pki.dir / "signet.conf").write_text(conf + kit.STAY_ROOT)

    def start(self, wait=True):
        if not wait:
            return self.launch()
        # Another process may take a port between the look at it and our use of it.
        for _ in range(20):
            mark = self.mark()
            self.launch()
            if kit.wait_for(lambda: re.search(r"serves\.$", self.log()[mark:], re.M) or self.process.poll() is not None, "all to be ready") and \
                    self.process.poll() is None:
                return self
            assert "choose another port" in self.log()[mark:] and not self.fixed, self.log()
            text = (self.pki.dir / "signet.conf").read_text()
            old, self.port = self.port, kit.free_port()
            (self.pki.dir / "signet.conf").write_text(text.replace(f"listener {old}\n", f"listener {self.port}\n"))
        raise AssertionError("no port was free: " + self.log())

    def launch(self):
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen([kit.SIGNET, "serve", "--dir", str(self.pki.dir), *map(str, self.options)], stdin=self.stdin,
                                            stdout=log, stderr=log)
        return self

    def log(self):
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def mark(self):
        return len(self.log())

    def wait_log(self, pattern, after=0, alive=True):
        def look():
            found = re.search(pattern, self.log()[after:], re.M)
            assert found or not alive or self.process.poll() is None, f"it exited with {self.process.poll()}:\n{self.log()[-4000:]}"
            return found
        return kit.wait_for(look, f"log line {pattern!r}")

    def pid(self, name, after=0):
        """Of the newest process of that name."""
        self.wait_log(rf"The {name} is process \d+\.", after)
        return int(re.findall(rf"The {name} is process (\d+)\.", self.log())[-1])

    def stop(self, sig=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(sig)
        return self.process.wait(kit.PATIENCE)

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, value, trace):
        alive = self.process.poll() is None
        code = self.stop()
        if kind is None:
            assert alive and code == 0, f"{alive} {code}:\n{self.log()[-6000:]}"


@pytest.fixture
def pki(tmp_path):
    return kit.Pki(tmp_path / "site")


def gone(pid):
    """Ended, or only waiting to be asked how."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_it_starts_serves_and_ends_in_order(pki):
    pid_file = pki.dir / "pid"
    serve = Serve(pki, lines=[f"pid_file {pid_file}"]).start()
    try:
        assert int(pid_file.read_text()) == serve.process.pid
        signer, broker = serve.pid("signer"), serve.pid("broker")
        words = [pathlib.Path(f"/proc/{p}/cmdline").read_bytes() for p in (signer, broker)]
        assert b"@signer" in words[0] and b"@broker" in words[1]
        # The keys are with one alone, and nothing of the others' descriptors is.
        inside = [os.readlink(f"/proc/{broker}/fd/{fd}") for fd in os.listdir(f"/proc/{broker}/fd")] if ROOT else []
        assert not [p for p in inside if "index.txt" in p or "audit.log" in p or "key.pem" in p]
        client = kit.Client(serve, "watcher", pki.files("watcher"))
        client.subscribe(f"{kit.PREFIX}/#")
        client.close()
        mark = serve.mark()
        serve.process.send_signal(signal.SIGHUP)
        serve.wait_log("[Rr]eloaded", mark)
        serve.process.send_signal(signal.SIGUSR2)
        serve.wait_log(rf"State of the signer: process {signer}\.", mark)
        serve.wait_log(r"State of worker 0", mark)
        assert serve.stop() == 0
        assert gone(signer) and gone(broker) and not pid_file.exists()
    finally:
        serve.stop()
    with Serve(pki):
        pass
    told = json.loads(kit.signet("audit", "verify", "--dir", pki.dir, "--json").stdout)
    assert told["checkpoints"] >= 1 and told["behind_checkpoint"] == 0


def test_a_passphrase_is_asked_once(tmp_path):
    word = tmp_path / "pass"
    word.write_text("open sesame\n")
    pki = kit.Pki.__new__(kit.Pki)
    pki.dir = tmp_path / "site"
    kit.signet("init", "--dir", pki.dir, "--host", "localhost", "--no-api", "--passphrase-file", word)
    with Serve(pki, "--passphrase-file", word) as serve:
        word.unlink()
        mark, old = serve.mark(), serve.pid("signer")
        os.kill(old, signal.SIGKILL)
        serve.wait_log(r"\[signer\] .*holds the keys of 5 CAs", mark)
        for pid in (serve.process.pid, serve.pid("signer"), serve.pid("broker")):
            try:
                assert b"sesame" not in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes() + pathlib.Path(f"/proc/{pid}/environ").read_bytes()
            except PermissionError:
                assert not ROOT
        assert "sesame" not in serve.log()
    # As systemd brings it; and what is wrong is told before anything listens.
    folder = tmp_path / "credentials"
    folder.mkdir()
    (folder / "signet-passphrase").write_text("open sesame")
    os.environ["CREDENTIALS_DIRECTORY"] = str(folder)
    try:
        with Serve(pki):
            pass
        (folder / "signet-passphrase").write_text("wrong word")
        serve = Serve(pki)
        serve.start(wait=False)
        assert serve.process.wait(kit.PATIENCE) == 1
        assert "the passphrase is wrong" in serve.log() or "choose another port" in serve.log()
    finally:
        del os.environ["CREDENTIALS_DIRECTORY"]


def test_what_cannot_start_ends_it(pki, tmp_path):
    result = kit.signet("serve", "--dir", tmp_path / "nothing", check=False)
    assert result.returncode in (1, 3) and "nothing" in result.stderr
    (pki.dir / "signet.conf").write_text("nonsense 1\n")
    assert kit.signet("serve", "--dir", pki.dir, check=False).returncode == 3
    (pki.dir / "signet.conf").write_text("signer_profile client boss\n")
    result = kit.signet("serve", "--dir", pki.dir, check=False)
    assert result.returncode == 3 and "boss" in result.stderr
    # The broker has no port: it says so, and the signer ends with the rest.
    with socket.create_server(("127.0.0.1", kit.free_port())) as taken:
        serve = Serve(kit.Pki(tmp_path / "other"), port=taken.getsockname()[1])
        serve.start(wait=False)
        assert serve.process.wait(kit.PATIENCE) == 1
        assert "choose another port" in serve.log() and "The broker ended with code 1 before it was ready" in serve.log()
        assert all(gone(int(pid)) for pid in re.findall(r"is process (\d+)", serve.log()))


def test_the_supervisor_is_killed(pki):
    """Then nobody is left: who starts it next finds no port taken and no key in memory."""
    serve = Serve(pki).start()
    pids = [serve.pid("signer"), serve.pid("broker")]
    serve.process.kill()
    serve.process.wait()
    for pid in pids:
        kit.wait_for(lambda: gone(pid), f"the end of {pid}")
    with Serve(pki):
        pass


class Platform(apikit.Served):
    """What `signet init` makes and `signet serve` runs, with nothing in between but ports and users."""

    def __init__(self, place, *lines, init=(), env=None):
        self.place, self.lines, self.init, self.env = place, lines, init, {**os.environ, **(env or {})}
        # Another process may take a port between the look at it and our use of it.
        for n in range(20):
            if self.make(place / f"site{n}"):
                return
        raise AssertionError("no port was free: " + self.log.read_text())

    def make(self, directory):
        self.pki = kit.Pki.__new__(kit.Pki)
        self.pki.dir = self.dir = directory
        self.mqtt, self.port = kit.free_port(), kit.free_port()
        self.told = json.loads(kit.signet("init", "--dir", self.dir, "--host", "localhost,127.0.0.1", "--port", self.mqtt, "--api-port", self.port,
                                          "--json", *(self.init or ["--no-passphrase"]), env=self.env).stdout)
        self.password = self.told["administrator"]["password"]
        self.conf = self.dir / "signet.conf"
        self.conf.write_text(self.configured(self.conf.read_text()))
        return self.launch()

    def configured(self, conf):
        return conf + "".join(line + "\n" for line in self.lines)

    def pid(self, name):
        return int(re.findall(rf"The {name} is process (\d+)\.", self.text())[-1])

    def again(self):
        self.stop()
        assert self.launch()

    def issue(self, device):
        """A device and a certificate for it, by the API."""
        c = self.login()
        assert c("POST", "/api/v1/devices", {"id": device}).status == 201
        key, csr = self.place / f"{device}.key", self.place / f"{device}.csr"
        subprocess.run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-subj", "/CN=x",
                        "-out", csr], check=True, capture_output=True)
        answer = self.ask(device, c)
        assert answer.status == 201, answer
        return answer.json

    def ask(self, device, client=None):
        """For one more of the device's certificates."""
        csr = (self.place / f"{device}.csr").read_text()
        return (client or self.login())("POST", f"/api/v1/devices/{device}/certificates", {"csr": csr})


def status(pid):
    return dict(line.split(":\t", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)


def test_init_is_all_that_is_needed(passable):
    """The password that `signet init` said works, devices get certificates and the broker is asked; as root, each process is somebody else."""
    users = {"signer": "sys", "control": "daemon", "broker": "bin"}
    with Platform(passable, *(["signer_user sys", "control_user daemon", "user bin"] if ROOT else [])) as p:
        assert p.told["api"] == f"https://localhost:{p.port}/api/v1" and p.told["administrator"]["user"] == "admin"
        assert p.password not in p.text() and p.issue("sensor01")["cn"] == "sensor01"
        assert p.login()("GET", "/api/v1/sessions").status == 200
        # Commands get to control without a password.
        assert kit.signet("device", "token", "door", "--dir", p.dir, "--uri").stdout.startswith(f"signet://localhost:{p.port}/door?ca=")
        many = passable / "many.csv"
        many.write_text("id\nq1\nq2\n")
        assert "2 of them are registered" in kit.signet("device", "add", "--from", many, "--dir", p.dir).stdout
        assert p.login()("GET", "/api/v1/devices/q2").status == 200
        assert "registry.db" in os.listdir(re.search(r"(/\S+/backups/\w+)", kit.signet("backup", "--all", "--dir", p.dir).stdout)[1])
        for bits in (16384, 2049):
            pem = certs.openssl("req", "-inform", "DER", data=certs.forged_request(bits)).decode()
            answer = p.login()("POST", "/api/v1/devices/sensor01/certificates", {"csr": pem})
            assert answer.status in (400, 409, 422) and f"{bits} bits" in answer.json["detail"], answer
        for name, user in users.items() if ROOT else []:
            told = status(p.pid(name))
            assert set(told["Uid"].split()) == {str(pwd.getpwnam(user).pw_uid)} and "0" not in told["Gid"].split(), (name, told)
            assert int(told["CapEff"], 16) == int(told["CapPrm"], 16) == 0 and told["NoNewPrivs"].strip() == "1", (name, told)
            assert "0" not in told["Groups"].split() and (told["Seccomp"].strip() == "2" if name == "signer" else True)
        # Root's commands go on, beside it and afterwards; and so does a second start, and the files that SIGHUP is about.
        kit.signet("device", "add", "by-command", "--dir", p.dir)
        assert kit.signet("ca", "list", "--dir", p.dir).stdout.count("sensor01") == 1
        mark, old = len(p.text()), p.pid("control")
        p.process.send_signal(signal.SIGHUP)
        kit.wait_for(lambda: re.search("Control is connected to the broker" if ROOT else "of control were read again", p.text()[mark:]), "the reload")
        assert (p.pid("control") != old) == ROOT
        assert p.login()("GET", "/api/v1/devices/sensor01").status == 200
        p.again()
        assert p.login()("GET", "/api/v1/devices/sensor01").status == 200
    p.password = re.search(r"password (\w+)", kit.signet("control", "--dir", p.dir, "--make-admin", "admin").stdout)[1]
    assert "devices" in kit.signet("registry", "stats", p.dir).stdout
    assert p.launch()
    with p:
        assert p.issue("sensor02")["cn"] == "sensor02"
    kit.signet("audit", "verify", "--dir", p.dir)


def test_control_is_killed_and_so_is_its_signer(pki):
    """Control answers again after its own end and after the signer's, each time with a socket to the signer, and MQTT goes on."""
    password = re.search(r"password (\w+)", kit.signet("control", "--dir", pki.dir, "--make-admin", "admin").stdout)[1]
    port = kit.free_port()
    with Serve(pki, lines=[f"https_listener {port} 127.0.0.1"]) as serve:
        context = ssl.create_default_context(cafile=pki.dir / "pki/ca.pem")

        def cas():
            """An answer that takes a login and the registry."""
            try:
                request = urllib.request.Request(f"https://localhost:{port}/api/v1/login", json.dumps({"username": "admin", "password": password}).encode(),
                                                 {"Content-Type": "application/json"})
                with urllib.request.urlopen(request, context=context, timeout=kit.PATIENCE) as answer:
                    token = json.load(answer)["token"]
                request = urllib.request.Request(f"https://localhost:{port}/api/v1/cas", headers={"Authorization": f"Bearer {token}"})
                with urllib.request.urlopen(request, context=context, timeout=kit.PATIENCE) as answer:
                    return answer.read().decode()
            except OSError:
                return None
        client = kit.Client(serve, "watcher", pki.files("watcher"))
        assert '"items"' in kit.wait_for(cas, "control")
        mark, old = serve.mark(), serve.pid("control")
        os.kill(old, signal.SIGKILL)
        serve.wait_log(r"The control was killed by signal 9", mark)
        assert serve.pid("control", mark) != old
        assert '"items"' in kit.wait_for(cas, "control after its end")
        mark, old, signer = serve.mark(), serve.pid("control"), serve.pid("signer")
        os.kill(signer, signal.SIGKILL)
        assert serve.pid("signer", mark) != signer and serve.pid("control", mark) != old
        assert '"items"' in kit.wait_for(cas, "control after the signer's end")
        assert "disconnect" not in {e[0] for e in list(client.events.queue)}
        client.close()


def test_a_root_that_is_elsewhere(passable, tmp_path):
    """From the first start on: the CAs below it are known and sign, and what shows a chain has its end."""
    with RootElsewhere(passable, tmp_path / "root.pem") as p:
        assert p.issue("sensor01")["cn"] == "sensor01"
        cas = {ca["name"]: ca for ca in p.login()("GET", "/api/v1/cas").json["items"]}
        assert cas["root"]["own"] is False and cas["client"]["own"] is True
        made = p.login()("POST", "/api/v1/devices/sensor01/bundle", {"format": "zip"})
        assert made.status == 201, made


class RootElsewhere(Platform):
    def __init__(self, place, elsewhere):
        self.elsewhere = elsewhere
        super().__init__(place)

    def launch(self):
        key = self.dir / "pki/root/key.pem"
        if key.exists():
            shutil.copy(key, self.elsewhere)
            key.unlink()
        return super().launch()

    def login(self, *words):
        client = super().login(*words)
        kit.wait_for(lambda: client("GET", "/api/v1/cas/client").status == 200, "the signer to say which CAs there are")
        return client
