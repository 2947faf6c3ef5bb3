"""What the tests share: a broker on free ports, its PKI, clients that wait for what they expect. No fixed sleeps."""
import os
import pathlib
import queue
import re
import signal
import socket
import ssl
import subprocess
import time

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

ROOT = pathlib.Path(__file__).resolve().parent.parent
SIGNET = os.environ.get("SIGNET", str(ROOT / "build-asan/src/cli/signet"))
BUILD = os.environ.get("SIGNET_BUILD", "asan")
# Sanitizers and a busy machine make everything slower, never different.
PATIENCE = float(os.environ.get("SIGNET_PATIENCE", "30"))
V311, V5 = paho.MQTTv311, paho.MQTTv5
# A broker that was started as root becomes somebody who may not read the tests' folders again, at a reload.
STAY_ROOT = "user root\n" if os.geteuid() == 0 else ""
PREFIX = "springcard/springcore"


class Ports:
    """Free ports; each xdist worker looks in a range of its own, so that two never find the same one."""

    def __init__(self):
        worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
        self.size = 12000 // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1))
        self.first = self.next = 20000 + self.size * int(re.sub(r"\D", "", worker) or 0)

    def __call__(self):
        while True:
            self.next += 1
            if self.next == self.first + self.size:
                self.next = self.first + 1
            with socket.socket() as s:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    s.bind(("127.0.0.1", self.next))
                    return self.next
                except OSError:
                    continue


free_port = Ports()


def wait_for(condition, what, seconds=PATIENCE):
    """The condition's value as soon as it is true."""
    end = time.monotonic() + seconds
    pause = 0.002
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)
    raise AssertionError(f"waited {seconds} s for {what}")


def signet(*words, check=True, stdin=None, env=None, cwd=None, seconds=120):
    """Run one command of the program to its end."""
    result = subprocess.run([SIGNET, *map(str, words)], input=stdin, capture_output=True, text=True, timeout=seconds,
                            cwd=cwd, env={**os.environ, **(env or {})})
    if check and result.returncode != 0:
        raise AssertionError(f"signet {' '.join(map(str, words))} exited {result.returncode}:\n{result.stdout}{result.stderr}")
    return result


class Pki:
    """An installation made by `signet init`."""

    def __init__(self, directory, *options):
        self.dir = pathlib.Path(directory)
        signet("init", "--dir", self.dir, "--host", "localhost,127.0.0.1", "--no-passphrase", "--no-api", *options)

    def device(self, name):
        if not (self.dir / "clients" / name).exists():
            signet("device", "add", name, "--dir", self.dir)
        return self.files(name)

    def issue(self, ca, name):
        if not (self.dir / "clients" / name).exists():
            signet("ca", "issue", "--dir", self.dir, "--ca", ca, name)
        return self.files(name)

    def files(self, name):
        folder = self.dir / "clients" / name
        return {"ca": folder / "ca.pem", "cert": folder / "cert.pem", "key": folder / "key.pem"}

    def conf(self, port, *lines, **replace):
        """The generated configuration with another port; replace={'directive': 'value' or None}. In memory only, unless it says
        where it keeps things: brokers of one installation would take each other's store."""
        if "persistence_location" not in replace:
            replace = {"persistence": "false", "persistence_location": None, **replace}
        out = []
        for line in (self.dir / "signet.conf").read_text().splitlines():
            word = line.split(None, 1)[0] if line.strip() else ""
            # One socket is for one broker.
            if line.startswith("listener 0 ") or line in ("protocol control", "protocol console"):
                continue
            if word == "listener":
                line = f"listener {port}"
            if word == "crlfile" and any(text.startswith("crlfile ") for text in lines):
                continue
            if word in replace:
                if replace[word] is None:
                    continue
                line = f"{word} {replace[word]}"
            out.append(line)
        return "\n".join(out + list(lines)) + "\n"


