"""Fixtures: one PKI for all tests of a worker process, brokers as they are asked for."""
import itertools
import pathlib
import shutil
import tempfile

import pytest

import kit


def pytest_configure(config):
    config.addinivalue_line("markers", "release: also run on the release build, whose signer may do less")
    config.addinivalue_line("markers", "tsan: also run on the ThreadSanitizer build, with several workers")


@pytest.fixture
def passable():
    """A folder that other users get to: pytest closes those of its own again whenever it is started."""
    place = pathlib.Path(tempfile.mkdtemp(prefix="signet-test-"))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place, ignore_errors=True)


@pytest.fixture(scope="session")
def pki(tmp_path_factory):
    return kit.Pki(tmp_path_factory.mktemp("pki") / "ca")


@pytest.fixture
def broker_of(tmp_path):
    """Start brokers; they are stopped, and must have ended well, when the test is over."""
    running = []

    def start(conf, ports, *options, **more):
        broker = kit.Broker(tmp_path / f"broker{len(running)}", conf, ports, *options, **more)
        running.append(broker)
        return broker.start()

    yield start
    for broker in running:
        if broker.process is not None and broker.process.poll() is None:
            code = broker.stop()
            assert code == 0, f"exit code {code}:\n{broker.log()[-6000:]}"


@pytest.fixture
def broker(pki, broker_of):
    """The configuration of `signet init` on a free port, with four workers."""
    port = kit.free_port()
    return broker_of(pki.conf(port, workers="4"), port)


@pytest.fixture
def plain(broker_of):
    """An open broker without TLS, with four workers."""
    port = kit.free_port()
    return broker_of(f"listener {port} 127.0.0.1\nallow_anonymous true\nworkers 4\n", port)


@pytest.fixture(scope="module")
def open_brokers(tmp_path_factory):
    """The broker of all tests of a module that can share one, and those that replaced it after a test had ended it."""
    running = []
    yield running
    for broker in running:
        assert broker.stop() == 0, f"exit code {broker.process.returncode}:\n{broker.log()[-6000:]}"


@pytest.fixture
def shared(open_brokers, tmp_path_factory):
    """An open broker without TLS, with four workers, that other tests of the module use too: choose topics by <topic>."""
    if not open_brokers:
        port = kit.free_port()
        conf = f"listener {port} 127.0.0.1\nallow_anonymous true\nworkers 4\nmax_queued_messages 0\n"
        open_brokers.append(kit.Broker(tmp_path_factory.mktemp("shared"), conf, port).start())
    broker = open_brokers[-1]
    yield broker
    if broker.process.poll() is not None:
        open_brokers.remove(broker)
        pytest.fail(f"the broker died with {broker.process.returncode}:\n{broker.log()[-6000:]}")


_topics = itertools.count()


@pytest.fixture
def topic():
    """A topic that no other test uses."""
    return f"t{next(_topics)}"


@pytest.fixture(scope="session")
def openssl():
    path = shutil.which("openssl")
    assert path, "openssl is missing"
    return pathlib.Path(path)
