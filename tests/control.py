"""The control socket as the control process uses it: requests and answers, events, the registry."""
import itertools
import json
import socket
import time

import kit
import wire

PREFIX = "$CONTROL/signet/v1/"


class Control:
    """One connection; everything is read on the caller's thread."""

    def __init__(self, path, client_id="control", events=False):
        # Its place among the listeners is behind those that the broker's start was waited for.
        self.sock = kit.wait_for(lambda: self._reach(str(path)), f"the socket {path}")
        self.frames, self.tags, self.answers, self.batches = wire.Frames(), itertools.count(1), {}, []
        self.ready = set()
        self.sock.sendall(wire.connect(client_id, 5, keepalive=0))
        self._until(lambda: wire.CONNACK in self.ready)
        topics = [PREFIX + "response"] + ([PREFIX + "events"] if events else [])
        self.sock.sendall(wire.subscribe(*topics, version=5))
        self._until(lambda: wire.SUBACK in self.ready)

    @staticmethod
    def _reach(path):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(kit.PATIENCE)
        try:
            sock.connect(path)
            return sock
        except OSError:
            sock.close()
            return None

    def _read(self):
        data = self.sock.recv(1 << 20)
        if not data:
            raise EOFError
        for kind, flags, body in self.frames.feed(data):
            if kind != wire.PUBLISH:
                if kind in (wire.CONNACK, wire.SUBACK):
                    assert body[-1 if kind == wire.SUBACK else 1] == 0, body
                self.ready.add(kind)
                continue
            topic, _, properties, payload = wire.split_publish(flags, body, 5)
            if topic == PREFIX + "events":
                self.batches.append(json.loads(payload))
            else:
                # Correlation Data is the only property.
                assert properties[0] == 9
                self.answers[int.from_bytes(properties[3:], "big")] = json.loads(payload)

    def _until(self, condition, seconds=kit.PATIENCE):
        end = time.monotonic() + seconds
        while not condition():
            left = end - time.monotonic()
            assert left > 0, "no answer on the control socket"
            self.sock.settimeout(left)
            self._read()

    def send(self, command, payload):
        """The number by which answer() finds what comes back."""
        tag = next(self.tags)
        data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        self.sock.settimeout(kit.PATIENCE)
        self.sock.sendall(wire.publish(PREFIX + command, data, version=5, properties=b"\x09" + wire.text(wire.u32(tag))))
        return tag

    def answer(self, tag):
        self._until(lambda: tag in self.answers)
        return self.answers.pop(tag)

    def ask(self, command, **request):
        return self.answer(self.send(command, request))

    def snapshot(self, generation, enabled=(), disabled=(), pending=(), size=4096):
        """The whole truth; the answer of commit."""
        states = [("enabled", n) for n in enabled] + [("disabled", n) for n in disabled] + [("pending", n) for n in pending]
        sent = [self.send("registry/begin", {"generation": generation, "devices": len(states)})]
        for index, at in enumerate(range(0, len(states), size)):
            chunk = {"generation": generation, "index": index}
            for state, name in states[at:at + size]:
                chunk.setdefault(state, []).append(name)
            sent.append(self.send("registry/chunk", chunk))
        sent.append(self.send("registry/commit", {"generation": generation}))
        for tag in sent[:-1]:
            assert self.answer(tag) == {"done": True}
        return self.answer(sent[-1])

    def events(self, condition):
        """All events until the condition, of the list of them, holds."""
        def all_of():
            return [e for batch in self.batches for e in batch["events"]]
        self._until(lambda: condition(all_of()))
        return all_of()

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
