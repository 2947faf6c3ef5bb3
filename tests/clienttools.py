"""Helpers to run `signet pub/sub/rr` beside mosquitto_pub/sub/rr against Debian's mosquitto broker."""

import os
import pathlib
import re
import shlex
import shutil
import socket
import subprocess
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
PATIENCE = 30  # seconds for anything that must happen: sanitizers and busy machines are slow


def signet_binary():
    given = os.environ.get("SIGNET")
    if given:
        return given
    for build in ("build-asan", "build"):
        path = ROOT / build / "src" / "cli" / "signet"
        if path.exists():
            return str(path)
    return None


def mosquitto_broker():
    return shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin")


def wait_for(condition, what, patience=PATIENCE):
    """The first true result of condition(); looks often, gives up late."""
    end = time.monotonic() + patience
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > end:
            raise AssertionError(f"waited {patience} s in vain for {what}")
        time.sleep(0.01)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def run_commands(lines, folder, controller):
    """Each line of a commands.txt as it stands, by a shell: what it publishes reaches <controller>, who hears everything, and what he publishes where it
    subscribes reaches it. The verbs that there were."""
    path = str(pathlib.Path(signet_binary()).parent) + ":" + os.environ["PATH"]
    verbs = []
    for line in lines:
        words = shlex.split(line)
        verbs.append(words[0] if words[0] != "signet" else " ".join(words[:2]))
        topic = words[words.index("-t") + 1].replace("+", "x").replace("#", "x")
        process = subprocess.Popen(["sh", "-c", "exec " + line], cwd=folder, env={**os.environ, "PATH": path}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True)
        watch = threading.Timer(PATIENCE, process.kill)
        watch.start()
        try:
            if verbs[-1].endswith("sub"):
                # Retained, so that it is there whenever it has subscribed.
                controller.publish(topic, '{"seen":1}', qos=1, retain=True)
                assert process.stdout.readline() == topic + ' {"seen":1}\n', line
                controller.publish(topic, "", qos=1, retain=True)
                continue
            said = process.communicate()[0]
            assert process.returncode == 0, (line, said)
            wait_for(lambda: (m := controller.message()).topic == topic and m.payload == b'{"test":1}', line)
        finally:
            watch.cancel()
            process.kill()
            process.wait()
            process.stdout.close()
    return verbs


class Broker:
    """Debian's mosquitto with a configuration of its own; every `{port}` in it becomes a free port, in order."""

    def __init__(self, folder, *listeners, options=()):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.listeners = listeners
        self.options = options
        self.process = None
        self.ports = []

    def start(self, ports=None):
        for _ in range(5):
            self.ports = ports or [free_port() for _ in self.listeners]
            self._launch()
            try:
                wait_for(self._is_up, "mosquitto to listen")
                return self
            except RuntimeError:  # somebody took the port meanwhile
                self.process.wait()
        raise AssertionError(f"mosquitto does not start: {self.log()}")

    def _launch(self):
        lines = ["log_type all", "log_dest stderr", "connection_messages true", "per_listener_settings true"]
        if os.geteuid() == 0:
            lines.append("user root")  # as another user it could not read the test's folder
        lines += self.options
        for port, text in zip(self.ports, self.listeners):
            lines += [f"listener {port} 127.0.0.1", *text.strip().split("\n")]
        conf = self.folder / "mosquitto.conf"
        conf.write_text("\n".join(line.strip() for line in lines) + "\n")
        self.log_path = self.folder / "log"
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [mosquitto_broker(), "-c", str(conf)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def _is_up(self):
        if self.process.poll() is not None:
            raise RuntimeError
        for port in self.ports:
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", port)) != 0:
                    return False
        return True

    @property
    def port(self):
        return self.ports[0]

    def log(self):
        return self.log_path.read_text(errors="replace")

    def wait_log(self, pattern, count=1):
        wait_for(lambda: len(re.findall(pattern, self.log())) >= count, f"{pattern} in the broker's log")

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(PATIENCE)


class Result:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    def __repr__(self):
        return f"<exit {self.code} out {self.out!r} err {self.err!r}>"


def command(tool, args):
    """tool: "signet pub" or "mosquitto_pub"."""
    name, _, sub = tool.partition(" ")
    return [signet_binary(), sub, *args] if name == "signet" else [name, *args]


def environment(extra=None):
    env = {k: v for k, v in os.environ.items() if k not in ("XDG_CONFIG_HOME", "SIGNET_MQTT_PASSWORD")}
    env["HOME"] = "/nonexistent"  # no files with default options
    env["TZ"] = "UTC"
    env.update(extra or {})
    return env


def run(tool, args, stdin=b"", env=None, patience=PATIENCE):
    done = subprocess.run(
        command(tool, [str(a) for a in args]), input=stdin, capture_output=True, timeout=patience, env=environment(env)
    )
    assert b"Sanitizer" not in done.stderr and b"runtime error" not in done.stderr, done.stderr.decode()
    return Result(done.returncode, done.stdout, done.stderr.decode(errors="replace"))


class Background:
    """A client that runs on; what it says is collected."""

    running = []  # to be ended when the test is over, however that went

    def __init__(self, tool, args, stdin=subprocess.DEVNULL, env=None):
        self.process = subprocess.Popen(
            command(tool, [str(a) for a in args]),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(env),
        )
        self.running.append(self)
        self.out, self.err = b"", b""
        self.threads = [
            threading.Thread(target=self._collect, args=(self.process.stdout, "out"), daemon=True),
            threading.Thread(target=self._collect, args=(self.process.stderr, "err"), daemon=True),
        ]
        for t in self.threads:
            t.start()

    def _collect(self, pipe, name):
        while True:
            data = pipe.read1(65536)
            if not data:
                return
            setattr(self, name, getattr(self, name) + data)

    def wait_out(self, text):
        wait_for(lambda: text in self.out, f"{text!r} (so far: {self.out!r} {self.err!r})")

    def wait_err(self, text):
        wait_for(lambda: text in self.err, f"{text!r} (so far: {self.err!r})")

    def signal(self, number):
        self.process.send_signal(number)

    def end(self):
        code = self.process.wait(PATIENCE)
        for t in self.threads:
            t.join(PATIENCE)
        err = self.err.decode(errors="replace")
        assert "Sanitizer" not in err and "runtime error" not in err, err
        return Result(code, self.out, err)

    @classmethod
    def kill_all(cls):
        while cls.running:
            cls.running.pop().kill()

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE)


