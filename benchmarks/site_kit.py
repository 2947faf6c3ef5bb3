"""What the benchmarks with certificates share: a CA and its leaves, a broker that trusts it, and signet-bench against it."""
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / 'tests'))
import certs  # noqa: E402


CPUS = sorted(os.sched_getaffinity(0))


def on_brokers():
    os.sched_setaffinity(0, CPUS[-1:])


def on_others():
    os.sched_setaffinity(0, CPUS[:-1] or CPUS)


def first():
    """Who measures does not wait for a processor behind another generator; needs root."""
    on_others()
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        pass


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
