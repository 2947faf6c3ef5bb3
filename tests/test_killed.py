"""SIGKILL of the signer, of control and of the broker, each under load by MQTT, by the API and with certificates being signed: whatever was
acknowledged is so afterwards, and whoever talks to the broker does not notice that one of the others has gone. docs/control.md has the figures:
SIGNET_FIGURES=FILE writes them there."""
import ctypes
import http.client
import json
import multiprocessing
import os
import threading
import time

import apikit
import kit
import pytest
import wire
from test_api_certificates import one, openssl, request

SPEAKERS, ASKERS = 3, 2
ROUNDS = 2 if kit.BUILD == "release" else 1
# How long a PUBACK may take while another process dies and comes back. On a quiet machine it takes a hundredth of that.
BOUND_S = 1.0
fork = multiprocessing.get_context("fork")


class Clock(ctypes.Structure):
    _fields_ = [("acknowledged", ctypes.c_int64), ("connections", ctypes.c_int64), ("go", ctypes.c_int64), ("stop", ctypes.c_int64)]


def talk(*words):
    """In a process of its own, which ends without what this one would do at its end."""
    code = 1
    try:
        speak(*words)
        code = 0
    finally:
        os._exit(code)


def speak(port, files, name, clock, path):
    """One message after the other at QoS 1, and again what had no answer. Each line of <path> says when one was sent and how long its PUBACK took."""
    topic, context = f"{kit.PREFIX}/{name}/x", kit.tls_context(files)
    raw, n, again = None, 1, False
    kit.wait_for(lambda: clock.go, "somebody who hears it")
    with open(path, "w") as out:
        while not clock.stop:
            try:
                if raw is None:
                    raw = kit.Raw(port, context=context)
                    assert raw.connect(name, clean=False)[1][1] == 0
                    clock.connections += 1
                begin = time.monotonic()
                raw.send(wire.publish(topic, f"{name} {n}", 1, n % 65535 + 1, dup=again))
                again = True
                while raw.packet() != (wire.PUBACK << 4, wire.u16(n % 65535 + 1)):
                    pass
                out.write(f"{begin} {time.monotonic() - begin}\n")
                clock.acknowledged = n
                n, again = n + 1, False
            except (OSError, EOFError):
                if raw is not None:
                    raw.close()
                raw = None
                time.sleep(0.01)
        if raw is not None:
            raw.send(wire.disconnect()).close()


class Speaker:
    def __init__(self, served, name, folder):
        self.name, self.path, self.clock = name, folder / f"{name}.times", fork.RawValue(Clock)
        self.process = fork.Process(target=talk, args=(served.mqtt, served.pki.device(name), name, self.clock, self.path))

    def end(self):
        self.clock.stop = 1
        self.process.join(kit.PATIENCE)
        assert self.process.exitcode == 0

    def times(self):
        return [tuple(map(float, line.split())) for line in self.path.read_text().splitlines()]


class Listener:
    """Hears all of it in a session that stays, by as many connections as it takes."""

    def __init__(self, served):
        self.served, self.files, self.done, self.connections = served, served.pki.files("watcher"), [], 0
        self.peer = self.connect()

    def connect(self):
        peer = wire.Peer(self.served.mqtt, "watcher", files=self.files, clean=False)
        self.connections += 1
        if not peer.session_present:
            assert peer.subscribe(f"{kit.PREFIX}/#", qos=1) == [1]
        return peer

    def again(self):
        """After the broker's end; what came before is kept."""
        self.peer.wait_closed()
        self.peer.cut()
        self.done += self.peer.payloads()

        def back():
            try:
                return self.connect()
            except (OSError, EOFError):
                return None
        self.peer = kit.wait_for(back, "the broker")
        assert self.peer.session_present

    def heard(self):
        with self.peer.changed:
            return set(self.done) | set(self.peer.payloads())


