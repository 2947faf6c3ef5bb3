/* What the files of net share: the loop with its windows, the connection, and the door to TLS. */
#ifndef NET_INTERNAL_H
#define NET_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>
#include "base/inbox.h"
#include "base/wheel.h"
#include "net/net.h"

struct bio_st;
struct ssl_ctx_st;

enum {
	RX_SIZE = 64 * 1024,    /* one recv() */
	PSK_MAX = 64,
	TLS_RECORD_MAX = 16384, /* plaintext of one record, RFC 8446 5.1 */
	IN_HEAD =
	    64 * 1024, /* kept input up to this is put in front of what arrives, not beside it */
	/* What one recv() can decrypt to, with the record that libssl had begun. */
	IN_ROOM = RX_SIZE + TLS_RECORD_MAX,
	OUT_HIGH = 64 * 1024, /* ciphertext that is worth a send() before more is sealed */
	OUT_MAX = 16 * 1024 * 1024,
	IOV_PIECES = 768,          /* pieces that a stream may lend at once; a WebSocket leaves a third to its own */
	FLUSH_BUDGET = 256 * 1024, /* output of one connection in a row; the others come then */
	FLUSH_ROUNDS = 4,          /* connections that wake each other while they are pulled */
	EVENTS_A_TURN = 256,
	ACCEPTS_A_TURN = 64, /* of one listener */
	SHAKE_NS_A_TURN = 1000000, /* … and time for them: what flows waits no longer than that */
	SHAKES_A_TURN = 16,  /* a storm of handshakes must not starve the sessions that live */
	BURIALS_A_TURN = 16, /* TLS states that are freed: as dear as what else a connection's end costs; no more come than shake hands */
	STARVED_MS = 500,    /* no descriptors: try accept() again after this */
	HANDSHAKE_MS = 10000,
	HANDSHAKES_MAX = 1000,
	DRAIN_MS = 5000,  /* for a peer to take the last output of a stream that closed */
	LINGER_MS = 1000, /* for a peer to read it and close its side */
	REST_MAX =
	    272 * 1024 * 1024, /* above the longest MQTT packet: the stream should have said no */
};

/* ---- bytes that have to wait, on the heap only while there are some (block.c) ---- */

struct block {
	uint32_t off, n, cap; /* n bytes at p + off */
	uint8_t p[];
};

/* At least <want> free bytes behind what is there; grows geometrically. False when out of memory or
 * above REST_MAX. */
bool block_room(struct block **b, size_t want);
bool block_append(struct block **b, const uint8_t *p, size_t n);
/* The first <n> bytes are done; the block is freed (and *b NULL) when nothing is left. */
void block_consume(struct block **b, size_t n);
void block_free(struct block **b);

/* ---- TLS (tls.c, tls_ctx.c): everything that the rest of net knows of it ---- */

struct tls_ctx {
	atomic_uint refs;
	struct ssl_ctx_st *ssl;
	struct tls_hooks hooks;
	struct tls_tickets *tickets; /* or NULL */
	uint8_t scope[32];           /* of them */
	uint8_t *alpn; /* our protocols in order of preference, in wire format */
	unsigned alpn_n;
	struct {
		pthread_mutex_t lock; /* of the next three */
		uint8_t *der;
		size_t n;
		int64_t until;        /* seconds since 1970 */
		bool made;
	} staple;
	bool client, any_name; /* tls_client_new() */
	char *psk_identity;    /* of a client of ours that has a pre-shared key, or NULL */
	uint8_t psk[PSK_MAX];
	size_t psk_n;
};

/* staple.c */
bool staple_init(struct tls_ctx *t); /* false: out of memory */
void staple_done(struct tls_ctx *t);

/* The loop's windows, through which TLS of all its connections reads and writes. Empty between two
 * connections. */
struct tls_io {
	const uint8_t *in;
	size_t in_n;
	uint8_t *out;
	size_t out_n, out_cap;
	char why[160]; /* after TLS_BROKEN */
};

