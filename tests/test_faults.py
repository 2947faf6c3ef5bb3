"""A disk that fails below the whole broker: nobody is told what is not true, everybody else is served, and it ends by itself."""
import errno
import os
import pathlib
import signal
import subprocess

import pytest

import faultydisk
import kit
import test_metrics
import wire
from test_durable import FOREVER, Site, publish, refused_meanwhile

pytestmark = pytest.mark.skipif(not faultydisk.works(), reason="system calls cannot be answered for others here")


@pytest.fixture
def disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    with faultydisk.Disk(folder) as made:
        made.path = folder
        yield made


@pytest.fixture
def site(disk, broker_of):
    made = Site(broker_of, disk.path, under=disk.under())
    made.disk = disk
    return made


def numbers(peer):
    return [int(m[1][:8]) for m in peer.got if m[0].startswith("keep/")]


def all_there(site, n):
    """After kill -9: everything that was acknowledged, once and in order."""
    site.kill()
    site.start()
    with site.session("away", subscribe=False) as away:
        assert away.session_present
        away.wait_messages(n)
        away.fence()
        assert numbers(away) == list(range(n))


@pytest.mark.parametrize("error, how", [(errno.EIO, "lost"), (errno.EIO, "torn"), (errno.EIO, "landed"), (errno.EROFS, "lost")])
def test_nothing_can_be_written(site, error, how):
    publisher = wire.Peer(site.mqtt, "publisher", 5)
    assert [publish(publisher, n) < 0x80 for n in range(5)] == [True] * 5
    site.disk.fail(faultydisk.WRITES, error, how=how)
    # This one was taken before anybody knew: it is acknowledged when it is on the disk and not before.
    late = publisher.publish("keep/5", b"%08d" % 5, qos=1, wait=False)
    site.broker.wait_log(r"ALARM: the store .* cannot be written: .*" + os.strerror(error))
    kit.wait_for(lambda: site.state() == "failed", "the state")
    # What failed is there as a whole, or it is not: the way out and the next start have to do with just that.
    # (A file that is being written ahead is another matter.)
    failed = next(path for path, _, bad in site.disk.writes if bad and "spare-" not in str(path))
    assert (b"keep/5" in pathlib.Path(failed).read_bytes()) == (how == "landed")
    with wire.Peer(site.mqtt, "another", 5) as another:  # on the first connection the answers keep their order
        assert publish(another, 99) == 0x97
        # What a new session would be promised nobody could keep.
        with pytest.raises(kit.Refused) as refused:
            site.session("new")
        assert refused.value.code == 0x97
        refused_meanwhile(site, "failed")
        # Whoever has a session is served from what is known, with what is on its way to the disk as well: QoS 1 may come twice.
        with site.session("away", subscribe=False) as away:
            assert away.session_present
            away.wait_messages(6)
            assert numbers(away) == list(range(6))
            # A subscription of that session is a promise, that of a session which ends with its connection is none.
            assert away.subscribe("keep/#", qos=1) == [1]
            assert away.subscribe("other/#", qos=1) == [0x97]
        assert another.subscribe("other/#", qos=1) == [1]
        assert test_metrics.metrics(site.web)["signet_store_failures_total"] > 0
        assert not any(a[:2] == (wire.PUBACK, late) for a in publisher.acks)
        site.disk.heal()
        assert publisher.wait_ack(wire.PUBACK, late)[:1] < b"\x80"
        site.broker.wait_log(r"takes messages again")
        kit.wait_for(lambda: site.state() == "ready", "the state")
        with site.session("away", subscribe=False):
            pass
    assert publish(publisher, 6) < 0x80
    publisher.close()
    site.kill()
    site.start()
    with site.session("away", subscribe=False) as away:
        assert away.session_present
        away.wait(lambda: 6 in numbers(away), "the newest")
        assert numbers(away) == [6]
    # The frame that was written twice counts once, and is no damage.
    assert "damage" not in site.broker.log()
    site.kill()
    check = kit.signet("store", "check", site.folder / "signet.store", check=False)
    assert check.returncode == 0, check.stdout + check.stderr


def test_exactly_once_waits_for_the_disk(site):
    """QoS 2 needs it; the connection lives on meanwhile, and what stands before it in the queue comes."""
    with site.session("exact", subscribe=False) as peer:
        assert peer.subscribe("exact/#", qos=2) == [2]
        assert peer.subscribe("plain/#", qos=1) == [1]
    with wire.Peer(site.mqtt, "publisher", 5) as publisher:
        publisher.publish("exact/1", b"1", qos=2)
        half = wire.Peer(site.mqtt, "exact", 5, clean=False, properties=FOREVER, answers=False)
        half.wait_messages(1)
        publisher.publish("plain/2", b"2", qos=1)
        publisher.publish("exact/3", b"3", qos=2)
        half.wait_messages(3)
        site.disk.fail(faultydisk.WRITES)
        publisher.publish("plain/4", b"4", qos=1, wait=False)
        kit.wait_for(lambda: site.state() == "failed", "the state")
        half.send(wire.ack(wire.PUBREC, half.got[0][5])).fence()
        assert half.unreleased == {half.got[0][5], half.got[2][5]}  # PUBREL would say that PUBREC is kept
        half.cut()
        with wire.Peer(site.mqtt, "exact", 5, clean=False, properties=FOREVER, unreleased=half.unreleased) as peer:
            peer.fence()
            # "2" was in flight before "3": it may come again; what is behind waits with it.
            assert peer.session_present and [m[0] for m in peer.got] in ([], ["plain/2"])
            assert peer.unreleased == half.unreleased
            site.disk.heal()
            peer.wait(lambda: not peer.unreleased, "the releases")
            peer.wait(lambda: "plain/4" in [m[0] for m in peer.got], "the last one")
            peer.fence()
            assert [m[0] for m in peer.got if m[0].startswith("exact")] == []
    site.kill()
    site.start()
    with site.session("exact", subscribe=False) as peer:
        peer.fence()
        assert not [m for m in peer.got if m[2] == 2]


