"""Persistence when the disk does not do what it should: full, failing, damaged."""
import os
import pathlib
import random
import resource
import shutil
import signal
import subprocess
import tempfile

import pytest

import control
import kit
import test_metrics
import wire

FOREVER = b"\x11" + wire.u32(0xFFFFFFFF)
BIG = 64 * 1024


class Site:
    """A broker with persistence in <folder>, a listener for metrics, and a session that is away."""

    def __init__(self, broker_of, folder, *lines, **more):
        """<more>: for kit.Broker."""
        self.mqtt, self.web, self.folder, self.broker_of, self.more = kit.free_port(), kit.free_port(), folder, broker_of, more
        self.conf = (f"listener {self.mqtt} 127.0.0.1\nallow_anonymous true\nworkers 2\nsys_interval 1\nmax_queued_messages 0\n{kit.STAY_ROOT}"
                     f"persistence true\npersistence_location {folder}\nlistener {self.web}\nprotocol metrics\n" + "\n".join(lines) + "\n")
        self.start()
        self.session("away").close()

    def start(self):
        self.broker = self.broker_of(self.conf, [self.mqtt, self.web], **self.more)

    def kill(self):
        self.broker.process.kill()
        self.broker.process.wait()

    def session(self, name, subscribe=True):
        peer = wire.Peer(self.mqtt, name, 5, clean=False, properties=FOREVER)
        if subscribe:
            peer.subscribe("keep/#", qos=1)
        return peer

    def state(self):
        now = test_metrics.metrics(self.web)
        return next(s for s in ("off", "ready", "full", "failed") if now[f'signet_store_state{{state="{s}"}}'] == 1)


def publish(peer, n, size=0):
    """The reason of PUBACK."""
    packet_id = next(peer.ids)
    peer.send(wire.publish(f"keep/{n}", b"%08d" % n + b"x" * size, 1, packet_id, peer.version))
    return (peer.wait_ack(wire.PUBACK, packet_id) + b"\0")[0]


def publish_until_refused(peer, most):
    for n in range(most):
        reason = publish(peer, n, BIG)
        if reason >= 0x80:
            assert reason == 0x97
            return n
    raise AssertionError(f"{most} messages were taken")


def refused_meanwhile(site, state):
    """What holds while nothing can be kept: publishers hear it, everybody else is served, and it can be seen."""
    assert site.state() == state
    with wire.Peer(site.mqtt, "watch", 5) as watch:
        watch.subscribe("$SYS/broker/store/state", "$SYS/broker/alarms", "live", qos=0)
        watch.wait(lambda: any(m[0] == "$SYS/broker/store/state" and m[1] == state.encode() for m in watch.got), f"$SYS says {state}")
        watch.wait(lambda: any(f'"store-{state}"'.encode() in m[1] for m in watch.got if m[0] == "$SYS/broker/alarms"), "the alarm")
        watch.publish("live", b"now", qos=0)
        watch.wait(lambda: any(m[0] == "live" for m in watch.got), "a message of QoS 0")
    old = wire.Peer(site.mqtt, "old", 4)
    packet_id = old.publish("keep/old", b"x", qos=1, wait=False)
    old.wait_closed()
    assert not any(a[1] == packet_id for a in old.acks)
    old.cut()


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=140m", "tmpfs", folder], capture_output=True).returncode != 0:
        pytest.skip("a file system of its own cannot be mounted")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(folder):
    path = folder / "filler"
    with open(path, "wb", buffering=0) as f:
        try:
            while True:
                f.write(b"\0" * 65536)
        except OSError:
            pass
    return path


def test_a_full_disk(broker_of, small_disk):
    site = Site(broker_of, small_disk)
    kit.wait_for(lambda: test_metrics.metrics(site.web)["signet_store_spare_segments"] >= 2, "the reserve")
    filler = fill(small_disk)
    publisher = wire.Peer(site.mqtt, "publisher", 5)
    kept = publish_until_refused(publisher, 2000)
    assert kept > 0
    site.broker.wait_log(r"ALARM: the store .* is full")
    refused_meanwhile(site, "full")
    # What was acknowledged is served, and its going needs no space.
    away = site.session("away", subscribe=False)
    assert away.session_present
    away.wait_messages(kept)
    away.fence()
    filler.unlink()
    site.broker.wait_log(r"takes messages again")
    kit.wait_for(lambda: site.state() == "ready", "the store to be ready")
    kit.wait_for(lambda: test_metrics.metrics(site.web)['signet_alarms{name="store-full"}'] == 0, "the alarm to go")
    assert publish(publisher, kept) < 0x80
    away.wait_messages(kept + 1)
    assert [int(m[1][:8]) for m in away.got] == list(range(kept + 1))
    publisher.close()
    away.close()
    site.broker.stop(signal.SIGTERM)