enum tls_result {
	TLS_MORE,   /* wants more ciphertext */
	TLS_FULL,   /* no more room; call again */
	TLS_EOF,    /* the peer closed in good order */
	TLS_BROKEN, /* io->why; an alert may be in the out window */
};

/* Records of an established connection. The one implementation keeps libssl's object; one that has
 * only keys (after a TLS 1.3 handshake) fits behind the same functions. <t> belongs to the
 * connection that has it. */
struct record_ops {
	/* Decrypt from io->in to <p>. */
	enum tls_result (*open)(void *t, struct tls_io *io, uint8_t *p, size_t room, size_t *ret_n);
	/* Encrypt at most TLS_RECORD_MAX bytes behind io->out. */
	bool (*seal)(void *t, struct tls_io *io, const uint8_t *p, size_t n);
	void (*close_notify)(void *t, struct tls_io *io);
	/* Leave the windows of the old loop (NULL), take those of the new one. */
	void (*bind)(void *t, struct bio_st *bio);
	void (*free)(void *t);
};

/* What a handshake leaves behind for those who ask why. */
struct tls_shake {
	struct tls_ctx *ctx;
	char *name;                     /* of a server that we call; owned by the limbo */
	void *identity;                 /* from the verify hook, or that of who has resumed */
	void *returned;                 /* whom the ticket names that was looked at last */
	bool judged;                    /* that one may resume */
	bool resumed;                   /* and has */
	bool no_ticket;                 /* this client gets none */
	char *sni;                      /* the name in its hello, or NULL */
	char *psk;                      /* the identity that was claimed, later: shown; or NULL */
	bool psk_known;
	int alert_sent, alert_received; /* -1: none */
};

enum shake_result { SHAKE_MORE, SHAKE_DONE, SHAKE_FAILED };

/* One shared by all connections of a loop: its windows as seen by libssl. NULL when out of
 * memory. */
struct bio_st *tls_bio_new(struct tls_io *io);
void tls_bio_free(struct bio_st *b);
/* <s> stays valid until SHAKE_DONE or tls_free. NULL when out of memory. */
struct ssl_st *tls_shake_new(struct tls_shake *s, struct bio_st *bio);
/* One step with what is in the in window; <ret_f> is filled on SHAKE_FAILED. */
enum shake_result tls_shake_step(
    struct ssl_st *ssl, struct tls_shake *s, struct net_failure *ret_f);
/* Why it failed, by what libssl has in its queue of errors, which is emptied. */
void tls_classify(const struct ssl_st *ssl, struct tls_shake *s, struct net_failure *f);
/* The handshake is done: who carries the records from here on. */
const struct record_ops *tls_established(struct ssl_st **ssl, void **ret_state);
void tls_shake_free(struct ssl_st *ssl);
void tls_shake_done(struct tls_shake *s); /* what it still has, its context too */
void tls_describe(struct ssl_st *ssl, struct net_peer *peer);

/* ---- ticket.c ---- */

/* <c> wants tickets given and taken. */
bool tickets_set_up(struct tls_ctx *t, const struct tls_config *c);
/* The client's certificate was accepted: does it get a ticket? */
void tickets_offer(struct ssl_st *ssl, struct tls_shake *s);
/* The handshake is done: if it was by a ticket, its client is who it was. False: nobody has judged it, so that nobody may use it. */
bool tickets_settle(struct ssl_st *ssl, struct tls_shake *s);
void tickets_forget(struct tls_shake *s);
/* Change keys if it is time for that at <now_s> (CLOCK_BOOTTIME). */
void tickets_turn_at(struct tls_tickets *t, uint64_t now_s);
uint64_t tickets_clock(void);

/* ---- connections ---- */

enum source_kind { SOURCE_CONN, SOURCE_LISTENER, SOURCE_WAKE, SOURCE_SHAKES };

/* What epoll points to. */
struct source {
	int fd;
	uint8_t kind;
};

