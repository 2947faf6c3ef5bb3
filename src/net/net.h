/* Sockets, TLS and readiness. Knows streams (base/stream.h), not protocols. One loop a thread. */
#ifndef NET_NET_H
#define NET_NET_H

#include <sys/socket.h>
#include <sys/un.h>
#include "base/err.h"
#include "base/stream.h"

struct loop;
struct proxy_range;
struct tls_ctx;
struct tls_tickets;
struct ssl_st;
struct x509_st;
struct x509_store_ctx_st;

/* ---- TLS contexts: immutable, counted across threads; reload makes a new one ---- */

/* The application's judgement of the peer's certificate, called in place of libssl's own for each full handshake.
 * It calls X509_verify_cert() itself, looks at the result and makes what it wants of the chain.
 * Returns true to accept; false: refuse, with the alert that X509_STORE_CTX_set_error() implies.
 * *ret_peer (also on refusal) is kept with the connection: handed to open() or failed(), else freed by peer_free. */
struct tls_hooks {
	bool (*verify)(void *ctx, struct x509_store_ctx_st *store, void **ret_peer);
	void (*peer_free)(void *peer);
	/* The pre-shared key of <identity>, at most <cap> bytes into <key>; NULL: keys are not taken. True: it is known. False with
	 * *ret_n > 0: it is not, and the handshake goes on with that key, to fail as with a wrong one. */
	bool (*psk)(void *ctx, struct slice identity, uint8_t *key, size_t cap, size_t *ret_n);
	/* With tickets and verify: what a ticket shall say of <peer>, beside his certificate, at most TLS_VOUCHER_MAX bytes. 0: he gets none. */
	size_t (*vouch)(void *ctx, void *peer, uint8_t *out);
	/* Such a ticket has come back, from a client that has not proved yet that it is his own: judge him anew. True: the handshake goes on
	 * with it, and *ret_peer is as of verify(); false: a full handshake follows, in which verify() is asked. */
	bool (*resume)(void *ctx, struct x509_st *leaf, struct slice voucher, void **ret_peer);
	void *ctx; /* must outlive every connection made under it */
};

struct tls_config {
	const char *cert_file, *key_file;      /* server certificate with its chain; PEM */
	const char *ca_file, *ca_path;         /* trust anchors for client certificates; NULL: none */
	const char *dh_file;                   /* PEM parameters for DHE suites in <ciphers>; NULL: they are not used */
	const char *ciphers, *ciphersuites;    /* NULL: ours (docs: TLS 1.2 list, 1.3 list) */
	const char *groups;                    /* NULL: "X25519:P-256" */
	const char *alpn;                      /* ours in order of preference, "mqtt,http/1.1"; NULL: "mqtt". A client that
	                                        * offers none is fine, one that offers only others is refused (RFC 7301 3.2) */
	const char *psk_hint;                  /* for TLS 1.2 clients; NULL: none. With hooks.psk, cert_file may be NULL */
	int min_version;                       /* TLS1_2_VERSION (default, 0) or TLS1_3_VERSION */
	bool ask_client_cert, require_client_cert;
	bool os_anchors;                       /* tls_client_new(): the CAs that this machine trusts, too */
	const char *psk_identity, *psk_key;    /* tls_client_new(): instead of certificates; the key in hexadecimal */
	struct tls_hooks hooks;
	struct tls_tickets *tickets;           /* session tickets are given and taken; NULL: never. Not with hooks.psk. A reference is taken */
	uint8_t ticket_scope[32];              /* a ticket holds only where this is the same: a hash of the listener and of all that it asks for */
};

/* ---- session tickets: the keys of all listeners and workers, random, in memory only ---- */

enum { TLS_VOUCHER_MAX = 1024 };

/* <lifetime_s> > 0: so long after a full handshake its client may resume, also by the tickets that follow from it; a key seals tickets for that
 * time and opens them for once more, then it is wiped. NULL: out of memory. */
struct tls_tickets *tls_tickets_new(unsigned lifetime_s);
struct tls_tickets *tls_tickets_ref(struct tls_tickets *t);
void tls_tickets_unref(struct tls_tickets *t); /* NULL is fine */
void tls_tickets_set_lifetime(struct tls_tickets *t, unsigned lifetime_s); /* any thread; for tickets that are out, too */
/* Now and then, any thread: wipe keys whose time is over also while nobody comes. */
void tls_tickets_turn(struct tls_tickets *t);

