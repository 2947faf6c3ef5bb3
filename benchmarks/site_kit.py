"""What the benchmarks with certificates share: a CA and its leaves, a broker that trusts it, and signet-bench against it."""
import fcntl
import hashlib
import json
import os
import re
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / 'tests'))
import certs  # noqa: E402


CPUS = sorted(os.sched_getaffinity(0))


def before_other_programs():
    """Of this machine; needs root. Where the kernel shares out by session it is the session that has precedence."""
    os.setsid()
    try:
        os.setpriority(os.PRIO_PROCESS, 0, -20)
        Path('/proc/self/autogroup').write_text('-20')
    except (PermissionError, FileNotFoundError):
        pass


def on_brokers():
    os.sched_setaffinity(0, CPUS[-1:])
    before_other_programs()


def on_others():
    os.sched_setaffinity(0, CPUS[:-1] or CPUS)
    before_other_programs()


def first():
    """Who measures does not wait for a processor behind another generator; needs root."""
    on_others()
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        pass


OWN = 'SIGNET_BENCH_NETWORK'
QUEUES = ('net/core/somaxconn', 'net/ipv4/tcp_max_syn_backlog')


def own_network():
    """Queues of the kernel that hold everybody who connects at once, where root may have them without changing the machine's: in a network
    namespace, in which this program starts again. Says in which network it measures, and raises the limit of open files."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if OWN not in os.environ and os.geteuid() == 0 and shutil.which('unshare'):
        if subprocess.run(['unshare', '-n', 'true'], capture_output=True).returncode == 0:
            os.execvpe('unshare', ['unshare', '-n', sys.executable, *sys.argv], os.environ | {OWN: '1'})
    if OWN in os.environ:
        for name, value in [(q, '65535') for q in QUEUES] + [('net/ipv4/ip_local_port_range', '1024 65535')]:
            Path('/proc/sys', name).write_text(value)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            flags = struct.unpack('16sh', fcntl.ioctl(s, 0x8913, struct.pack('16sh', b'lo', 0)))[1]  # SIOCGIFFLAGS
            fcntl.ioctl(s, 0x8914, struct.pack('16sh', b'lo', flags | 1))  # SIOCSIFFLAGS, IFF_UP
    says = ', '.join(f'{Path(q).name} {Path("/proc/sys", q).read_text().strip()}' for q in QUEUES)
    print(f'Network: {"a namespace of its own" if OWN in os.environ else "that of this machine, which root would change for none"}; {says}; {hard} open files '
          'for each process', flush=True)


def most_connections():
    """20,000, or what a process may open."""
    return min(20000, resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 100)


class QuickKey(certs.Key):
    """Signs thousands of certificates a second without a library: the costly part of ECDSA is made once, by openssl, as a second key. Two
    signatures with one of these give the private key away; this one is deleted with the folder."""
    ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551  # of P-256

    def __init__(self, path):
        super().__init__(path)
        self.secret, _ = self._numbers(self.path)
        nonce, self.r = self._numbers(certs.Key(f'{path}.nonce').path)
        self.inverse = pow(nonce, -1, self.ORDER)

    @staticmethod
    def _numbers(path):
        """The private number, and x of the public point."""
        text = certs.openssl('pkey', '-in', path, '-noout', '-text').decode()
        private, public = (re.sub(r'[\s:]', '', re.search(rf'{what}:\n((?: +[0-9a-f:]+\n)+)', text).group(1)) for what in ('priv', 'pub'))
        return int(private, 16), int(public[2:66], 16) % QuickKey.ORDER

    def signed(self, tbs):
        z = int.from_bytes(hashlib.sha256(tbs).digest(), 'big')
        s = self.inverse * (z + self.r * self.secret) % self.ORDER
        return certs.sequence(tbs, self.algorithm, certs.tlv(3, b'\0', certs.sequence(certs.integer(self.r), certs.integer(s))))


class Control:
    """The control socket (docs/control-protocol.md), as far as a benchmark needs it."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(path))
        self.data = b''
        self.sock.sendall(bytes.fromhex('101200044d5154540502000000000562656e6368'))  # CONNECT, MQTT 5, client "bench"
        self._packet()
        self.sock.sendall(self._framed(0x82, b'\0\1\0' + self._text('response') + b'\0'))
        self._packet()

    @staticmethod
    def _text(name):
        topic = f'$CONTROL/signet/v1/{name}'.encode()
        return len(topic).to_bytes(2, 'big') + topic

    @staticmethod
    def _framed(head, body):
        out, n = bytearray([head]), len(body)
        while True:
            out.append(n % 128 | (128 if n > 127 else 0))
            n //= 128
            if n == 0:
                return bytes(out) + body

    def _packet(self):
        while True:
            at, n = 1, 0
            while at < len(self.data):
                n |= (self.data[at] & 127) << 7 * (at - 1)
                at += 1
                if self.data[at - 1] < 128:
                    break
            else:
                n = 1 << 30
            if len(self.data) >= at + n:
                body, self.data = self.data[at:at + n], self.data[at + n:]
                return body
            more = self.sock.recv(1 << 20)
            assert more, 'the control socket was closed'
            self.data += more

    def ask(self, *requests):
        """(command, arguments), one behind the other; the answers, none of which is an error."""
        self.sock.sendall(b''.join(self._framed(0x30, self._text(c) + b'\7\x09\0\4' + bytes(4) + json.dumps(a).encode()) for c, a in requests))
        answers = []
        for _ in requests:
            body = self._packet()
            answers.append(json.loads(body[body.index(b'{'):]))
            assert 'error' not in answers[-1], answers[-1]
        return answers


