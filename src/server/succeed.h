/* Certificates that have a successor (succeed.c). */
#ifndef SERVER_SUCCEED_H
#define SERVER_SUCCEED_H

#include "server/internal.h"

struct successions;
struct succeeded {
	int64_t not_after, since; /* seconds since 1970; since: the new one is in use, 0: not yet */
	bool settled;             /* the CA's list has it */
	char name[4 * PKI_CN_MAX + 1], serial[2 * AUTHZ_SERIAL_MAX + 1], fingerprint[65]; /* of the old certificate */
};
struct successions *successions_new(void);     /* NULL: out of memory */
void successions_free(struct successions *x); /* NULL is fine */
/* As broker_ports.note. */
void successions_note(struct successions *x, struct slice name, struct slice value);
/* Whoever asked as <r> gets <certificate> (PEM; its first one counts). False: out of memory, no certificate, or too many wait. */
bool succession_begin(struct server *s, const struct renewal *r, const char *certificate);
/* May the owner of this certificate still come? MQTT_RC_OK, or the reason and why. Any thread. */
uint8_t succession_judge(struct successions *x, const struct authz_principal *who, char why[static BROKER_WHY_MAX]);
/* <who> has connected: if it is with a new certificate, the old one is not accepted any more. Any thread. */
void succession_seen(struct server *s, const struct authz_principal *who);
/* Under a lock: <each> must be short. Any thread. */
void successions_read(struct successions *x, void (*each)(void *ctx, const struct succeeded *e), void *ctx);
/* The CA has revoked the old certificate with this fingerprint. False: its successor has not been here, or nobody knows it. */
bool succession_settle(struct server *s, const char *fingerprint);

#endif