class Broker:
    """`signet broker` as a process; a context manager that ends it and asserts a clean exit."""

    def __init__(self, directory, conf, ports, *options, host="127.0.0.1", env=None, under=()):
        """<under>: a program that runs it, with its words (prlimit)."""
        self.under = under
        self.dir = pathlib.Path(directory)
        self.dir.mkdir(parents=True, exist_ok=True)
        self.ports = ports if isinstance(ports, (list, tuple)) else [ports]
        self.port = self.ports[0] if self.ports else None
        self.host = host
        self.conf = self.dir / "broker.conf"
        self.conf.write_text(conf)
        self.log_file = self.dir / f"broker-{time.monotonic_ns()}.log"
        self.options = options
        self.env = env
        self.process = None

    def start(self):
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen([*self.under, SIGNET, "broker", "-c", str(self.conf), *self.options], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, env={**os.environ, **(self.env or {})})
        for port in self.ports:
            wait_for(lambda: self.listens(port), f"port {port}")
        # It may be opened behind the others.
        for path in re.findall(r"^listener 0 (\S+)\nprotocol control$", self.conf.read_text(), re.M):
            wait_for(lambda: self.has_socket(path), f"the control socket {path}")
        return self

    def has_socket(self, path):
        if self.process.poll() is not None:
            raise AssertionError(f"the broker exited with {self.process.returncode}:\n{self.log()}")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
            return s.connect_ex(path) == 0

    def listens(self, port):
        if self.process.poll() is not None:
            raise AssertionError(f"the broker exited with {self.process.returncode}:\n{self.log()}")
        try:
            socket.create_connection((self.host, port), timeout=5).close()
            return True
        except OSError:
            return False

    def log(self):
        return self.log_file.read_text(errors="replace")

    def wait_log(self, pattern, after=0, seconds=PATIENCE):
        """The match of the first line, behind offset <after>, in which the pattern is found."""
        def look():
            for line in self.log()[after:].splitlines():
                found = re.search(pattern, line)
                if found:
                    return found
            return None
        try:
            return wait_for(look, f"log line {pattern!r}", seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}; the log:\n{self.log()[-6000:]}") from None

    def mark(self):
        return len(self.log())

    def reload(self, expect=r"[Rr]eloaded|[Rr]eloading (failed|refused)|keeps"):
        mark = self.mark()
        self.process.send_signal(signal.SIGHUP)
        return self.wait_log(expect, mark)

    def stop(self, sig=signal.SIGTERM):
        if self.process is None or self.process.poll() is not None:
            return self.process.returncode if self.process else None
        self.process.send_signal(sig)
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the broker does not stop; the log:\n{self.log()[-4000:]}") from None

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, value, trace):
        alive = self.process.poll() is None
        code = self.stop()
        if kind is None:
            assert alive, f"the broker died with {code}:\n{self.log()[-6000:]}"
            assert code == 0, f"exit code {code}:\n{self.log()[-6000:]}"


def tls_context(files, minimum=None, maximum=None, verify=True):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if verify:
        context.load_verify_locations(files["ca"])
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if files.get("cert"):
        context.load_cert_chain(files["cert"], files.get("key"))
    if minimum:
        context.minimum_version = minimum
    if maximum:
        context.maximum_version = maximum
    return context


class Refused(Exception):
    """CONNACK said no."""

    def __init__(self, code):
        super().__init__(f"CONNACK {code}")
        self.code = code


def comes(broker, name, files=None, **more):
    """A client, as soon as the broker knows of it."""
    found = []

    def attempt():
        try:
            found.append(Client(broker, name, files, **more))
        except (Refused, OSError):
            return False
        return True

    wait_for(attempt, f"{name} to get in")
    return found[0]


