/* ocsp.c and staple.c as the rest of the server sees them: OCSP about clients' certificates, and about our own. Private to server/. */
#ifndef SERVER_VOUCH_H
#define SERVER_VOUCH_H

#include <stdatomic.h>

#include "broker/broker.h"
#include "pki/pki.h"
#include "server/config.h"

struct server;
struct world;
struct ocsp;

/* ---- ocsp.c: is a client's certificate still good? Responders are asked, answers remembered and asked for again ---- */

struct ocsp_counters {
	_Atomic uint64_t answers[3]; /* by enum pki_ocsp_status */
	_Atomic uint64_t failures;   /* questions without an answer that counts */
	_Atomic uint64_t unchecked;  /* connections let in all the same (soft) */
	_Atomic uint64_t remembered; /* certificates, now */
};
struct ocsp *ocsp_new(struct server *s); /* NULL: out of memory */
void ocsp_free(struct ocsp *o);          /* NULL is fine */
/* Take the rules of <c> over; starts the threads if anybody needs them. Main thread. */
bool ocsp_configure(struct ocsp *o, const struct config *c, struct err *err);
/* Answer all that is pending and end the threads; before the loops are freed. NULL is fine. */
void ocsp_stop(struct ocsp *o);
/* Somebody has shaken hands with this certificate. Any worker's thread. */
void ocsp_know(struct ocsp *o, unsigned listener, const struct pki_peer *peer);
/* As broker_ports.vouch. Any worker's thread. */
uint8_t ocsp_vouch(struct ocsp *o, struct broker_login *login);
/* May who was let in by this certificate stay? False: <text> says why not. Any worker's thread. */
bool ocsp_stands(struct ocsp *o, unsigned listener, const struct authz_facts *f, char *text, size_t cap);
/* Responders that do not answer, a sentence each. */
void ocsp_complaints(struct ocsp *o, void (*each)(void *ctx, const char *text), void *ctx);
const struct ocsp_counters *ocsp_counters(const struct ocsp *o);

/* ---- staple.c: OCSP answers about our own certificates ---- */

struct staples;
struct staples *staples_new(struct server *s); /* NULL: out of memory */
void staples_free(struct staples *sp);         /* NULL is fine */
/* Show on the new contexts of <w> what there is; before anybody uses them. Main thread. */
void staples_prepare(struct staples *sp, const struct config *c, const struct world *w);
bool staples_start(struct staples *sp, struct err *err); /* the thread that asks responders, if one is wanted; main thread */
void staples_stop(struct staples *sp);                   /* NULL is fine */
/* Take over files that have changed. True: one may be half written, look again soon. On the thread that watches files, as the next. */
bool staples_look(struct staples *sp);
void staples_complaints(struct staples *sp, void (*each)(void *ctx, const char *text), void *ctx);

#endif
