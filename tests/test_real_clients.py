"""Other people's clients, each through the same story: every QoS, large and empty payloads, what is retained, a session that
waits, a will or a takeover. Eclipse Paho's C client (libpaho-mqtt) and MQTT.js under node (node-mqtt), over TCP, TLS and WebSocket."""
import json
import os
import pathlib
import subprocess

import pytest

import kit

CLIENTS = pathlib.Path(__file__).resolve().parent / "clients"
SCHEMES = {"tcp": (0, False), "tls": (1, True), "ws": (2, False), "wss": (3, True)}
VERSIONS = pytest.mark.parametrize("version", [3, 4, 5])


@pytest.fixture(scope="module")
def everywhere(pki, tmp_path_factory):
    """A broker with a listener of each kind."""
    ports = [kit.free_port() for _ in SCHEMES]
    tls = (f"cafile {pki.dir}/pki/ca.pem\ncertfile {pki.dir}/pki/broker/cert.pem\nkeyfile {pki.dir}/pki/broker/key.pem\n"
           "require_certificate true\n")
    conf = "allow_anonymous true\nworkers 4\n" + kit.STAY_ROOT
    for (_, secure), port in zip(SCHEMES.values(), ports):
        conf += f"listener {port} 127.0.0.1\n" + (tls if secure else "")
        conf += f"protocol websockets\nwebsockets_origin https://localhost:{port}\nwebsockets_origin http://localhost:{port}\n" if port in ports[2:] else ""
    with kit.Broker(tmp_path_factory.mktemp("everywhere"), conf, ports) as broker:
        yield broker


def url(broker, scheme, name):
    return f"{name}://localhost:{broker.ports[SCHEMES[scheme][0]]}"


def files(pki, scheme):
    f = pki.device("realclient") if SCHEMES[scheme][1] else {}
    return [str(f[name]) for name in ("ca", "cert", "key") if f]


def run(*words):
    result = subprocess.run([str(w) for w in words], capture_output=True, text=True, timeout=4 * kit.PATIENCE,
                            env={**os.environ, "NODE_PATH": "/usr/share/nodejs"})  # where Debian has node-mqtt
    assert result.returncode == 0, f"{words}: {result.returncode}\n{result.stdout}{result.stderr}"
    return result.stdout


@pytest.fixture(scope="module")
def paho_c(tmp_path_factory):
    binary = tmp_path_factory.mktemp("paho") / "paho"
    run("cc", "-Wall", "-Wextra", "-Werror", "-o", binary, CLIENTS / "paho.c", "-lpaho-mqtt3cs")
    return binary


@VERSIONS
@pytest.mark.parametrize("scheme, name", [("tcp", "tcp"), ("tls", "ssl"), ("ws", "ws"), ("wss", "wss")])
def test_paho_in_c(everywhere, pki, paho_c, topic, scheme, name, version):
    run(paho_c, url(everywhere, scheme, name), version, topic, *files(pki, scheme))


@VERSIONS
@pytest.mark.parametrize("scheme, name", [("tcp", "mqtt"), ("tls", "mqtts"), ("ws", "ws"), ("wss", "wss")])
def test_mqtt_js(everywhere, pki, topic, scheme, name, version):
    seen = json.loads(run("node", CLIENTS / "mqttjs.js", url(everywhere, scheme, name), version, topic, *files(pki, scheme)))
    t = f"{topic}/js"
    story = [2] + [[t, payload, qos, False] for qos in (0, 1, 2) for payload in ("small", "", 300000)]
    story += [[t, "kept", 1, False], [t, "kept", 1, True], version > 3, [t, "", 1, False], [t, "waited", 2, False], [t, "gone", 1, False]]
    assert seen == story