NORMAL = (
    (rb"auto-[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}", b"AUTO"),
    (rb"(mosq-[0-9A-Za-z]{18}|signet-[0-9A-Za-z]{16})", b"RANDOM"),
    (rb'"tst":(\t?)"[^"]*"', rb'"tst":\1"T"'),
    (rb'"message-expiry-interval":[0-9]+', b'"message-expiry-interval":E'),  # counts down at the broker
)


def normal(out):
    """Without what may differ between two runs: assigned ids, times."""
    for pattern, text in NORMAL:
        out = re.sub(pattern, text, out)
    return out


class Pki:
    """A CA and certificates made with openssl."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.make_ca("ca", "Test CA")
        self.make_ca("other", "Other CA")
        self.make("server", "localhost", "subjectAltName=DNS:localhost,IP:127.0.0.1")
        self.make("elsewhere", "elsewhere.example", "subjectAltName=DNS:elsewhere.example")
        self.make("cnonly", "localhost")
        self.make("dev", "dev1")
        self.make("expired", "dev1", days=-1)
        self.make("foreign", "dev1", ca="other")

    def path(self, name):
        return str(self.folder / name)

    def openssl(self, *args):
        subprocess.run(["openssl", *args], check=True, capture_output=True, cwd=self.folder)

    def key(self, name):
        self.openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{name}.key")

    def make_ca(self, name, cn):
        self.key(name)
        self.openssl("req", "-x509", "-new", "-key", f"{name}.key", "-subj", f"/CN={cn}", "-days", "30", "-out", f"{name}.pem")

    def make(self, name, cn, extension="", days=10, ca="ca"):
        self.key(name)
        self.openssl("req", "-new", "-key", f"{name}.key", "-subj", f"/CN={cn}", "-out", f"{name}.csr")
        (self.folder / f"{name}.ext").write_text(extension + "\n")
        self.openssl(
            "x509", "-req", "-in", f"{name}.csr", "-CA", f"{ca}.pem", "-CAkey", f"{ca}.key", "-CAcreateserial",
            "-extfile", f"{name}.ext", "-days", str(days), "-out", f"{name}.pem",
        )

    def client(self, name="dev", ca="ca"):
        return ["--cafile", self.path(f"{ca}.pem"), "--cert", self.path(f"{name}.pem"), "--key", self.path(f"{name}.key")]


class ToyBroker:
    """A server that answers each connection by a script: script(connection, number)."""

    def __init__(self, script):
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.socket.listen(5)
        self.port = self.socket.getsockname()[1]
        self.script = script
        self.connections = 0
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.connections += 1
            connection.settimeout(PATIENCE)
            with connection:
                try:
                    self.script(connection, self.connections)
                except OSError:
                    pass  # the client went away: the test looks at the client

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)  # wakes accept(); close() alone would leave it on a reused descriptor
        self.thread.join(PATIENCE)
        self.socket.close()
