"""A disk that is full: publishers are refused, whoever comes back is served, and it ends by itself."""
import os
import subprocess

import pytest

import kit
from wire import Peer


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 80 MB, for those who may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=80m,mode=777", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("file systems may not be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def quota_exceeded(peer, packet_id):
    reason = next(a[2] for a in peer.acks if a[1] == packet_id)[:1]
    assert reason in (b"", b"\0", b"\x97")
    return reason == b"\x97"


def test_a_full_disk(broker_of, small_disk):
    port = kit.free_port()
    broker = broker_of(f"allow_anonymous true\nmax_queued_messages 0\npersistence true\npersistence_location {small_disk}\n"
                       f"listener {port} 127.0.0.1\n", port)
    with Peer(port, "away", clean=False) as sub:
        assert sub.subscribe("a/#", qos=1) == [1]
    taken = 0
    with Peer(port, "pub", 5) as pub:
        for n in range(2000):
            packet_id = pub.publish("a/b", n.to_bytes(4, "big") + bytes(60000), 1)
            if quota_exceeded(pub, packet_id):
                break
            taken += 1
            pub.acks.clear()
        assert 100 < taken < 2000
        broker.wait_log("is full")
        # Whoever is away is still served, subscribing again as clients do.
        with Peer(port, "away", clean=False) as sub:
            assert sub.session_present and sub.subscribe("a/#", qos=1) == [1]
            sub.wait_messages(taken)
            assert [int.from_bytes(m[:4], "big") for m in sub.payloads()[:taken]] == list(range(taken))
            broker.wait_log("takes messages again")
            assert not quota_exceeded(pub, pub.publish("a/b", b"again", 1))
            sub.wait(lambda: b"again" in sub.payloads(), "what was published afterwards")