def test_a_start_on_a_full_disk(broker_of, small_disk):
    site = Site(broker_of, small_disk)
    with wire.Peer(site.mqtt, "publisher", 5) as publisher:
        assert [publish(publisher, n) < 0x80 for n in range(50)] == [True] * 50
    kit.wait_for(lambda: test_metrics.metrics(site.web)["signet_store_spare_segments"] >= 2, "the reserve")
    site.kill()
    fill(small_disk)
    site.start()
    away = site.session("away", subscribe=False)
    assert away.session_present
    away.wait_messages(50)
    away.close()


def test_writes_that_fail(broker_of, tmp_path):
    """A limit on the size of files that is put on the running process: each write of the store fails."""
    site = Site(broker_of, tmp_path)
    with wire.Peer(site.mqtt, "publisher", 5) as publisher:
        assert publish(publisher, 0) < 0x80
        pid = site.broker.process.pid
        before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, before[1]))
        # This one was taken before anybody knew: it is acknowledged when it is on the disk and not before.
        first = publisher.publish("keep/1", b"%08d" % 1, qos=1, wait=False)
        kit.wait_for(lambda: site.state() == "failed", "the store to notice")
        with wire.Peer(site.mqtt, "another", 5) as another:  # on the first connection the answers keep their order
            assert publish(another, 99) == 0x97
        refused_meanwhile(site, "failed")
        assert test_metrics.metrics(site.web)["signet_store_failures_total"] > 0
        assert not any(a[:2] == (wire.PUBACK, first) for a in publisher.acks)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
        assert publisher.wait_ack(wire.PUBACK, first)[:1] < b"\x80"
        kit.wait_for(lambda: site.state() == "ready", "the store to be ready")
        assert publish(publisher, 2) < 0x80
    site.kill()
    site.start()
    away = site.session("away", subscribe=False)
    away.wait_messages(3)
    assert [int(m[1][:8]) for m in away.got] == [0, 1, 2]
    away.close()


@pytest.fixture
def killed(broker_of, tmp_path):
    """The store of a broker that was killed: 300 messages for one session."""
    folder = tmp_path / "disk"
    folder.mkdir()
    site = Site(broker_of, folder)
    with wire.Peer(site.mqtt, "publisher", 5) as publisher:
        for n in range(300):
            assert publish(publisher, n, 200) < 0x80
    site.kill()
    return site


def used(path):
    """Bytes up to the last that is not zero."""
    return len(path.read_bytes().rstrip(b"\0"))


def test_flipped_bits(killed):
    """Anywhere in any file: what is damaged is named with its place, everything else is there."""
    store = killed.folder / "signet.store"
    whole = killed.folder / "whole"
    shutil.copytree(store, whole)
    chance = random.Random(5)
    for path in sorted(whole.glob("*.seg")):
        for _ in range(4):
            shutil.rmtree(store)
            shutil.copytree(whole, store)
            at = chance.randrange(used(path))
            data = bytearray((store / path.name).read_bytes())
            data[at] ^= 1 << chance.randrange(8)
            (store / path.name).write_bytes(data)
            mark = f"{path.name}, byte {at}"
            killed.start()
            away = wire.Peer(killed.mqtt, "away", 5, clean=False, properties=FOREVER)
            away.wait(lambda: len(away.got) >= 299 or not away.session_present, mark)
            away.fence()
            got = [int(m[1][:8]) for m in away.got]
            missing = set(range(300)) - set(got)
            assert all(m[1] == b"%08d" % int(m[1][:8]) + b"x" * 200 for m in away.got), mark
            assert got == sorted(got), mark
            if missing or not away.session_present:
                assert "ALARM: store" in killed.broker.log() and path.name in killed.broker.log(), mark
            assert len(missing) <= 1 or not away.session_present, f"{mark}: {missing}"
            away.close()
            killed.broker.stop()


