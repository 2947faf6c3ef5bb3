"""Control as a process, and a client of its API that looks at every answer: headers, problem documents, schemas."""
import http.client
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import threading
import time

import kit
import wire

SECURITY = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class Control:
    """`signet control` on a free port, with an administrator; a context manager that asserts a clean end."""

    def __init__(self, pki, *lines):
        self.pki, self.dir, self.lines = pki, pki.dir, lines
        self.base = (self.dir / "signet.conf").read_text()
        text = kit.signet("control", "--dir", self.dir, "--make-admin", "admin").stdout
        self.password = re.search(r"password (\w+)", text)[1]
        self.start()

    def start(self):
        # Another process may take a port between the look at it and our use of it.
        for _ in range(20):
            self.prepare()
            self.port = kit.free_port()
            self.conf = self.dir / f"control-{self.port}.conf"
            lines = [x for x in self.base.splitlines() if not x.startswith("https_listener")]
            lines += [f"https_listener {self.port} 127.0.0.1", f"https_listener 0 {self.dir}/api.sock", *self.lines]
            self.conf.write_text("\n".join(lines) + "\n")
            if self.launch():
                return
        raise AssertionError("no port was free: " + self.log.read_text())

    command, env = "control", {}

    def launch(self):
        self.log = self.conf.with_suffix(".log")
        with open(self.log, "wb") as out:
            self.process = subprocess.Popen([kit.SIGNET, self.command, "-c", self.conf], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                            env={**os.environ, **self.env})
        kit.wait_for(lambda: self.is_whole() or self.process.poll() is not None, f"the start: {self.log}", 3 * kit.PATIENCE)
        if self.process.poll() is None:
            return True
        assert re.search("in use|uses this port", self.text()), self.text()
        return False

    def prepare(self):
        """Before each attempt to start."""

    def is_whole(self):
        return "Control listens on" in self.text()

    def text(self):
        return self.log.read_text(errors="replace")

    def stop(self, how=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(how)
        code = self.process.wait(timeout=kit.PATIENCE)
        if how == signal.SIGTERM:
            assert code == 0, f"exit code {code}: {self.text()}"
        for word in ("Sanitizer", "runtime error", "LeakSanitizer"):
            assert word not in self.text(), self.text()

    def restart(self, how=signal.SIGTERM):
        self.stop(how)
        self.start()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is None:
            self.stop()
        else:
            self.process.kill()
            self.process.wait()
            print(self.text())

    def tls(self, who=None):
        context = ssl.create_default_context(cafile=self.dir / "pki/ca.pem")
        if who:
            files = self.pki.files(who)
            context.load_cert_chain(files["cert"], files["key"])
        return context

    def socket(self, who=None):
        raw = socket.create_connection(("127.0.0.1", self.port), timeout=kit.PATIENCE)
        return self.tls(who).wrap_socket(raw, server_hostname="localhost")

    def client(self, token=None, who=None):
        return Client(self, token, who)

    def login(self, user="admin", password=None):
        c = Client(self)
        answer = c("POST", "/api/v1/login", {"username": user, "password": password or self.password})
        assert answer.status == 200, answer
        c.token = answer.json["token"]
        return c


class Served(Control):
    """`signet serve`: signer, broker and control. <host> and <port> of the broker are what kit.Client wants to know of one; <lines> are for its
    listener, <replace> as in kit.Pki.conf()."""
    command, host = "serve", "127.0.0.1"

    def __init__(self, pki, *lines, **replace):
        self.broker_lines, self.replace = lines, replace
        super().__init__(pki)

    def prepare(self):
        self.mqtt = kit.free_port()
        (self.dir / "store").mkdir(exist_ok=True)
        self.base = kit.STAY_ROOT + self.pki.conf(self.mqtt, *self.broker_lines, f"listener 0 {self.dir}/control.sock", "protocol control",
                                                  f"listener 0 {self.dir}/console.sock", "protocol console",
                                                  persistence="true", persistence_location=str(self.dir / "store"), **self.replace)

    def is_whole(self):
        return re.search(r"serves\.$", self.text(), re.M) and "Control listens on" in self.text() and "is connected to the broker" in self.text()

    def kill(self, name):
        """The newest process of that name."""
        pid = int(re.findall(rf"The {name} is process (\d+)\.", self.text())[-1])
        os.kill(pid, signal.SIGKILL)


def texts(body, at, between=0):
    """Strings of an MQTT packet from there on."""
    out = []
    while at < len(body):
        n = int.from_bytes(body[at:at + 2], "big")
        out.append(body[at + 2:at + 2 + n].decode())
        at += 2 + n + between
    return out


class FalseBroker:
    """Who has taken the broker's control socket over. <answers>: of a command, a dict, or a function of the request's JSON that returns one; None: it
    is not answered. <refuse>: names of clients that are sent away."""

    def __init__(self, path, refuse=(), **answers):
        self.answers, self.refuse = {"sessions": {"sessions": [], "next": None}, **answers}, refuse
        self.asked = []  # (name of the client, command)
        self.open = []
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(path))
        self.socket.listen(8)
        self.threads = [threading.Thread(target=self.accept, daemon=True)]
        self.threads[0].start()

    def accept(self):
        while True:
            try:
                connection = self.socket.accept()[0]
            except OSError:
                return
            self.open.append(connection)
            self.threads.append(threading.Thread(target=self.serve, args=(connection,), daemon=True))
            self.threads[-1].start()

    def serve(self, connection):
        frames, name = wire.Frames(), None
        try:
            while data := connection.recv(65536):
                for kind, flags, body in frames.feed(data):
                    if kind == wire.CONNECT:
                        name = texts(body, 11 + body[10])[0]
                        if name in self.refuse:
                            connection.shutdown(socket.SHUT_RDWR)
                            return
                    connection.sendall(self.answer(name, kind, flags, body))
        except OSError:
            pass

    def answer(self, name, kind, flags, body):
        if kind == wire.CONNECT:
            return wire.packet(wire.CONNACK, b"\0\0\0")
        if kind == wire.SUBSCRIBE:
            return wire.packet(wire.SUBACK, body[:3] + b"\0" * len(texts(body, 3, 1)))
        if kind == wire.PINGREQ:
            return wire.packet(wire.PINGRESP)
        if kind != wire.PUBLISH:
            return b""
        topic, _, properties, payload = wire.split_publish(flags, body, 5)
        command, told = topic.split("/v1/")[1], json.loads(payload)
        self.asked.append((name, command))
        out = self.answers.get(command, self.common(command, told))
        out = out(told) if callable(out) else out
        return b"" if out is None else wire.publish("$CONTROL/signet/v1/response", json.dumps(out), version=5, properties=properties)

    @staticmethod
    def common(command, told):
        if command == "hello":
            return {"protocol": 1, "version": "1", "broker_id": "00", "names_max": 4096}
        return {"done": True, "generation": told.get("to", told.get("generation")), "devices": 0, "ended": 0}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for s in [self.socket, *self.open]:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        for t in self.threads:
            t.join(kit.PATIENCE)
        for s in [self.socket, *self.open]:
            s.close()


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=kit.PATIENCE)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, {k.lower(): v for k, v in headers}, body
        self.type = self.headers.get("content-type", "")
        self.json = json.loads(body) if body and self.type.endswith("json") else None

    def __repr__(self):
        return f"{self.status} {self.headers} {self.body[:2000]}"