class Client:
    """A paho client that keeps what it hears in queues and never waits without a bound."""

    def __init__(self, broker, client_id="", files=None, version=V311, clean=True, port=None, host="localhost", will=None,
                 keepalive=60, connect_properties=None, username=None, password=None, connect=True, context=None, transport="tcp"):
        extra = {} if version == V5 else {"clean_session": clean}
        self.client = paho.Client(client_id=client_id, protocol=version, transport=transport, **extra)
        self.version, self.clean, self.files = version, clean, files
        self.messages, self.events, self.lock = queue.Queue(), queue.Queue(), None
        if files is not None or context is not None:
            self.client.tls_set_context(context or tls_context(files))
        if username is not None:
            self.client.username_pw_set(username, password)
        if will is not None:
            self.client.will_set(**will)
        self.client.on_connect = lambda c, u, flags, code, props=None: self.events.put(("connect", flags, code, props))
        self.client.on_disconnect = lambda c, u, code, props=None: self.events.put(("disconnect", code, props))
        self.client.on_message = lambda c, u, m: self.messages.put(m)
        self.client.on_subscribe = lambda c, u, mid, codes, props=None: self.events.put(("suback", mid, codes))
        self.client.on_unsubscribe = lambda c, u, mid, *rest: self.events.put(("unsuback", mid, rest))
        self.client.on_publish = lambda c, u, mid: self.events.put(("puback", mid))
        self.client.on_log = lambda *a: None
        self.broker, self.host, self.port, self.keepalive, self.properties = broker, host, port or broker.port, keepalive, connect_properties
        self.session_present = None
        self.connack = None
        if connect:
            self.connect()

    def connect(self):
        extra = {}
        if self.version == V5:
            extra = {"clean_start": self.clean, "properties": self.properties}
        self.client.connect(self.host, self.port, self.keepalive, **extra)
        self.client.loop_start()
        event = self.wait_event("connect", "disconnect")
        if event[0] == "disconnect":
            self.client.loop_stop()
            raise Refused(event[1])
        code = getattr(event[2], "value", event[2])
        if code != 0:
            self.close()
            raise Refused(code)
        self.session_present = event[1].get("session present")
        self.connack = event[3]
        return self

    def wait_event(self, *kinds, seconds=PATIENCE):
        end = time.monotonic() + seconds
        while True:
            try:
                event = self.events.get(timeout=max(0.01, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no {' or '.join(kinds)} in {seconds} s") from None
            if event[0] in kinds:
                return event

    def subscribe(self, *filters, qos=0, options=None, properties=None):
        """The codes of SUBACK."""
        if self.version == V5:
            topics = [(f, options or paho.SubscribeOptions(qos=qos)) for f in filters]
            _, mid = self.client.subscribe(topics, properties=properties)
        else:
            _, mid = self.client.subscribe([(f, qos) for f in filters])
        while True:
            event = self.wait_event("suback")
            if event[1] == mid:
                return [getattr(code, "value", code) for code in event[2]]

    def publish(self, topic, payload="", qos=0, retain=False, properties=None):
        """Waits until the exchange is over for QoS 1 and 2."""
        extra = {"properties": properties} if self.version == V5 else {}
        info = self.client.publish(topic, payload, qos, retain, **extra)
        if qos > 0:
            info.wait_for_publish(PATIENCE)
            assert info.is_published(), f"no acknowledgement for {topic}"
        return info

    def message(self, topic=None, payload=None, seconds=PATIENCE):
        """The next message, which must be this one."""
        try:
            m = self.messages.get(timeout=seconds)
        except queue.Empty:
            raise AssertionError(f"no message {topic or ''} in {seconds} s") from None
        if topic is not None:
            assert m.topic == topic, f"wanted {topic}, got {m.topic} {m.payload!r}"
        if payload is not None:
            want = payload if isinstance(payload, bytes) else payload.encode()
            assert m.payload == want, f"wanted {want!r}, got {m.payload!r} on {m.topic}"
        return m

    def nothing(self, fence):
        """Asserts that no message is on its way: <fence>() makes one arrive that is the next."""
        topic = fence()
        return self.message(topic)

    def wait_closed(self, seconds=PATIENCE):
        return self.wait_event("disconnect", seconds=seconds)

    def drop(self):
        """Cut the connection without DISCONNECT."""
        self.client.loop_stop()
        sock = self.client.socket()
        if sock is not None:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            sock.close()

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.close()
        except OSError:
            pass


def properties(packet, **values):
    p = Properties(packet)
    for name, value in values.items():
        setattr(p, name, value)
    return p


def connect_properties(**values):
    return properties(PacketTypes.CONNECT, **values)


def publish_properties(**values):
    return properties(PacketTypes.PUBLISH, **values)


class Raw:
    """Bytes on a socket, for what no client library would send."""

    def __init__(self, port, files=None, host="127.0.0.1", context=None):
        self.sock = socket.create_connection((host, port), timeout=PATIENCE)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if files is not None or context is not None:
            self.sock = (context or tls_context(files)).wrap_socket(self.sock, server_hostname="localhost")

    def send(self, data):
        self.sock.sendall(data)
        return self

    def recv_exactly(self, n):
        data = b""
        while len(data) < n:
            more = self.sock.recv(n - len(data))
            if not more:
                raise EOFError(f"closed after {data!r}")
            data += more
        return data

    def packet(self):
        """(first byte, body) of the next packet."""
        first = self.recv_exactly(1)[0]
        length, shift = 0, 0
        while True:
            byte = self.recv_exactly(1)[0]
            length |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return first, self.recv_exactly(length)

    def rest(self):
        """Everything until the peer closes; b'' also for a reset."""
        data = b""
        try:
            while True:
                more = self.sock.recv(65536)
                if not more:
                    return data
                data += more
        except (ConnectionError, ssl.SSLError):
            return data

    def connect(self, client_id, version=4, clean=True, keepalive=60):
        name = client_id.encode()
        body = b"\0\4MQTT" + bytes([version, 2 if clean else 0]) + keepalive.to_bytes(2, "big")
        body += b"\0" if version == 5 else b""
        body += len(name).to_bytes(2, "big") + name
        self.send(b"\x10" + bytes([len(body)]) + body)
        return self.packet()

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def mosquitto(program, *words, seconds=PATIENCE, stdin=None):
    """Debian's clients, to their end."""
    return subprocess.run([program, *map(str, words)], capture_output=True, text=True, timeout=seconds, input=stdin)


def tls_words(files):
    return ["--cafile", files["ca"], "--cert", files["cert"], "--key", files["key"]]
