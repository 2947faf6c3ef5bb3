/* The control process: HTTPS towards people and programs, the registry of tenants, users, devices and certificates behind it.
 * One thread with an event loop, and one beside it that computes password hashes. */
#ifndef API_API_H
#define API_API_H

#include <stdint.h>

#include "base/err.h"
#include "net/net.h"
#include "pki/pki.h"

enum { API_LISTENERS_MAX = 16 };

struct api_listener {
	const char *host; /* NULL: every address */
	uint16_t port;    /* 0: <path> is a unix socket */
	const char *path; /* for the commands of this machine: root and the process's own user are administrators there */
	bool plain;       /* no TLS: lists, OCSP answers and CAs' certificates, and nothing else */
	const char *name; /* for log lines */
};

/* What strangers can make control say; each has its own bound. */
enum api_saying { API_SAY_NEWCOMER, API_SAY_COLLISION };

/* A person's password; a device's one-time secret, or what else it enrols with. */
enum api_try { API_TRY_PASSWORD, API_TRY_SECRET };
#define API_TRY_WORDS "5 wrong passwords of a user, or 10 wrong secrets of a device, from one address, then one in 12 or 5 seconds; 100 from an address, then two a second"
/* What the program around it does for it. All called on its thread, <ctx> is handed through. */
struct api_ports {
	void *ctx;
	/* The TLS context of listener <index>, a reference; asked at the start and after reload(). NULL and <err>: none can be made. */
	struct tls_ctx *(*tls)(void *ctx, unsigned index, struct err *err);
	/* Every address is open and every key read: give up what is not needed any more. No other thread is there yet. */
	bool (*settle)(void *ctx, struct err *err);
	/* SIGHUP: read certificates, CAs and revocation lists again. */
	void (*reload)(void *ctx);
	/* A handshake on listener <index> that came to nothing. */
	void (*refused)(void *ctx, unsigned index, const struct net_peer *peer, const struct net_failure *f);
	/* Is the certificate of <peer>, which was accepted once, still good? */
	bool (*stands)(void *ctx, const struct pki_peer *peer);
	/* May <user> at <peer> ("192.0.2.1:50000") try it? And: it was a wrong one. API_TRY_WORDS says how many. */
	bool (*may_try)(void *ctx, enum api_try what, const char *peer, struct slice user);
	/* May one more line of this kind, which strangers can provoke, go to the log? */
	bool (*may_say)(void *ctx, enum api_saying what);
	void (*tried)(void *ctx, enum api_try what, const char *peer, struct slice user);
	/* It was none that costs: what is told of before a password's slow hash is taken back when it was right, or was not looked at. */
	void (*spared)(void *ctx, enum api_try what, const char *peer, struct slice user);
};

/* The paths of dojot's gateway (api/dojot.h), in the form of its answers. */
struct api_dojot {
	bool on;
	bool shared_password;     /* "dojot" enrols every device that waits for its certificate */
	const char *ca, *profile; /* of the certificates; <ca> is also what "IOTmidCA" means where no CA has this name */
};

struct api_role_ca {
	const char *role, *file; /* "client"; "…/pki/NAME/cert.pem" */
};

struct api_config {
	const char *dir;      /* of the installation */
	const char *registry; /* the database */
	struct api_listener listeners[API_LISTENERS_MAX];
	unsigned n_listeners;
	unsigned token_s;             /* how long a login is good */
	unsigned ocsp_s;              /* how long an OCSP answer is good */
	bool est_keygen;              /* EST makes keys for devices, too */
	bool lists;                   /* each CA whose key is here has a revocation list, if only an empty one */
	unsigned timeout_s;           /* for a handshake, a head, a body and an answer each */
	unsigned max_connections;     /* of all listeners */
	unsigned max_per_address;
	const char *broker;           /* its control socket; NULL: none */
	const char *enrol_host;       /* HOST[:PORT] under which devices reach the API; NULL: as who asks has reached it */
	const char *own_host;         /* where nobody has said one: of the certificate; NULL or "": none is known */
	const struct api_role_ca *role_cas; /* what signet.conf says of certificates of CAs: of adopted ones nobody else knows it */
	unsigned n_role_cas;
	const char *const *factories; /* files with certificates of factories' CAs */
	unsigned n_factories;
	uint16_t mqtt_port;           /* on which devices reach the broker; 0: none */
	const char *status_topic;     /* where devices say how they are: a filter with one +, which is the device; NULL: nowhere */
	unsigned status_interval_s;   /* how often they say it; 0: nobody is stale who does not */
	const char *actuate_topic;    /* where they hear what to do; %t tenant, %d id, %u common name */
	struct api_dojot dojot;
	const char *console;          /* its socket for those who look at messages with the console; NULL: none */
	int signer_fd;                /* a socket to the signer, taken over; -1: none */
	struct api_ports ports;
};

/* Open everything; NULL and <err>: a file, an address, the registry. The configuration is borrowed for its life. */
struct api;
struct api *api_new(const struct api_config *c, struct err *err);
/* Until SIGTERM or SIGINT; requests that are being answered have <timeout_s> to end. False and <err>: it could not go on. */
bool api_run(struct api *a, struct err *err);
void api_free(struct api *a); /* NULL is fine */

/* The OpenAPI 3.1 document as text; free(). NULL: out of memory. */
char *api_document(void);

#endif
