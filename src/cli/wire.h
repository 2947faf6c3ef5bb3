/* A client's way to a broker: one TCP, TLS or unix socket connection, never blocking once it is
 * open. */
#ifndef CLI_WIRE_H
#define CLI_WIRE_H

#include "base/err.h"
#include "base/slice.h"

struct ssl_st;
struct ssl_ctx_st;

/* What the command line says about TLS; NULL = not given. Strings are borrowed. */
struct wire_tls_opts {
	const char *cafile, *capath, *cert, *key, *ciphers, *version, *alpn, *psk, *psk_identity;
	bool os_certs; /* trust what the operating system trusts */
	bool insecure; /* do not compare the broker's names with the host */
	bool judge_later; /* let any broker through: for those who look at wire_facts themselves and send nothing; asks for a stapled OCSP response */
};

/* A loaded TLS configuration; may serve several connections, one after the other. */
struct wire_tls;
/* Loads files and checks that they fit together; <err> names the file and the remedy. Warns
 * nobody. */
struct wire_tls *wire_tls_new(const struct wire_tls_opts *o, struct err *err);
void wire_tls_free(struct wire_tls *t); /* NULL is fine */

/* The common name of the first certificate in <path>, for use as client id; false and <err> when
 * there is none or it does not fit. */
bool wire_cert_name(const char *path, char *out, size_t cap, struct err *err);

struct wire_target {
	const char *host, *unix_path, *bind_addr; /* unix_path wins; bind_addr may be NULL */
	uint16_t port;
	bool nodelay;
	struct wire_tls *tls; /* NULL: plain */
};

enum wire_result {
	WIRE_OK,
	WIRE_AGAIN,   /* nothing now: wait for wire_events() */
	WIRE_CLOSED,  /* the broker closed or reset the connection */
	WIRE_TIMEOUT, /* the deadline passed */
	WIRE_STOPPED, /* <stop_fd> became readable */
	WIRE_FAILED,  /* the operating system says no */
	WIRE_TLS,     /* TLS: certificate, alert, no common version, … */
};

/* Zero-initialised except fd = -1: closed. */
struct wire {
	int fd;
	struct ssl_st *ssl;
	bool want_write;  /* the last call waits for room to write */
	bool cert_wanted; /* the broker has asked for a certificate */
	char verify[400]; /* why the broker's certificate was refused; "" = it was not */
	const struct wire_target *target; /* while open */
};

/* Connect, and shake hands when there is TLS; gives up at <deadline> (CLOCK_MONOTONIC, ms) or
 * when <stop_fd> (-1: none) becomes readable. Resolving a name blocks. On success <w> is open;
 * else it is closed and <err> says why. */
enum wire_result wire_open(
    struct wire *w, const struct wire_target *t, int stop_fd, uint64_t deadline, struct err *err);
/* Say goodbye (TLS close_notify, FIN), wait up to <linger_ms> for the broker to close so that
 * what was sent arrives, close. */
void wire_close(struct wire *w, int linger_ms);

/* At most <n> bytes into <p>; OK with *ret > 0, or AGAIN, CLOSED, TLS, FAILED with <err>. */
enum wire_result wire_read(struct wire *w, void *p, size_t n, size_t *ret, struct err *err);
enum wire_result wire_write(struct wire *w, struct slice s, size_t *ret, struct err *err);
/* POLLIN and, when needed, POLLOUT. */
short wire_events(const struct wire *w, bool output_waits);

/* What a TLS alert that the broker sent means (RFC 8446 6, RFC 5246 7.2): "certificate expired";
 * never NULL. */
const char *wire_alert_text(int alert);

/* What the handshake of the open <w> brought; the slices are the DER of what the broker sent, its own first, and borrowed from
 * <chain_bytes>, which is the caller's (free()). False: out of memory. */
enum { WIRE_CHAIN_MAX = 16 };
struct wire_facts {
	const char *version, *cipher; /* static */
	struct slice chain[WIRE_CHAIN_MAX];
	size_t n;
	uint8_t *chain_bytes;
	struct slice staple; /* the stapled OCSP response, empty: none; borrowed from <w> while it is open */
};
bool wire_facts(const struct wire *w, struct wire_facts *ret);

/* Milliseconds of CLOCK_MONOTONIC. */
uint64_t wire_now(void);

#endif