class Asker(threading.Thread):
    """Makes devices, has certificates signed, revokes, changes and removes; notes what was answered, and begins anew where no answer came."""

    def __init__(self, served, number, csr):
        super().__init__(daemon=True)
        self.client, self.csr = served.client(who="controller"), csr
        self.name, self.number, self.stop, self.answered = f"d{number}", 0, False, 0
        self.devices, self.certificates, self.fault = {}, {}, None

    def ask(self, method, path, body, *codes):
        answer = self.client(method, path, body)
        if answer.status in (503, 504, 500):  # the signer or the broker is away just now
            raise OSError
        assert answer.status in codes, (method, path, answer)
        self.answered += 1
        return answer

    def turn(self):
        self.number += 1
        name = f"{self.name}-{self.number}"
        path = f"/api/v1/devices/{name}"
        self.ask("POST", "/api/v1/devices", {"id": name}, 201)
        self.devices[name] = ""
        made = self.ask("POST", path + "/certificates", {"csr": self.csr}, 201).json
        self.certificates[one(made)] = {"active"}
        if self.number % 3 == 0:
            self.certificates[one(made)] = {"active", "revoked"}  # until it is answered
            self.ask("POST", one(made) + "/revoke", {"reason": "superseded"}, 200)
            self.certificates[one(made)] = {"revoked"}
        if self.number % 3 == 1:
            self.devices[name] = None
            self.ask("PATCH", path, {"label": "changed"}, 200)
            self.devices[name] = "changed"
        if self.number % 5 == 0:
            self.devices[name] = None
            self.certificates[one(made)] = {"active", "revoked"}
            self.ask("DELETE", path, None, 204)
            del self.devices[name]
            self.certificates[one(made)] = {"revoked"}
            self.devices[name] = False

    def run(self):
        try:
            while not self.stop:
                try:
                    self.turn()
                except (OSError, http.client.HTTPException):
                    self.client.close()
                    time.sleep(0.01)
        except BaseException as fault:  # pylint: disable=broad-except
            self.fault = fault


