"""What ends by the clock on the wall, which is moved here: tokens on both kinds of paths, streams of events, a bundle's link. And streams that end otherwise."""
import os
import re

import apikit
import clockkit
import kit
import memory
import pytest
from test_api_hostile import forged_tokens
from test_dojot import Caller, Dojot

LIFE, LINK = 900, 600  # seconds: token_lifetime, and a link's
CAN_LOOK = os.geteuid() == 0  # at the memory of control
pytestmark = pytest.mark.skipif(kit.BUILD == "tsan", reason="the clock is a library that would come before that of the sanitizer")
LARGEST = 1 << 26  # bytes; a sanitizer's own memory is larger


class Clocked(Dojot):
    def __init__(self, pki):
        self.clock = clockkit.Clock(pki.dir.parent)
        self.env = self.clock.env
        super().__init__(pki)


@pytest.fixture(scope="module")
def moved(tmp_path_factory):
    with Clocked(kit.Pki(tmp_path_factory.mktemp("clock") / "d")) as s:
        yield s


@pytest.fixture
def served(moved):
    yield moved
    moved.clock.move(0)


@pytest.fixture(scope="module")
def foreign(moved):
    """Another tenant's administrator, and a device of the first tenant."""
    admin = moved.login()
    assert admin("POST", "/api/v1/tenants", {"name": "other"}).status == 201
    assert admin("POST", "/api/v1/users?tenant=other", {"name": "stranger", "password": "a long password", "groups": ["admin"]}).status == 201
    assert admin("POST", "/api/v1/devices", {"id": "ours"}).status == 201
    return admin


# ---- tokens ----

@pytest.mark.parametrize("path", ["/api/v1/devices", "/device", "/ca", "/auth/user", "/template"])
def test_tokens_that_are_not_good(served, path):
    """The same list on paths of our own and on dojot's."""
    token = served.login().token
    caller = Caller(served, unix=True)

    def status(text):
        answer = caller("GET", path, token=text)
        assert answer.status == 200 or path.startswith("/api") or answer.json == {"message": "Unauthorized"}, answer
        return answer.status
    for forged in forged_tokens(token, (served.dir / "pki/broker/cert.pem").read_bytes()):
        assert status(forged) == 401, forged
    assert status(token) == 200
    for seconds in (LIFE, 100 * LIFE, -LIFE):
        served.clock.move(seconds)
        assert status(token) == 401, seconds
    served.clock.move(0)
    assert status(token) == 200
    assert caller("POST", "/api/v1/logout", token=token).status == 204
    assert status(token) == 401
    caller.close()


def test_tokens_of_another_tenant(served, foreign):
    """Good ones, for what is theirs: on dojot's paths there is no word for another tenant."""
    for login in (served.dojot("stranger", "a long password"), Caller(served, served.login("stranger", "a long password").token)):
        for query in ("", "?tenant=default", "?service=default"):
            answer = login("GET", "/device" + query)
            assert answer.status in (200, 400) and b"ours" not in answer.body, answer
            for method, path, body in (("GET", "/device/ours", None), ("PUT", "/device/ours", {"label": "x", "templates": []}), ("DELETE", "/device/ours", None),
                                       ("PUT", "/device/ours/actuate", {"attrs": {"x": 1}})):
                answer = login(method, path + query, body)
                assert answer.status in (400, 404), (method, path, answer)
            assert login("GET", "/auth/user/admin" + query).status in (400, 404)
        assert login("GET", "/api/v1/devices?tenant=default").status == 403
        login.close()
    assert foreign("GET", "/api/v1/devices/ours").status == 200


# ---- streams of events ----

def streams(*clients):
    return [apikit.Events(apikit.Client(c.control, c.token, unix=True)) for c in clients]


def test_a_stream_ends_with_the_sign_in_of_who_asked(served, foreign):
    """By signing out, or when its time is over; that of another sign-in of the same user goes on."""
    left, stays = served.login(), served.login()
    gone, here, others = streams(left, stays, foreign)
    try:
        assert left("POST", "/api/v1/logout").status == 204
        assert foreign("POST", "/api/v1/devices", {"id": "after-it"}).status == 201
        for one in (here, others):
            assert one.until("change", operation="createDevice")["device"] == "after-it"
        while (got := gone.read()) != (None, None):
            assert got[1].get("device") != "after-it", got
        served.clock.move(LIFE)
        fresh = served.login()
        last, = streams(fresh)
        assert fresh("POST", "/api/v1/devices", {"id": "later"}).status == 201
        assert last.until("change", operation="createDevice")["device"] == "later"
        while (got := here.read()) != (None, None):
            assert got[1].get("device") != "later", got
        last.connection.close()
    finally:
        for one in (gone, here, others):
            one.connection.close()


# ---- a bundle's link ----

def key_in_memory(pid, path):
    """What of the one private key that waits in a C header can be found again: its text, and its number."""
    for at, _ in memory.find(pid, {"header": b"static const char signet_key_pem[] ="}, LARGEST).get("header", ()):
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as mem:
            mem.seek(at)
            lines = re.findall(rb'"([-A-Za-z0-9+/= ]+)\\n"', mem.read(600))
        if len(lines) >= 5:
            path.write_bytes(b"\n".join(lines[:5]) + b"\n")
            return {**memory.private_number(path), "base64": lines[2][:26]}
    raise AssertionError("no key waits")


def test_the_link_of_a_bundle_whose_time_is_over(served, foreign, tmp_path):
    pid = int(re.findall(r"The control is process (\d+)\.", served.text())[-1])
    kit.wait_for(lambda: foreign("GET", "/api/v1/cas/client").status == 200, "the CAs")
    made = foreign("POST", "/api/v1/devices/ours/bundle", {"format": "header"})
    assert made.status == 201, made
    needles = key_in_memory(pid, tmp_path / "key.pem") if CAN_LOOK else {}
    nobody, link = Caller(served, unix=True), made.json["link"]
    served.clock.move(LINK // 2)
    assert nobody("HEAD", link).status == 200
    served.clock.move(LINK)
    # Whoever asks, and for whatever: what nobody came for is wiped.
    assert nobody("GET", "/api/v1/bundles/" + 64 * "0").status == 404
    if CAN_LOOK:
        assert not memory.find(pid, needles, LARGEST)
    served.clock.move(0)
    for method in ("HEAD", "GET"):
        assert nobody(method, link).status == 404
    nobody.close()