@pytest.mark.parametrize("op, where", [("flush", ""), ("fsync", ""), ("rename", ""), ("openat", "spare-"), ("allocate", ""), ("write", "spare-")])
def test_one_write_fails_and_then_a_step_of_the_way_out(site, op, where):
    """What a failed write or flush left in a file is never relied on: the same frame goes to a new file, however long making it takes."""
    publisher = wire.Peer(site.mqtt, "publisher", 5)
    assert publish(publisher, 0) < 0x80
    torn = site.disk.fail("write", where=".seg", how="torn", times=1)
    site.disk.fail(op, where=where, times=2)
    assert publish(publisher, 1) < 0x80  # as soon as there is a new file
    site.disk.wait_failed(2 if op in ("openat", "allocate", "rename", "flush", "fsync", "write") else 1, kit.PATIENCE)
    assert torn.seen >= 1
    assert [publish(publisher, n) < 0x80 for n in range(2, 10)] == [True] * 8
    kit.wait_for(lambda: site.state() == "ready", "the state")
    publisher.close()
    first = next(path for path, _, failed in site.disk.writes if failed)
    after = site.disk.writes[[failed for _, _, failed in site.disk.writes].index(True) + 1:]
    assert first not in [path for path, _, _ in after], "written again behind a failure"
    all_there(site, 10)


def test_a_start_that_cannot_read(site):
    """No start, with a word about how to go on: the next attempt may be able to, and then everything is there."""
    with wire.Peer(site.mqtt, "publisher", 5) as publisher:
        assert [publish(publisher, n) < 0x80 for n in range(5)] == [True] * 5
    site.kill()
    conf = site.broker.dir / "again.conf"
    conf.write_text(site.conf)
    for after in (0, 1, 5):
        site.disk.fail("read", where=".seg", after=after)
        result = subprocess.run([*site.disk.under(), kit.SIGNET, "broker", "-c", conf], capture_output=True, text=True, timeout=kit.PATIENCE, check=False)
        assert result.returncode == 1, result.stdout + result.stderr
        assert "cannot read" in result.stderr and "Input/output error" in result.stderr, result.stderr
        site.disk.heal()
    all_there(site, 5)


def test_a_start_that_cannot_write(site):
    """It serves what there is, and goes on when the disk does."""
    with wire.Peer(site.mqtt, "publisher", 5) as publisher:
        assert [publish(publisher, n) < 0x80 for n in range(5)] == [True] * 5
    site.kill()
    site.disk.fail(faultydisk.WRITES - {"openat"}, errno.EROFS)
    site.disk.fail("openat", errno.EROFS, where="spare-")
    site.start()
    served_until_it_can(site, site.disk.heal)


def served_until_it_can(site, heal):
    assert site.state() == "failed"
    site.broker.wait_log(r"ALARM: the store .* cannot be written: .*Read-only")
    refused_meanwhile(site, "failed")
    with site.session("away") as away:
        away.wait_messages(5)
        away.fence()
        assert away.session_present and numbers(away) == list(range(5))
        heal()
        kit.wait_for(lambda: site.state() == "ready", "the state")
        with wire.Peer(site.mqtt, "publisher", 5) as publisher:
            assert publish(publisher, 5) < 0x80
        away.wait_messages(6)
    site.kill()
    site.start()
    with site.session("away", subscribe=False) as away:
        away.fence()
        assert away.session_present and set(numbers(away)) <= {5}


@pytest.fixture
def mounted(tmp_path):
    """A file system of its own, for those who may mount one."""
    folder = tmp_path / "own"
    folder.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=140m", "tmpfs", folder], capture_output=True).returncode != 0:
        pytest.skip("a file system of its own cannot be mounted")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_file_system_that_is_read_only(mounted, broker_of):
    """A real one, as after a crash that it has not been repaired from; it becomes writable while the broker runs."""
    site = Site(broker_of, mounted)
    with wire.Peer(site.mqtt, "publisher", 5) as publisher:
        assert [publish(publisher, n) < 0x80 for n in range(5)] == [True] * 5
    site.kill()
    subprocess.run(["mount", "-o", "remount,ro", mounted], check=True)
    site.start()
    served_until_it_can(site, lambda: subprocess.run(["mount", "-o", "remount,rw", mounted], check=True))
    site.broker.stop(signal.SIGTERM)
