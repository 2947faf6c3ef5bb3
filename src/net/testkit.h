/* For net's tests: loops in threads with a toy protocol on them, blocking clients, and certificates
 * made in memory. */
#ifndef NET_TESTKIT_H
#define NET_TESTKIT_H

#include <openssl/ssl.h>
#include <netinet/in.h>
#include <pthread.h>
#include "net/net.h"

enum { KIT_LOOPS = 4, KIT_HIGH = 256 * 1024, KIT_FRAME_MAX = 1 << 20 };

/* The toy protocol: four bytes length (big endian) of what follows, one byte verb, payload. Each
 * frame comes back as it was:
 *   e  at once
 *   m  after the stream has moved to the next loop
 *   t  when turn() allows it (a wake-up from outside feed)
 *   p  after it stopped reading and turn() allowed it again
 *   q  and then the stream closes
 *   c  the stream closes when it is pulled */
struct kit;
struct kit_loop {
	struct kit *kit;
	struct loop *loop;
	unsigned index;
	pthread_t thread;
	bool started;
	struct echo *waiting; /* for turn() */
};

struct kit_failure {
	enum net_failure_kind kind;
	int alert;
	bool probe, identity;
	uint8_t first[16];
	size_t first_n;
	char detail[160];
};

struct kit {
	unsigned n;
	struct kit_loop loops[KIT_LOOPS];
	struct net_handler handler;
	struct loop_limits limits;
	struct sockaddr_in addr; /* where it listens */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* under the lock */
	unsigned opened, closed, moved, failed, paused, posted, identities, freed, peers_ok;
	size_t most; /* bytes that one stream held back */
	struct kit_failure last;
	char why[160]; /* of the last closed() */
	bool refuse;   /* open() returns NULL */
};

/* Loops exist, nothing runs yet. */
void kit_init(struct kit *k, unsigned loops, const struct loop_limits *limits);
/* Listen on 127.0.0.1, any port, in the first <listeners> loops. */
void kit_listen(struct kit *k, unsigned listeners, struct tls_ctx *tls);
void kit_start(struct kit *k);
void kit_done(struct kit *k);
/* Until *counter >= n; fails the test after a long time. */
void kit_await(struct kit *k, const unsigned *counter, unsigned n);

/* A client: plain when ctx is NULL. */
struct client {
	int fd;
	SSL *ssl;
};
struct client client_connect(const struct kit *k);
/* True when the handshake succeeded on the client's side. */
bool client_shake(struct client *c, SSL_CTX *ctx);
void client_write(struct client *c, const void *p, size_t n);
/* Bytes read: n, or fewer at the end of file or on an error. */
size_t client_read(struct client *c, void *p, size_t n);
void client_close(struct client *c);
/* Build a frame in <out>; returns its length. */
size_t frame(uint8_t *out, char verb, const void *payload, size_t n);
/* Send one and expect it back. */
void client_echo(struct client *c, char verb, const void *payload, size_t n);

/* A certificate with its key, P-256. Signed by <ca>, or by itself when NULL. */
struct cert {
	X509 *x;
	EVP_PKEY *key;
};
struct cert cert_make(const char *cn, const struct cert *ca, long not_before_s, long not_after_s);
void cert_done(struct cert *c);

/* A folder with ca.pem, cert.pem, key.pem and what else tests need. */
struct pki {
	char dir[64];
	char ca[96], cert[96], key[96];
	struct cert root, server, client, stranger_root, stranger;
};
void pki_init(struct pki *p);
void pki_done(struct pki *p);
void pki_write(const struct pki *p, const char *name, const char *text);
void pki_write_cert(const struct pki *p, const char *name, const struct cert *c, bool key);
/* A client's context; <me> NULL: no certificate. */
SSL_CTX *client_ctx(const struct cert *me, const struct cert *trusted, int version);
/* Of the listener, with a hook that judges by libssl and counts in <k>. */
struct tls_config kit_tls_config(struct kit *k, const struct pki *p);

#endif