/* Why a ticket was not taken, and a full handshake followed. */
enum tls_ticket_fault {
	TLS_TICKET_UNKNOWN,   /* no key of ours opens it: too old, of another process, forged or damaged */
	TLS_TICKET_TOO_OLD,   /* its full handshake is longer ago than the lifetime */
	TLS_TICKET_ELSEWHERE, /* of another listener, or of one that asked for something else then */
	TLS_TICKET_JUDGED,    /* hooks.resume() said no */
	TLS_TICKET_FAULTS
};
struct tls_ticket_stats {
	_Atomic uint64_t refused[TLS_TICKET_FAULTS];
};
const struct tls_ticket_stats *tls_tickets_stats(const struct tls_tickets *t);

/* Loads and checks everything (files, key matches certificate, CA file not empty; not its dates, see tls_ctx_dates()) and names directive-like what and which
 * file in <err>. NULL on any failure. */
struct tls_ctx *tls_ctx_new(const struct tls_config *c, struct err *err);
struct tls_ctx *tls_ctx_ref(struct tls_ctx *t);
void tls_ctx_unref(struct tls_ctx *t); /* NULL is fine */
/* From when until when the certificate of our own is valid, in seconds since 1970. False: it has none (pre-shared keys alone). */
bool tls_ctx_dates(const struct tls_ctx *t, int64_t *ret_not_before, int64_t *ret_not_after);

/* From now on clients that ask for it are shown this OCSP answer (DER, copied) with the certificate, until <until> (seconds since 1970), or none (n 0).
 * False: out of memory, all stays as it was. Not with tls_client_new(). Any thread, as the next. */
bool tls_ctx_staple(struct tls_ctx *t, struct slice answer, int64_t until);
int64_t tls_ctx_staple_end(struct tls_ctx *t); /* that <until>; 0: none is shown */

/* For loop_connect(): the same files seen from the other side. The peer's certificate must come from ca_file or ca_path, of which
 * one is needed, and must have the name that is dialled; <any_name> leaves out the latter, never the former. The certificate
 * of our own is optional; <alpn> NULL offers nothing; what is said of clients, and the hooks, is not looked at. */
struct tls_ctx *tls_client_new(const struct tls_config *c, bool any_name, struct err *err);

/* ---- connections ---- */

struct net_peer {
	struct sockaddr_storage addr; /* of the peer; AF_UNIX for unix sockets */
	void *listener;               /* as given to loop_listen(); NULL: we called */
	void *dialled;                /* as given to loop_connect(); NULL: the peer called */
	struct ssl_st *ssl;           /* NULL on a plain connection; only for the time of the call */
	void *identity;               /* what tls_hooks.verify made; open() takes it over, failed() only looks */
	const char *psk_identity;     /* of a client that has shown its pre-shared key, else NULL; only for the time of the call */
	const char *proxy_identity;   /* the name in a client's certificate, as a proxy of net_proxy.identity_from says, else NULL */
	const char *tls_version, *cipher, *sni; /* NULL on plain or not known; only for the time of the call */
	bool resumed;                 /* TLS: by a ticket, without a full handshake */
};

/* Why a connection ended before open(). */
enum net_failure_kind {
	NET_FAIL_CLOSED,       /* peer closed before the handshake ended (no byte at all: probe = true); loop_connect(): also
	                        * that nobody answers, see .detail */
	NET_FAIL_TIMEOUT,      /* handshake not done in time; on a plain listener: not one byte in that time */
	NET_FAIL_PLAIN_ON_TLS, /* first bytes are not TLS: see .first */
	NET_FAIL_TLS_ON_PLAIN, /* a TLS ClientHello on a plain listener */
	NET_FAIL_VERIFY,       /* our side refused the certificate: peer->identity has the reasons */
	NET_FAIL_NO_CERT,      /* a certificate is required and none was sent */
	NET_FAIL_ALERT,        /* the peer sent a fatal alert: .alert */
	NET_FAIL_PSK,          /* the key is another than ours for .psk_identity, or there is none (.psk_known) */
	NET_FAIL_TLS,          /* other TLS error: .detail (no common version, no shared cipher, bad record, …) */
	NET_FAIL_PROXY_SENDER, /* a PROXY header is expected here, and not from this address */
	NET_FAIL_PROXY_HEADER, /* it is not one: .detail */
	NET_FAIL_PROXY_CLIENT, /* what it says of the client is not enough: .detail */
	NET_FAIL_LIMIT,        /* too many connections; or no descriptors left: then once until it is over, without address */
};
struct net_failure {
	enum net_failure_kind kind;
	int alert;            /* TLS alert number received (ALERT) or sent (VERIFY, TLS); -1 unknown */
	bool probe;           /* CLOSED: not one byte came */
	struct slice first;   /* PLAIN_ON_TLS: the first bytes (up to 16) */
	const char *detail;   /* libssl's reason or errno text; never NULL */
	const char *psk_identity; /* PSK: as the client says; never NULL then */
	bool psk_known;
};

