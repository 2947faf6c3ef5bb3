/* The registry as the broker knows it: which devices exist, stated by control over its socket, and what follows from it for who connects and who is
 * connected. Private to server/. */
#ifndef SERVER_REGISTRATION_H
#define SERVER_REGISTRATION_H

#include "authz/authz.h"
#include "broker/broker.h"

struct listener;
struct registrations;
struct server;

struct registrations *registrations_new(struct server *s); /* NULL: out of memory */
void registrations_free(struct registrations *r);            /* after the broker; NULL is fine */

/* May <who> be on a listener with these rules (enum listener_rules)? <role>: what his CA gives him, also in quarantine. MQTT_RC_OK,
 * or the reason and in <why> the cause; <fresh>: he connects just now. *ret_purge: his session shall end. Any thread, no lock worth the word. */
struct registration_question {
	unsigned rules;
	enum authz_role role;
	const struct authz_facts *who;
	struct slice name; /* under which he is registered: his common name, or registration_name() of a factory's certificate */
	bool fresh;
};
/* "/" and the certificate's SHA-256 in hex: no common name begins so. */
enum { REGISTRATION_NAME_CAP = 66 };
struct slice registration_name(const struct authz_facts *f, char out[static REGISTRATION_NAME_CAP]);
uint8_t registration_judge(struct registrations *r, const struct registration_question *q, char why[static BROKER_WHY_MAX], bool *ret_purge);

/* Shall <cert>, who has the client role and is registered under <name>, begin in quarantine? */
bool registration_wants_quarantine(struct registrations *r, unsigned rules, const struct authz_principal *cert, struct slice name);
/* <cert> in quarantine, for want of a registration. NULL: out of memory. */
struct authz_principal *registration_quarantined(const struct authz_principal *cert);

struct registration_facts {
	bool known;          /* there was a snapshot since the start */
	int64_t generation;
	size_t devices, bytes;
};
void registration_facts(struct registrations *r, struct registration_facts *ret);

#endif
