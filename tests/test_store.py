"""signet store: check, stats, dump and restore, on directories that are written here as docs/store-format.md says."""
import fcntl
import json
import struct

import pytest

import kit

SEGMENT = 64 * 1024
PUT, DELETE, TAIL, END = 1, 2, 3, 4
SESSION, RETAINED, BODY, ENTRY = 1, 2, 0x43, 0x85


def table():
    out = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        out.append(value)
    return out


TABLE = table()


def crc32c(data, crc=0):
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


class Segment:
    """One file, written frame by frame."""

    def __init__(self, number, first, tail=1, major=1):
        self.uuid, self.salt, self.number, self.next = b"u" * 16, b"s" * 16, number, first
        self.seed = crc32c(self.uuid + self.salt + struct.pack("<I", number))
        head = struct.pack("<8sHHII4xQQ16s16sB7x8sQ", b"SIGSEG\r\n", major, 0, number, tail, first, 1000, self.uuid, self.salt, 0, b"", SEGMENT)
        head = head.ljust(508, b"\0")
        head += struct.pack("<I", crc32c(head))
        self.bytes = bytearray(head.ljust(2048, b"\0") + head.ljust(2048, b"\0"))

    def record(self, what, kind=0, number=0, ref=0, content=b""):
        mask = crc32c(struct.pack("<Q", self.next), self.seed)
        rest = struct.pack("<BBHQ", what, kind, 0, number)
        if what == PUT:
            rest += struct.pack("<QI", ref, len(content)) + content
        return struct.pack("<I", crc32c(rest) ^ mask) + rest

    def frame(self, *records):
        """Its place in the file."""
        payload = b"".join(self.record(*r) for r in records)
        head = struct.pack("<4sIQIII", b"SFR1", len(payload), self.next, len(records), 0, crc32c(payload, self.seed))
        head += struct.pack("<I", crc32c(head, self.seed))
        at = len(self.bytes)
        self.bytes += head + payload
        self.bytes += bytes(-len(self.bytes) % 512)
        self.next += 1
        return at

    def write(self, folder):
        path = folder / f"{self.number:016x}.seg"
        path.write_bytes(self.bytes.ljust(SEGMENT, b"\0"))
        return path


@pytest.fixture
def store(tmp_path):
    folder = tmp_path / "store"
    folder.mkdir()
    one = Segment(1, 1)
    one.frame((PUT, SESSION, 1, 0, b"alice"), (PUT, BODY, 2, 0, b"topic and payload"), (PUT, ENTRY, 3, 2, b"to alice"), (PUT, ENTRY, 4, 2, b"to bob"))
    one.frame((PUT, RETAINED, 5, 0, b"old"), (PUT, RETAINED, 6, 0, b"gone"))
    one.write(folder)
    two = Segment(3, 3)
    two.frame((PUT, RETAINED, 5, 0, b"new"), (DELETE, RETAINED, 6), (DELETE, ENTRY, 4))
    two.frame((END,))
    two.write(folder)
    return folder


def dump(folder):
    lines = kit.signet("store", "dump", folder, "--content").stdout.splitlines()
    return {r["id"]: (r["kind"], r.get("ref", 0), bytes.fromhex(r["content"])) for r in map(json.loads, lines)}


WHOLE = {1: ("session", 0, b"alice"), 2: ("body", 0, b"topic and payload"), 3: ("entry", 2, b"to alice"), 5: ("retained", 0, b"new")}


def test_what_is_there(store):
    assert "whole, closed in order" in kit.signet("store", "check", store).stdout
    assert dump(store) == WHOLE
    stats = json.loads(kit.signet("store", "stats", store, "--json").stdout)
    assert stats["live"] == {"session": 1, "body": 1, "entry": 1, "retained": 1}
    assert (stats["segments"], stats["damaged"], stats["frames"]) == (2, 0, 4)
    assert "retained" in kit.signet("store", "stats", store).stdout
    assert "content" not in kit.signet("store", "dump", store).stdout


def test_damage_is_named_and_the_rest_is_there(store):
    path = store / f"{1:016x}.seg"
    data = bytearray(path.read_bytes())
    at = data.index(b"to alice")
    data[at] ^= 1
    path.write_bytes(data)
    result = kit.signet("store", "check", store, check=False)
    assert result.returncode == 1
    assert f"{path.name}: byte 4096:" in result.stdout and "records lost: 1" in result.stdout and "DAMAGED" in result.stdout
    assert dump(store) == {k: v for k, v in WHOLE.items() if k not in (2, 3)}  # nobody refers to the body any more


def test_a_torn_tail_is_no_damage(store):
    two = Segment(3, 3)
    two.frame((PUT, RETAINED, 5, 0, b"new"), (DELETE, RETAINED, 6), (DELETE, ENTRY, 4))
    torn = two.frame((PUT, RETAINED, 9, 0, b"x" * 2000))
    del two.bytes[torn + 512:]
    two.write(store)
    result = kit.signet("store", "check", store)
    assert "not closed in order" in result.stdout and f"byte {torn}: a frame that was never acknowledged" in result.stdout
    assert dump(store) == WHOLE


def test_refusals(store, tmp_path):
    for words, code, said in ((["check", tmp_path], 1, "no segments"), (["check", tmp_path / "nothing"], 1, "cannot read"), (["check"], 2, ""),
                              ([], 2, ""), (["nonsense", store], 2, ""), (["check", store, "--key-file", tmp_path], 1, "directory")):
        result = kit.signet("store", *words, check=False)
        assert result.returncode == code and said in result.stderr, words
    lock = open(store / "LOCK", "w", encoding="ascii")
    fcntl.flock(lock, fcntl.LOCK_EX)
    result = kit.signet("store", "check", store, check=False)
    assert result.returncode == 1 and "in use by another process" in result.stderr
    lock.close()
    newer = tmp_path / "newer"
    newer.mkdir()
    Segment(1, 1, major=2).write(newer)
    result = kit.signet("store", "check", newer, check=False)
    assert result.returncode == 1 and "has format 2.0" in result.stderr


def test_restore(store, tmp_path):
    there = tmp_path / "there"
    kit.signet("restore", store, there)
    assert dump(there) == WHOLE
    result = kit.signet("restore", store, there, check=False)
    assert result.returncode == 1 and "has a store already" in result.stderr
    path = store / f"{1:016x}.seg"
    path.write_bytes(path.read_bytes().replace(b"alice", b"malic"))
    result = kit.signet("restore", store, tmp_path / "other", check=False)
    assert result.returncode == 1 and "is damaged" in result.stderr and not (tmp_path / "other").exists()
