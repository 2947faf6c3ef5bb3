"""Certificates are issued, revoked, expire and are renewed without a pause under traffic: whoever loses his right is cut off, nobody
else notices, nothing that was acknowledged is lost, and memory stays as it is. SOAK_SECONDS says for how long; `make soak` does it for ten minutes."""
import datetime
import os
import pathlib
import re
import time

import pytest

import certs
import wire
from test_trust import SOON, SPRING, Site

SECONDS = float(os.environ.get("SOAK_SECONDS", "20"))
SANITIZED = os.environ.get("SIGNET_BUILD", "asan") in ("asan", "tsan")
EXPIRES_IN = 4      # seconds
LIST_MAX = 300      # entries of the revocation list
GROWTH_MB = 8


def rss_mb(broker):
    return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{broker.process.pid}/status").read_text()).group(1)) / 1024


class Soak:
    def __init__(self, site):
        self.site = site
        self.revoked, self.number, self.names = [], 1, 0
        self.expiring = []  # (peer, when)
        self.counts = dict.fromkeys(("issued", "revoked", "expired", "renewed", "messages"), 0)
        self.watcher = site.peer("watch", "watcher")
        assert self.watcher.subscribe("#", qos=1) == [1]
        self.steady = [site.peer("client", f"steady{i}") for i in range(3)]
        self.sent = 0

    def issue(self, name=None, **more):
        if name is None:
            self.names += 1
            name = f"dev{self.names}"
        self.counts["issued"] += 1
        return name, self.site.leaf("client", name, **more)

    def revoke(self, *files):
        self.revoked = (self.revoked + [f["serial"] for f in files])[-LIST_MAX:]
        self.number += 1
        self.site.write_crl(number=self.number, client=self.revoked)

    # ---- what happens to devices ----

    def is_revoked(self):
        name, files = self.issue()
        with self.site.peer("client", name, files=files) as victim:
            victim.publish(f"{SPRING}/{name}/x", b"before", qos=1)
            self.revoke(files)
            assert victim.wait_closed(SOON) == 0x87
        with pytest.raises(Exception):
            self.site.peer("client", name, files=files).close()
        self.counts["revoked"] += 1

    def will_expire(self):
        end = certs.now() + datetime.timedelta(seconds=EXPIRES_IN)
        name, files = self.issue(end=end)
        self.expiring.append((self.site.peer("client", name, files=files), time.time() + EXPIRES_IN))

    def has_expired(self):
        """Those whose time has come, and not one of the others."""
        for peer, end in list(self.expiring):
            if time.time() < end + 2:
                assert not peer.closed or time.time() > end - 2
                continue
            assert peer.wait_closed(SOON) in (0x87, 0x98)
            peer.cut()
            self.expiring.remove((peer, end))
            self.counts["expired"] += 1

    def is_renewed(self):
        name, old = self.issue()
        _, new = self.issue(name)
        before = self.site.peer("client", name, files=old)
        with self.site.peer("client", name, files=new) as after:
            assert before.wait_closed(SOON) == 0x8e
            self.revoke(old)
            after.publish(f"{SPRING}/{name}/x", b"renewed", qos=1)
            assert not after.closed
        before.cut()
        self.counts["renewed"] += 1

    # ---- traffic ----

    def traffic(self, n):
        for _ in range(n):
            for peer in self.steady:
                peer.publish(f"{SPRING}/steady{self.steady.index(peer)}/n", b"%d" % self.sent, qos=1, wait=False)
            self.sent += 1
        for peer in self.steady:
            peer.fence()
            assert not peer.closed
            with peer.changed:
                del peer.acks[:]

    def check_traffic(self):
        """All that was sent so far has come, once, and in order."""
        def arrived():
            return sum(topic.startswith(f"{SPRING}/steady") for topic, *_ in self.watcher.got) >= want
        want = len(self.steady) * self.sent - self.counts["messages"]
        self.watcher.wait(arrived, f"{want} messages", SOON * 3)
        with self.watcher.changed:
            got, self.watcher.got = self.watcher.got, []
        begin = self.counts["messages"] // len(self.steady)
        for i in range(len(self.steady)):
            numbers = [int(payload) for topic, payload, *_ in got if topic == f"{SPRING}/steady{i}/n"]
            assert numbers == list(range(begin, self.sent)), f"steady{i}"
        self.counts["messages"] += want

    def round(self):
        for happens in (self.will_expire, self.is_revoked, self.is_renewed, self.has_expired):
            self.traffic(20)
            happens()
        self.check_traffic()

    def end(self):
        while self.expiring:
            self.has_expired()
            self.traffic(1)
        self.check_traffic()
        for peer in (self.watcher, *self.steady):
            peer.close()


@pytest.mark.tsan
def test_trust_soaks(pki, tmp_path, broker_of):
    site = Site(pki, tmp_path, broker_of, "max_queued_messages 0")
    soak = Soak(site)
    begin = time.monotonic()
    warm = None
    while time.monotonic() - begin < SECONDS:
        soak.round()
        if warm is None and time.monotonic() - begin > SECONDS / 3:
            warm = rss_mb(site.broker)
    soak.end()
    grown = rss_mb(site.broker) - warm
    print(f"{soak.counts}; resident memory {warm:.1f} MB, and {grown:+.1f} MB at the end")
    assert all(soak.counts[what] > 0 for what in soak.counts)
    # A sanitizer keeps what was freed; the leaks that it finds at the end fail the test.
    if not SANITIZED:
        assert grown < GROWTH_MB
    assert len(re.findall(r"withdrawn: ", site.broker.log())) >= soak.counts["revoked"]