enum conn_state {
	CONN_DIAL,   /* we call; the peer has not answered yet */
	CONN_PROXY,  /* accepted; the PROXY header is not here as a whole */
	CONN_WAIT,   /* accepted; not enough bytes to tell what it speaks */
	CONN_SHAKE,  /* TLS handshake */
	CONN_OPEN,   /* has a stream */
	CONN_MOVING, /* has one, and leaves for another loop before this turn ends */
	CONN_DRAIN,  /* the stream closed: what it still has goes out */
	CONN_FLUSH,  /* no stream any more; unsent output is left */
	CONN_LINGER, /* our side is shut; input is thrown away until the peer closes too */
	CONN_DEAD,   /* freed when the turn ends */
};

/* Needed only before a connection is open and after its stream has closed. */
struct limbo {
	struct timer timer;
	struct conn *conn;
	void *listener, *dialled;
	bool told; /* open() or failed() was called */
	struct ssl_st *ssl; /* during the handshake */
	struct tls_shake shake;
	struct sockaddr_storage addr;
	const struct net_proxy *proxy; /* what its listener expects of a proxy, or NULL */
	char *proxy_identity;
};

struct conn {
	struct source src;
	uint8_t state;
	uint8_t watched; /* EPOLLIN, EPOLLOUT: what epoll was told */
	uint8_t broken;  /* errno of a failed send(): then we only read what the peer had sent */
	bool secure : 1;
	bool counted : 1; /* in loop.n_handshakes */
	bool dirty : 1;   /* in loop.dirty */
	bool paused : 1;  /* read_enable(false) */
	bool resume : 1;  /* kept bytes are to be fed again, in loop.n_resume */
	bool feeding : 1;
	bool eof : 1;    /* the peer will send no more */
	bool apart : 1;    /* in loop.shakes_fd instead */
	bool notified : 1; /* close_notify is said; <tls> is only to be freed */
	bool polled : 1; /* in epoll: loop.epfd */
	uint16_t target; /* CONN_MOVING: to which loop */
	struct loop *loop;
	const struct stream_ops *ops;
	void *stream;
	const struct record_ops *records;
	void *tls;
	struct limbo *limbo;
	union {
		struct conn *next_dirty;
		struct inbox_node arrival; /* on its way to another loop it is in no list */
	};
	struct conn *next, **prev; /* loop.all or loop.dead */
	struct block *rest;        /* input that the stream did not use */
	struct block *raw;         /* ciphertext that nobody may decrypt yet */
	struct block *tail;        /* output that the socket did not take */
};

/* A hundred thousand idle devices must fit: what is rarely needed is on the heap while it is
 * needed. */
_Static_assert(sizeof(struct conn) <= 128, "struct conn has a budget");

struct listener {
	struct source src;
	bool watched;
	uint64_t rest_until; /* ms: nobody is accepted before */
	struct listener *next;
	struct tls_ctx *tls; /* NULL: plain */
	const struct net_proxy *proxy; /* or NULL */
	void *cookie;
};

struct loop {
	const struct net_handler *h;
	void *ctx;
	unsigned index;
	struct loop_limits limits;
	int epfd;
	struct source wake;
	struct source shakes_fd; /* an epoll of its own for TLS handshakes: however many are ready, those with a stream come first */
	bool shaking;            /* some are */
	atomic_bool woken, stop;
	struct inbox posts, arrivals;
	struct loop **peers;
	unsigned n_peers;

	struct listener *listeners, *stopped;
	bool starved;          /* of descriptors */
	struct timer starving; /* until accept() is tried again */
	uint64_t rest_until;   /* ms: the first of the listeners that rest; UINT64_MAX: none does */
	struct wheel *wheel;
	uint64_t now;

	struct conn *all, *dead, *dirty, **dirty_end;
	unsigned n_conns, n_handshakes, n_resume;
	uint64_t shake_ns; /* spent on handshakes in this turn */
	struct loop_stats stats;
	bool again; /* streams were called after turn(): it has to be called again soon */

	struct bio_st *bio;
	struct tls_io io;
	size_t staged;
	uint8_t stage[TLS_RECORD_MAX]; /* plaintext of the record that is being gathered */
	struct iovec iov[IOV_PIECES];
	uint8_t rx[RX_SIZE];
	uint8_t in[IN_HEAD + IN_ROOM];
};