class Load:
    def __init__(self, served, folder):
        csr, _ = request(folder, "load")
        self.served = served
        self.speakers = [Speaker(served, f"speaker{i}", folder) for i in range(SPEAKERS)]
        # Before there are threads.
        for s in self.speakers:
            s.process.start()
        self.askers = [Asker(served, i, csr) for i in range(ASKERS)]
        self.listener = Listener(served)
        for s in self.speakers:
            s.clock.go = 1
        for a in self.askers:
            a.start()

    def counts(self):
        for a in self.askers:
            assert a.fault is None, a.fault
        return [s.clock.acknowledged for s in self.speakers] + [a.answered for a in self.askers] + [len(a.certificates) for a in self.askers]

    def goes_on(self, what):
        """Everybody has got some more answers."""
        before = self.counts()
        kit.wait_for(lambda: all(now >= was + 3 for now, was in zip(self.counts(), before)), f"all to go on {what}", 3 * kit.PATIENCE)

    def connections(self):
        return [s.clock.connections for s in self.speakers]

    def end(self):
        for a in self.askers:
            a.stop = True
        for s in self.speakers:
            s.end()
        for a in self.askers:
            a.join(kit.PATIENCE)
            assert not a.is_alive() and a.fault is None, a.fault

    def latency(self, begin, end):
        """(messages, median, 99 %, worst), in seconds, of those under way then."""
        took = sorted(t for s in self.speakers for at, t in s.times() if at + t >= begin and at <= end)
        return len(took), took[len(took) // 2], took[len(took) * 99 // 100], took[-1]


def kill(served, load, name):
    """When it was, and when all went on. The supervisor starts it again."""
    mark, begin = len(served.text()), time.monotonic()
    served.kill(name)
    kit.wait_for(lambda: f"The {name} was killed by signal 9" in served.text()[mark:], "the supervisor to notice")
    if name == "broker":
        load.listener.again()
    load.goes_on(f"after the end of the {name}")
    return begin, time.monotonic()


@pytest.mark.release
def test_each_in_turn_under_load(tmp_path):
    with apikit.Served(kit.Pki(tmp_path / "d")) as served:
        load = Load(served, tmp_path)
        load.goes_on("at the start")
        begin = time.monotonic()
        load.goes_on("once more")
        quiet, windows = (begin, time.monotonic()), []
        for n in range(ROUNDS):
            for name in ("signer", "control"):
                windows.append((name, *kill(served, load, name)))
            # Nobody had to connect again for these two.
            assert load.connections() == [n + 1] * SPEAKERS and load.listener.connections == n + 1
            windows.append(("broker", *kill(served, load, "broker")))
        load.end()
        assert load.connections() == [ROUNDS + 1] * SPEAKERS
        wanted = {f"{s.name} {n}".encode() for s in load.speakers for n in range(1, s.clock.acknowledged + 1)}
        try:
            kit.wait_for(lambda: wanted <= load.listener.heard(), "everything that was acknowledged")
        except AssertionError:
            raise AssertionError(f"acknowledged and not heard: {sorted(wanted - load.listener.heard())[:20]}") from None
        load.listener.peer.close()
        check(served, load)
        told(load, quiet, windows)
    assert json.loads(kit.signet("audit", "verify", "--dir", served.dir, "--json").stdout)["ok"]


def check(served, load):
    """What was answered is in the registry, in the index of the CA, in the audit log and on the list."""
    admin = served.client(who="controller")
    made = {}
    for a in load.askers:
        for name, label in a.devices.items():
            answer = admin("GET", f"/api/v1/devices/{name}")
            assert answer.status == (404 if label is False else 200) or label is None, (name, label, answer)
            assert not isinstance(label, str) or answer.json["label"] == label, (name, label, answer)
        made |= a.certificates
    states = {path.rsplit("/", 1)[1]: admin("GET", path).json["state"] for path in made}
    assert all(states[path.rsplit("/", 1)[1]] in allowed for path, allowed in made.items()), (made, states)
    revoked = {serial for serial, state in states.items() if state == "revoked"}
    logged = [json.loads(line) for line in (served.dir / "audit.log").read_text().splitlines()]
    assert states.keys() <= {r["details"]["serial"] for r in logged if r["action"] == "issue"}
    devices = {f"/api/v1/devices/{name}" for a in load.askers for name in a.devices}
    kit.wait_for(lambda: devices <= {r["object"] for r in map(json.loads, (served.dir / "audit.log").read_text().splitlines()) if r["action"] == "createDevice"},
                 "the records of all devices")

    # What a removal revoked is booked behind its answer.
    def booked():
        return {e["serial"] for e in json.loads(kit.signet("ca", "list", "--dir", served.dir, "--json").stdout) if e["status"] == "revoked"}
    kit.wait_for(lambda: booked() & states.keys() == revoked, "the CA's index")
    assert admin("POST", "/api/v1/cas/client/crl").status == 200
    text = openssl("crl", "-in", served.dir / "crls/client.pem", "-noout", "-text").lower()
    assert {serial for serial in states if serial in text} == revoked


def told(load, quiet, windows):
    rows = [("nobody", *load.latency(*quiet), quiet[1] - quiet[0])] + [(name, *load.latency(b, e), e - b) for name, b, e in windows]
    if "SIGNET_FIGURES" in os.environ:
        with open(os.environ["SIGNET_FIGURES"], "a") as out:
            for name, n, median, most, worst, window in rows:
                out.write(f"{name:8} {n:6} messages in {window:5.2f} s, PUBACK {1000 * median:6.2f} ms, 99 % {1000 * most:6.2f} ms, "
                          f"worst {1000 * worst:7.2f} ms\n")
            out.write(f"{sum(load.counts()[:SPEAKERS])} messages, {sum(a.answered for a in load.askers)} answers of the API, "
                      f"{sum(len(a.certificates) for a in load.askers)} certificates\n")
    for name, *_, worst, _ in rows:
        assert name == "broker" or worst < BOUND_S or kit.BUILD != "release", (name, worst)