class Client:
    """One connection that is kept; not one that lay idle for long, which the server may be about to end."""

    def __init__(self, control, token=None, who=None, unix=False):
        self.control, self.token, self.who, self.unix = control, token, who, unix
        self.connection, self.used = None, 0

    def connect(self):
        if self.unix:
            return UnixConnection(self.control.dir / "api.sock")
        return http.client.HTTPSConnection("localhost", self.control.port, timeout=kit.PATIENCE, context=self.control.tls(self.who))

    def __call__(self, method, path, body=None, headers=None, raw=None, token=None):
        send = dict(headers or {})
        token = token if token is not None else self.token
        if token:
            send.setdefault("Authorization", f"Bearer {token}")
        if path.startswith("/api/v1/signin"):
            send.setdefault("X-Signet", "1")
        data = raw
        if body is not None:
            data = json.dumps(body).encode()
        if data is not None:
            send.setdefault("Content-Type", "application/json")
        response = self.exchange(method, path, data, send)
        answer = Answer(response.status, response.getheaders(), response.read())
        if answer.headers.get("connection") == "close":
            self.connection.close()
            self.connection = None
        check(answer)
        return answer

    def exchange(self, method, path, data, headers):
        """A connection that lay idle may have been closed meanwhile: what only reads is asked once more (RFC 9112 9.3.1)."""
        if time.monotonic() - self.used > 20:
            self.close()
        again = self.connection is not None and method == "GET"
        self.used = time.monotonic()
        if self.connection is None:
            self.connection = self.connect()
        try:
            self.connection.request(method, path, body=data, headers=headers)
            return self.connection.getresponse()
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
            self.close()
            if not again:
                raise
        return self.exchange(method, path, data, headers)

    def close(self):
        if self.connection:
            self.connection.close()
            self.connection = None


