/* What the files of signet-bench share: the options, the loop with its connections, the counts.
 * One thread. */
#ifndef BENCHMARKS_BENCH_H
#define BENCHMARKS_BENCH_H

#include <sys/types.h>
#include "base/err.h"
#include "base/slice.h"

struct bio_method_st;
struct ssl_ctx_st;
struct ssl_st;

#define NS_PER_S 1000000000ull

enum {
	EXIT_CHECK = 1,
	EXIT_USAGE = 2,
	RX_SIZE = 256 * 1024, /* one recv() */
	TX_HIGH = 128 * 1024, /* one send() */
	TLS_RECORD = 16384,
	PAYLOAD_HEAD = 24, /* time, magic, publisher, sequence */
	PAYLOAD_MAX = 1024 * 1024,
	PACKET_HEAD_MAX = 512, /* of a PUBLISH: everything before the payload */
	SUBSCRIBE_ID = 1,
};

enum mode { MODE_CONNECT, MODE_IDLE, MODE_REVOKE, MODE_P2P, MODE_FANIN, MODE_FANOUT };

struct options {
	enum mode mode;
	const char *crl, *crl_new; /* revoke: the second takes the place of the first */
	const char *mode_name, *host, *ca, *cert, *key, *cert_pattern, *id_prefix, *topic, *json;
	unsigned port, pid, mqtt, conns, pubs, subs, qos, payload, window, refill, batch, certs,
	    sources, ramp, moderate, revoked;
	bool tls, tls12, resume, id_from_cert, persistent, quiet, wait, away;
	double rate, warmup, time, drain; /* messages a second; seconds */
};

/* False: *ret_exit is the code to leave with (0 after --help), and what is to be said has been. */
bool options_read(struct options *o, int argc, char **argv, int *ret_exit);

/* ---- latencies: 32 steps for each power of two, so at most 1.6 % off (hist.c) ---- */

enum { HIST_STEPS = 64, HIST_N = HIST_STEPS * 59 };

struct hist {
	uint64_t n, max;
	uint64_t count[HIST_N];
};

void hist_add(struct hist *h, uint64_t v);
/* The value that the share <q> (0..1) of all does not exceed; 0 when there is none. */
double hist_at(const struct hist *h, double q);

/* ---- what the operating system knows of a process (proc.c) ---- */

uint64_t now_ns(void);
/* Processor time of all its threads, ns; 0 when there is no such process. */
uint64_t proc_cpu(pid_t pid);
/* Resident bytes; 0 when they cannot be read. */
uint64_t proc_rss(pid_t pid);

/* ---- connections ---- */

struct buf {
	uint8_t *p;
	size_t n, cap;
};

/* False when out of memory. */
bool buf_append(struct buf *b, const uint8_t *p, size_t n);
void buf_free(struct buf *b);

enum conn_state {
	CONN_CLOSED,
	CONN_TCP,
	CONN_TLS,
	CONN_CONNACK,
	CONN_SUBACK,
	CONN_READY,
	CONN_CLOSING, /* DISCONNECT is sent: the broker closes */
};

/* What one subscriber has seen of one publisher. */
struct track {
	uint64_t next; /* sequence number */
	uint64_t seen; /* bit i: next - 1 - i has come */
};

struct publisher {
	uint64_t sent, delivered; /* messages; deliveries, to all subscribers together */
	unsigned inflight_max;    /* the broker's Receive Maximum */
	unsigned inflight;        /* QoS > 0: not yet acknowledged to the end */
	uint16_t packet_id;       /* the last one used */
	uint16_t ack_id, comp_id; /* the last ones that came: PUBACK or PUBREC, PUBCOMP */
	uint64_t acked, *sent_at; /* how many to the end; when the last `window` were sent */
	uint8_t *packet; /* a whole PUBLISH; identifier, time and sequence are written over */
	size_t packet_n, id_at, payload_at;
	bool dirty; /* in bench.dirty */
};

struct conn {
	struct bench *bench;
	int fd; /* -1: none */
	enum conn_state state;
	bool is_publisher, out_watched;
	unsigned number, index; /* among all; among those of its role */
	struct ssl_st *ssl;
	struct ssl_session_st *session; /* with --resume: of the connection before */
	struct buf in, out; /* the beginning of a packet; what the socket did not take */
	uint64_t started;
	struct publisher pub;
	struct track *tracks;
};