class Site:
    """A broker on the last processor, what talks to it on the others. <ca> signs the server's certificate and those of the clients; <chain>:
    what stands between it and the root."""

    def __init__(self, where, build, ca, chain=()):
        self.where, self.build, self.ca = where, build, ca
        self.root_file = ca.file
        name = certs.extension('2.5.29.17', certs.sequence(certs.tlv(0x82, b'localhost')))
        self.server = ca.leaf('localhost', chain=list(chain), usage=(certs.SERVER_AUTH,), extra=[name])
        self.process = None

    def start(self, lines, broker='signet'):
        with socket.socket() as s:
            s.bind(('127.0.0.1', 0))
            self.port = s.getsockname()[1]
        lines = [f'listener {self.port} 127.0.0.1', f'certfile {self.server["cert"]}', f'keyfile {self.server["key"]}', 'require_certificate true',
                 'allow_anonymous true', 'log_type error', *lines]
        if broker == 'signet':
            lines.append('workers 1')
        if os.geteuid() == 0:
            lines.append('user root')
        conf = self.where / 'broker.conf'
        conf.write_text('\n'.join(lines) + '\n')
        program = [self.build / 'src/cli/signet', 'broker'] if broker == 'signet' else ['mosquitto']
        env = os.environ | {'PATH': os.environ['PATH'] + ':/usr/sbin'}
        self.process = subprocess.Popen([*program, '-c', conf], env=env, preexec_fn=on_brokers)
        while True:
            try:
                socket.create_connection(('127.0.0.1', self.port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
                if self.process.poll() is not None:
                    sys.exit(f'{broker} does not start')

    def stop(self):
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait()
        self.process = None

    def bench(self, mode, *words, preexec_fn=on_others, **more):
        return subprocess.Popen([self.build / 'benchmarks/signet-bench', mode, '--port', str(self.port), '--pid', str(self.process.pid),
                                 '--ca', self.root_file, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                preexec_fn=preexec_fn, **more)


class Flow:
    """Messages at a fixed rate between ten pairs of clients, and how long each was on its way."""

    def __init__(self, site, leaf, rate, warmup, seconds):
        self.out = site.where / 'flow.json'
        self.out.unlink(missing_ok=True)
        self.process = site.bench('p2p', '--cert', leaf['cert'], '--key', leaf['key'], '--conns', 10, '--rate', rate, '--moderate', 0, '--id-prefix', 'flow',
                                  '--topic', 'flow', '--warmup', warmup, '--time', seconds, '--json', self.out, preexec_fn=first)

    def end(self, what):
        """Prints the figures; false when messages were lost."""
        said = self.process.communicate()[0]
        if self.process.returncode != 0:
            print(said)
            return False
        f = json.loads(self.out.read_text().splitlines()[-1])
        ms = {k: v / 1000 for k, v in f['latency_us'].items()}
        print(f'  {what:28} {f["delivered_per_s"]:5.0f}/s  p50 {ms["p50"]:7.2f}  p99 {ms["p99"]:7.2f}  max {ms["max"]:7.2f} ms', flush=True)
        return True