def test_damage_can_be_refused(killed):
    path = next(p for p in sorted((killed.folder / "signet.store").glob("*.seg")) if b"keep/150" in p.read_bytes())
    data = bytearray(path.read_bytes())
    data[data.index(b"keep/150")] ^= 1  # not in what fills up a frame: nobody would miss that
    path.write_bytes(data)
    conf = killed.folder / "refuse.conf"
    conf.write_text(killed.conf + "persistence_damage refuse\n")
    result = kit.signet("broker", "-c", conf, check=False)
    text = result.stdout + result.stderr
    assert result.returncode != 0
    assert path.name in text and "signet store check" in text and "persistence_damage recover" in text, text


def test_a_backup_of_the_running_broker(broker_of, tmp_path):
    with tempfile.TemporaryDirectory(prefix="sb-", dir="/tmp") as sockets:
        path = pathlib.Path(sockets) / "c.sock"
        (tmp_path / "disk").mkdir()
        site = Site(broker_of, tmp_path / "disk", f"listener 0 {path}", "protocol control")
        with wire.Peer(site.mqtt, "publisher", 5) as publisher:
            for n in range(20):
                assert publish(publisher, n) < 0x80
            made = kit.signet("backup", "backup", "--socket", path, cwd=tmp_path)
            assert str(tmp_path / "backup") in made.stdout
            again = kit.signet("backup", tmp_path / "backup", "--socket", path, check=False)
            assert again.returncode == 1 and "empty" in again.stderr
            assert publish(publisher, 20) < 0x80
        site.broker.stop()
        kit.signet("store", "check", tmp_path / "backup")
        shutil.rmtree(tmp_path / "disk" / "signet.store")
        kit.signet("restore", tmp_path / "backup", tmp_path / "disk" / "signet.store")
        site.start()
        away = site.session("away", subscribe=False)
        assert away.session_present
        away.wait_messages(20)
        away.fence()
        assert [int(m[1][:8]) for m in away.got] == list(range(20))
        away.close()


def test_a_backup_where_the_user_may_not_come_by_name(broker_of, tmp_path):
    """The store's folder is the broker's, those above it are root's alone: a copy to a place of the broker's choice is made all the same."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    port = kit.free_port()
    with tempfile.TemporaryDirectory(prefix="sb-", dir="/tmp") as sockets:
        path = pathlib.Path(sockets) / "c.sock"
        broker_of(f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {closed}\nlistener 0 {path}\nprotocol control\n", port)
        with wire.Peer(port, "publisher", 5) as publisher, control.Control(path) as c:
            assert publish(publisher, 1) < 0x80
            told = c.ask("backup")
            assert told.get("dir", "").startswith(f"{closed}/signet.store/backup-"), told
            kit.signet("store", "check", told["dir"])
            assert c.ask("backup", dir="here")["code"] == "argument"


def test_the_key_is_a_credential(tmp_path, broker_of, monkeypatch):
    """systemd's LoadCredential=signet-store-key:FILE; what is wrong with it is said, and nothing is written without it."""
    folder, store = tmp_path / "credentials", tmp_path / "here"
    folder.mkdir()
    store.mkdir()
    key = folder / "signet-store-key"
    key.write_bytes(bytes(range(32)))
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    site = Site(broker_of, store)
    with wire.Peer(site.mqtt, "publisher", 5) as publisher:
        assert publish(publisher, 1) < 0x80
    site.kill()
    assert not any(b"keep/" in path.read_bytes() for path in (store / "signet.store").glob("*.seg"))
    assert kit.signet("store", "check", store / "signet.store", check=False).returncode == 1
    assert "whole" in kit.signet("store", "check", store / "signet.store", "--key-file", key).stdout
    conf = tmp_path / "again.conf"
    conf.write_text(site.conf)
    key.write_text("too short")
    result = kit.signet("broker", "-c", conf, check=False)
    assert result.returncode == 1 and "signet-store-key" in result.stderr
    key.unlink()
    result = kit.signet("broker", "-c", conf, check=False)
    assert result.returncode == 1 and "give that key" in result.stderr
    key.write_text(bytes(range(32)).hex() + "\n")
    site.start()
    with site.session("away", subscribe=False) as away:
        away.wait_messages(1)


def test_without_persistence_it_says_so(tmp_path, broker_of):
    port = kit.free_port()
    broker = broker_of(f"listener {port} 127.0.0.1\nallow_anonymous true\n{kit.STAY_ROOT}persistence false\npersistence_location {tmp_path}\n", [port])
    broker.wait_log(r"persistence false: nothing is kept on the disk\. Sessions, .* end with this process")
    assert not (tmp_path / "signet.store").exists()