enum phase { PHASE_SETUP, PHASE_WARMUP, PHASE_MEASURE, PHASE_DRAIN, PHASE_STOP };

/* Counted all the time; a measured interval is the difference of two copies. */
struct counts {
	uint64_t time, broker_cpu, own_cpu;
	uint64_t sent, delivered, connects, stalls;
};

struct faults {
	uint64_t lost, duplicates, reordered, foreign, bad_acks, failed;
};

/* The windows through which TLS of all connections reads and writes. */
struct tls_io {
	const uint8_t *in;
	size_t in_n;
	uint8_t *out;
	size_t out_n, out_cap;
};

struct bench {
	struct options o;
	enum phase phase;
	int epfd;
	uint64_t now;

	struct bio_method_st *bio;
	struct ssl_ctx_st **ctx; /* one for each client certificate */
	unsigned n_ctx;
	struct tls_io io;
	uint8_t *rx, *plain, *batch, *acks;
	size_t plain_cap, batch_cap, acks_n;

	struct conn *conns; /* publishers, then subscribers */
	unsigned n_conns, n_pubs, n_subs, n_tracks;
	unsigned deliveries; /* of one message */
	unsigned begun, ready, cut;
	struct conn **dirty; /* publishers that may have room in their window */
	unsigned n_dirty;
	uint64_t turn_deliveries;

	/* open loop */
	uint64_t due, interval;
	unsigned turn;

	unsigned said; /* connection failures that were printed */
	struct counts total, from, to;
	struct faults faults;
	uint64_t rss_from, rss_to;
	struct hist latency, ack_latency;
};

/* Of MQTT. */
static inline uint8_t
version_of(const struct conn *c)
{
	return (uint8_t)c->bench->o.mqtt;
}

/* conn.c */
/* A failure is counted, and said on standard error the first few times. */
void conn_start(struct conn *c);
void conn_event(struct conn *c, uint32_t events);
/* Plaintext; what the socket does not take is kept. Does nothing on a closed connection. */
void conn_send(struct conn *c, const uint8_t *p, size_t n);
void conn_fail(struct conn *c, const char *what);
void conn_close(struct conn *c);

/* tls.c */
bool tls_init(struct bench *b, struct err *err);
void tls_done(struct bench *b);
bool tls_attach(struct conn *c);
void tls_free(struct conn *c);
/* 1 done, 0 wants more, -1 failed. */
int tls_handshake(struct conn *c);
/* Bytes decrypted to <p>; 0: no more for now; -1: failed. An orderly end sets *ret_eof. */
ptrdiff_t tls_read(struct conn *c, uint8_t *p, size_t room, bool *ret_eof);
bool tls_write(struct conn *c, const uint8_t *p, size_t n);
/* Why the last call failed. */
const char *tls_why(char *out, size_t cap);
/* The common name in the certificate of connection <number>; false when there is none. */
bool tls_name(const struct bench *b, unsigned number, char *out, size_t cap);

/* client.c: the MQTT side of a connection */
/* The transport stands: send CONNECT. */
void client_open(struct conn *c);
/* Returns the bytes used: whole packets. */
size_t client_feed(struct conn *c, struct slice in);
void client_disconnect(struct conn *c);

/* load.c: publishing and checking */
bool load_init(struct bench *b, struct err *err);
void load_done(struct bench *b);
/* The topic filter of a subscriber. */
void load_filter(const struct conn *c, char *out, size_t cap);
void load_on_publish(struct conn *c, struct slice payload);
/* PUBACK, PUBREC or PUBCOMP reached a publisher. */
void load_on_ack(struct conn *c, uint8_t type, uint16_t packet_id);
/* A publisher may have room: it is looked at when the turn ends. */
void load_mark(struct conn *publisher);
void load_pump(struct bench *b);
/* Open loop: send what is due. */
void load_rate(struct bench *b);
/* Not yet delivered or acknowledged. */
uint64_t load_outstanding(const struct bench *b);

/* run.c */
bool bench_run(struct bench *b, struct err *err);

/* report.c */
/* What fails a run. */
bool report_ok(const struct bench *b);
/* False when the JSON could not be written. */
bool report(const struct bench *b, struct err *err);

#endif