/* ---- a server's handshake on another loop than ours (libevent's), under the same contexts ---- */

struct tls_guest;
/* A reference to <t> is taken. NULL: out of memory. */
struct tls_guest *tls_guest_new(struct tls_ctx *t);
/* Its SSL object, without a BIO; who keeps it longer than the guest takes a reference of his own. */
struct ssl_st *tls_guest_ssl(struct tls_guest *g);
/* identity (stays the guest's), tls_version, cipher and sni of <ret>. */
void tls_guest_peer(struct tls_guest *g, struct net_peer *ret);
/* Why it failed: <error> is OpenSSL's number for it, 0: none. As in failed() of a loop; texts are static or the guest's. */
void tls_guest_failure(struct tls_guest *g, unsigned long error, struct net_failure *ret);
void tls_guest_free(struct tls_guest *g); /* NULL is fine */

/* ---- loops ---- */

/* What the application does with connections of one loop. All called on that loop's thread; ctx is the loop's. */
struct net_handler {
	/* Ready for the protocol (TLS: handshake done). Returns the stream, or NULL to refuse. Takes over peer->identity in both
	 * cases. */
	void *(*open)(void *ctx, const struct net_peer *peer, const struct waker *w, const struct stream_ops **ret_ops);
	/* Ended before open(). */
	void (*failed)(void *ctx, const struct net_peer *peer, const struct net_failure *f);
	/* Before accept(): for how many ms shall <listener> take nobody? They wait in the kernel's queue. NULL, 0: all may come. */
	uint64_t (*rest)(void *ctx, void *listener, uint64_t now_ms);
	/* Accepted, and nothing was spent on it yet. NULL: let it in; else why it is closed at once, static (then failed() is called
	 * with NET_FAIL_LIMIT). The function may be NULL. */
	const char *(*admit)(void *ctx, void *listener, const struct sockaddr *addr, uint64_t now_ms);
	/* Once a loop turn, before any input is fed; NULL: not wanted. <now_ms> is CLOCK_MONOTONIC. */
	void (*begin)(void *ctx, uint64_t now_ms);
	/* Once a loop turn: after all input was fed and before output is pulled. <now_ms> is CLOCK_MONOTONIC. Returns the
	 * milliseconds after which it wants to be called again at the latest (UINT64_MAX: whenever something happens). */
	uint64_t (*turn)(void *ctx, uint64_t now_ms);
};

struct loop_limits {
	unsigned max_connections;      /* per loop; 0 = as many as descriptors allow */
	unsigned handshake_timeout_ms; /* 0 = 10,000 */
	unsigned max_handshakes;       /* in flight per loop (from accept() to open()); 0 = 1,000; above it TLS listeners wait */
};

/* NULL and <err> on failure. <ctx> is given to the handler's functions and to stream moved(). <index> numbers the loops from 0. */
struct loop *loop_new(unsigned index, const struct net_handler *h, void *ctx, const struct loop_limits *limits, struct err *err);
/* Tell each loop all the others (for moves): call on every loop before any runs. */
void loop_set_peers(struct loop *l, struct loop *const *loops, unsigned n);
/* After the thread has ended: closes what is left, that is connections that moved here too late for loop_run(), calling closed()
 * on their streams. Letters that were not read are dropped. NULL is accepted. */
void loop_free(struct loop *l);

