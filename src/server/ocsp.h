/* Private to server/: what ocsp.c remembers of certificates and ocsp_ask.c asks responders for. */
#ifndef SERVER_OCSP_H
#define SERVER_OCSP_H

#include "base/map.h"
#include "fetch/fetch.h"
#include "server/internal.h"

enum {
	OCSP_KEY_N = 32,
	OCSP_CACHE_MAX = 250000,  /* certificates that are remembered; then those are forgotten that were not needed for the longest time */
	OCSP_ISSUERS_MAX = 1024,
	OCSP_RESPONDERS_MAX = 64,
	OCSP_WAITING_MAX = 20000, /* logins that wait for an answer */
	OCSP_THREADS = 8,         /* questions under way */
	OCSP_PROBES = 4096,       /* of the cache are looked at under one lock */
};

/* Who answers. Lives as long as the process. */
struct responder {
	struct responder *next;
	struct fetch_url url;
	int64_t down_until_ms; /* CLOCK_MONOTONIC; before that it is not asked */
	bool failing;          /* its last answer was none */
	char why[200];
	char text[FETCH_URL_MAX + 1];
};

/* Whose certificates we ask about. Lives as long as the process. */
struct issuer {
	uint8_t key[OCSP_KEY_N];
	struct x509_st *cert;
};

enum ocsp_state { OCSP_NEW, OCSP_GOOD, OCSP_REVOKED, OCSP_UNKNOWN, OCSP_FAILED };

/* One certificate. */
struct subject {
	struct subject *newer, *older;
	struct subject *next, **link; /* in a queue of those to be asked about; link NULL: in none */
	struct waiter *waiters;
	struct issuer *issuer;        /* NULL: not known any more */
	struct responder *responder;  /* NULL: none is known */
	int64_t until;                /* wall clock, seconds: for so long the state is what counts */
	int64_t probe;                /* then the broker is asked whether somebody with it is here */
	int64_t revoked_at;
	char *why;                    /* FAILED: in words; NULL: out of memory */
	enum ocsp_state state;
	int reason;
	bool asking;                  /* in a queue, or under way */
	bool probed;                  /* the broker was asked; until .probe it has time to say so by ocsp_stands() */
	uint8_t listener;             /* that it came to last */
	uint8_t id_n;
	uint8_t id[OCSP_KEY_N + AUTHZ_SERIAL_MAX]; /* key of the issuer, serial number */
};

struct waiter {
	struct waiter *next;          /* of the same certificate */
	struct waiter *later, **link; /* all, oldest first */
	struct subject *subject;
	struct broker_login *login;
	unsigned listener;
	int64_t due_ms;
	uint8_t reason;               /* the verdict */
};

struct ocsp_rule {
	int64_t check;                /* enum config_ocsp */
	struct responder *responder;  /* ocsp_responder, or NULL: as the certificate says */
};

struct ocsp_queue {
	struct subject *first, **last;
};

struct ocsp {
	struct server *s;
	pthread_mutex_t lock;         /* of everything up to the threads */
	pthread_cond_t more, tick;
	struct ocsp_rule *rules;      /* by listener */
	int64_t timeout_ms, max_age_s; /* timeout_ms: also the time for which a failure is remembered */
	struct map subjects;
	size_t n_subjects;
	struct subject *newest, *oldest;
	struct issuer issuers[OCSP_ISSUERS_MAX];
	unsigned n_issuers;
	struct responder *responders;
	unsigned n_responders;
	struct ocsp_queue urgent, idle; /* somebody waits; it is only time */
	struct waiter *waiting, **last_waiting;
	unsigned n_waiting;
	size_t cursor;                /* of the probes in .subjects */
	bool stop, running;

	int stop_fd;                  /* readable: no question goes on */
	pthread_t keeper, askers[OCSP_THREADS];
	unsigned n_askers;
	bool keeps;                   /* the keeper runs */
	struct ocsp_counters counters;
};

/* ---- ocsp_known.c; all with the lock held ---- */

void ocsp_known_init(struct ocsp *o);
struct responder *ocsp_responder(struct ocsp *o, const char *url); /* NULL: out of memory, too many, or the URL is none */
/* The certificate with this serial number; NULL: out of memory, or all that are remembered are being asked about. */
struct subject *ocsp_subject(struct ocsp *o, unsigned listener, const uint8_t key[OCSP_KEY_N], struct slice serial);
void ocsp_forget(struct ocsp *o, struct subject *e);

/* ---- ocsp.c; all with the lock held ---- */

void ocsp_enqueue(struct ocsp *o, struct subject *e);
/* Tell what was learned: <a> NULL: nothing, for the reason <why>. Returns those who waited, with their verdicts. */
struct waiter *ocsp_learn(struct ocsp *o, struct subject *e, const struct pki_ocsp_answer *a, const char *why);
/* Those who have waited for too long. */
struct waiter *ocsp_overdue(struct ocsp *o, int64_t now_ms);
/* Certificates whose answers end soon; at most <max>, their number. <ret_end>: all were looked at. */
size_t ocsp_probe(struct ocsp *o, struct broker_suspect *v, size_t max, bool *ret_end);

/* ---- ocsp_ask.c ---- */

bool ocsp_threads_start(struct ocsp *o, struct err *err);
void ocsp_threads_stop(struct ocsp *o);
/* Without the lock. */
void ocsp_release(struct waiter *w);

#endif