class Events:
    """A stream of /api/v1/events; a context manager."""

    def __init__(self, client, query="", last=None):
        self.connection = client.connect()
        headers = {"Authorization": f"Bearer {client.token}"} if client.token else {}
        if last:
            headers["Last-Event-ID"] = last
        self.connection.request("GET", "/api/v1/events" + query, headers=headers)
        self.response = self.connection.getresponse()
        self.status, self.id = self.response.status, last
        if self.status == 200:
            assert self.response.headers["content-type"] == "text/event-stream" and self.response.headers["cache-control"] == "no-store"

    def read(self):
        """The next event: (kind, data); (None, None) at the end."""
        kind = data = None
        end = time.monotonic() + 2 * kit.PATIENCE
        while line := self.response.readline():
            # The signs of life, which go on for ever, are none of it.
            assert time.monotonic() < end, "no event has come"
            word, _, rest = line.decode().rstrip("\n").partition(": ")
            if word == "id":
                self.id = rest
            elif word == "event":
                kind = rest
            elif word == "data":
                data = json.loads(rest)
            elif not word and data is not None:
                return kind, data
        return None, None

    def until(self, kind, **wanted):
        while True:
            got, data = self.read()
            assert got is not None, f"the stream ended before {kind} {wanted}"
            if got == kind and all(data.get(k) == v for k, v in wanted.items()):
                return data

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()


def check(answer):
    """What holds of every answer."""
    for name, value in SECURITY.items():
        assert answer.headers.get(name) == value, (name, answer)
    if answer.status >= 400:
        assert answer.type == "application/problem+json", answer
        problem = answer.json
        assert problem is None or (problem["status"] == answer.status and problem["type"].startswith("urn:signet:problem:")
                                   and problem["title"] and problem["detail"]), answer


# ---- schemas: what of JSON Schema the document uses ----

TYPES = {"string": str, "integer": int, "boolean": bool, "array": list, "object": dict, "null": type(None)}


def resolve(document, schema):
    while "$ref" in schema:
        node = document
        for part in schema["$ref"].removeprefix("#/").split("/"):
            node = node[part]
        schema = node
    return schema


def conforms(document, schema, value, at=""):
    schema = resolve(document, schema)
    types = schema.get("type")
    if types is not None:
        types = [types] if isinstance(types, str) else types
        assert any(isinstance(value, TYPES[t]) and not (t == "integer" and isinstance(value, bool)) for t in types), (at, value, types)
    if value is None:
        return
    if "enum" in schema:
        assert value in schema["enum"], (at, value)
    if isinstance(value, str):
        assert schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", 1 << 40), (at, value)
        if "pattern" in schema:
            assert re.search(schema["pattern"], value), (at, value, schema["pattern"])
    if isinstance(value, int) and not isinstance(value, bool):
        assert schema.get("minimum", value) <= value <= schema.get("maximum", value), (at, value)
    if isinstance(value, list):
        assert schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", 1 << 40), (at, value)
        for i, item in enumerate(value):
            conforms(document, schema.get("items", {}), item, f"{at}/{i}")
    if isinstance(value, dict):
        for name in schema.get("required", []):
            assert name in value, (at, name, value)
        for name, member in value.items():
            if name in schema.get("properties", {}):
                conforms(document, schema["properties"][name], member, f"{at}/{name}")
            else:
                assert schema.get("additionalProperties", True), (at, name)