/* Open a listening socket for <addr>. TCP: call it once for each loop, with the same address; the kernel spreads connections over
 * them (SO_REUSEPORT). An address on which another process listens is refused without a race, although two processes of one user
 * could share it by SO_REUSEPORT: the first socket binds and listens without that option. Unix: one. Names the address and, for
 * EADDRINUSE, that it is taken. Returns the descriptor or -1. <bind_device> may be NULL. Port 0 picks one; getsockname() tells. */
int net_bind(const struct sockaddr *addr, socklen_t len, int backlog, const char *bind_device, struct err *err);
/* Resolve HOST (NULL: any address, both families) and PORT for net_bind; at most <max> results; their number or -1. Blocks. */
int net_resolve(const char *host, uint16_t port, int family, struct sockaddr_storage *ret, socklen_t *ret_len, int max, struct err *err);
/* "192.0.2.1:50000", "[2001:db8::1]:50000", "unix" into <out>. Returns out. */
const char *net_addr_text(const struct sockaddr_storage *a, char *out, size_t cap);

/* Before the loop runs, or on its thread. The loop owns <fd> from now on. <tls> NULL = plain (a reference is taken otherwise). */
bool loop_listen(struct loop *l, int fd, struct tls_ctx *tls, void *listener, struct err *err);
/* ---- the PROXY protocol: a load balancer stands in front of a listener and says whom it speaks for ---- */

struct net_proxy {
	unsigned version; /* 1 or 2 */
	const struct proxy_range *from, *identity_from; /* whose header is believed; whose word on certificates */
	unsigned n_from, n_identity_from;
	bool require_tls;         /* the client must have spoken TLS with the proxy */
	bool require_certificate; /* … and shown a certificate that the proxy has verified */
};
/* Before the loop runs: each connection of that listener begins with a header, in front of TLS too, and net_peer.addr is the
 * client that it names. <p> is borrowed as long as the loop lives. */
void loop_set_proxy(struct loop *l, void *listener, const struct net_proxy *p);

/* A connection that we open. Everything is borrowed for the call, of <tls> a reference is taken. */
struct net_dial {
	const struct sockaddr *addr;
	socklen_t len;
	const struct sockaddr *from; /* bind to this address first; NULL: the kernel chooses */
	socklen_t from_len;
	struct tls_ctx *tls; /* of tls_client_new(); NULL: plain */
	const char *name;    /* what the peer's certificate must say: host name or address in digits */
	void *dialled;       /* handed to open() or failed(); not NULL */
	unsigned timeout_ms; /* until it is open; 0: as for those that come */
	unsigned silent_ms;  /* TCP_USER_TIMEOUT; 0: the system's */
	unsigned keepalive[3]; /* seconds idle, seconds between probes, probes; 0: the system's */
};

/* On the loop's thread. True: exactly one of open() and failed() is called later, at the end of the loop too. */
bool loop_connect(struct loop *l, const struct net_dial *d, struct err *err);
/* On the loop's thread: new connections of that listener use <tls> from now on. */
void loop_set_tls(struct loop *l, void *listener, struct tls_ctx *tls);
/* On the loop's thread: close the listening sockets; connections stay. */
void loop_stop_listening(struct loop *l);
/* On the loop's thread: connections that are here (handshakes included). */
unsigned loop_connections(const struct loop *l);

/* How long the turns of a loop take: what becomes ready meanwhile waits for so long. Each is written by the loop, read by any. */
enum { LOOP_LAGS = 11 };
extern const uint32_t loop_lag_us[LOOP_LAGS - 1]; /* upper bounds of .lag; the last one has none */
struct loop_stats {
	_Atomic uint64_t lag[LOOP_LAGS]; /* turns */
	_Atomic uint64_t busy_ns;        /* the time of them all */
	_Atomic uint64_t shake_ns;       /* of this in TLS handshakes */
};
const struct loop_stats *loop_stats(const struct loop *l);

/* Run until loop_stop(); then close what is here, calling closed() on streams while the other loops still exist. */
void loop_run(struct loop *l);
/* Any thread, async-signal-safe: make the loop take a turn / end after the present one. */
void loop_wake(struct loop *l);
void loop_stop(struct loop *l);
/* Any thread: run <fn> once on the loop's thread (<ctx> is the loop's). What was posted before loop_stop() still runs. False when
 * out of memory. */
bool loop_post(struct loop *l, void (*fn)(void *ctx, void *arg), void *arg);


#endif