uint64_t net_now_ms(void);
uint64_t net_now_ns(void);
int net_poll(int epfd, int op, struct source *s, uint32_t events);

/* accept.c */
void listener_ready(struct loop *l, struct listener *ls);
/* Why a connection from <addr> may not come in, as the application says; NULL: it may. */
const char *net_admit(const struct loop *l, void *listener, const struct sockaddr_storage *addr);
/* Listen or do not, as descriptors and handshakes in flight allow. */
void listeners_update(struct loop *l);
void listeners_bury(struct loop *l);

/* conn.c: life */
/* A new connection over <fd>, which it takes, until <ms> from now. NULL: out of memory, and <fd> is closed. */
struct conn *conn_new(struct loop *l, int fd, bool secure, uint64_t ms);
/* Tell epoll what is wanted of it. */
void conn_watch(struct conn *c);
/* Ready for the protocol. False when it was refused (the connection is on its way out then). */
bool conn_open(struct conn *c);
/* The end of a connection that has no stream yet. An alert in the out window still reaches the
 * peer. */
void conn_fail(struct conn *c, const struct net_failure *f);
/* The end, at once. */
void conn_close(struct conn *c, const char *why);
/* Tell the stream, once. */
void conn_end_stream(struct conn *c, const char *why);
/* recv() gave <n> <= 0. */
void conn_recv_end(struct conn *c, ssize_t n);
void conn_event(struct conn *c, uint32_t events);
void conn_flush(struct conn *c);
void conn_resume(struct conn *c);
void conn_arrive(struct loop *l, struct conn *c);
void conn_timeout(struct conn *c);
void conn_free(struct conn *c);
void conn_mark_dirty(struct conn *c);
/* The peer takes no more: forget output, go on reading what it had sent. The connection is there
 * until it is flushed. */
void conn_broken(struct conn *c, int no);

/* dial.c: how connections begin */
/* What the application is told of a connection that has a limbo. */
struct net_peer conn_peer(const struct conn *c);
/* Takes <fd>. */
void conn_accept(
    struct loop *l, int fd, const struct listener *ls, const struct sockaddr_storage *addr);
/* epoll has news of a connection that we open. */
void dial_event(struct conn *c);
/* A connection closes: who called learns of every end. */
void dial_ended(struct conn *c, const char *why);

/* input.c: bytes for the stream */
/* Where to put new plaintext: <held> bytes wait at <p>, <room> are free behind them. */
struct space {
	uint8_t *p;
	size_t held, room;
};
bool input_space(struct conn *c, struct space *ret);
/* <n> bytes were put there: offer everything to the stream and keep what it leaves. */
void input_feed(struct conn *c, const struct space *s, size_t n);
/* Keep them without offering. */
bool input_keep(struct conn *c, const uint8_t *p, size_t n);
/* Offer again what was kept. */
void input_again(struct conn *c);

/* proxied.c */
void proxy_readable(struct conn *c);

/* plain.c, secure.c: the two ways of the bytes */
void plain_readable(struct conn *c);
void secure_readable(struct conn *c);
/* Say the first word of a handshake. */
void secure_begin(struct conn *c);
/* Decrypt and feed what waits: libssl's, and c->raw. */
void secure_resume(struct conn *c);
/* What pull() said last: 0 or STREAM_CLOSE; a positive number when it was not asked to the end. */
int plain_pull(struct conn *c);
/* After STREAM_CLOSE the last record may still be in the out window. */
int secure_pull(struct conn *c);
/* Send the out window; what does not go becomes the tail. */
void secure_send(struct conn *c);
/* The same, of a connection that is shut next: the end leaves in the same packet. */
void secure_send_last(struct conn *c);
/* False: errno; otherwise what was not taken is kept. <flags>: 0 or MSG_MORE. */
bool output_send(struct conn *c, const struct iovec *iov, int n, int flags);
void output_tail(struct conn *c);

#endif
