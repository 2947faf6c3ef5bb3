/* The signer's state, for those who open it (open.c) and those who answer by it (core.c). Private to signer/. */
#ifndef SIGNER_CORE_H
#define SIGNER_CORE_H

#include "audit/audit.h"
#include "signer/internal.h"

enum { CAS_MAX = 64, PROFILES_CAP = 64 };

struct authority {
	struct pki_ca *ca;
	char profiles[PROFILES_CAP]; /* separated by spaces */
};

/* A CA of the installation whose key is elsewhere (the root): who knows the others has to know it. */
struct absentee {
	char name[CA_CAP];
	uint8_t *der;
	size_t n;
};

struct core {
	struct authority cas[CAS_MAX];
	struct absentee away[CAS_MAX];
	size_t n, n_away;
	const struct signer_setup *setup;
	struct pki_tokens *tokens;   /* NULL: no key is in a token */
	struct audit *audit;
	struct audit_signer signer;
	struct ration issues, others, refusals;
	int64_t unsigned_ms;         /* when the oldest record behind the newest checkpoint was seen; 0: there is none */
	bool written;                /* to the audit log, not synced */
	struct err *err;             /* while CAs are opened */
	struct err fault;            /* of the first key that is here and does not open */
	bool ok;
	struct req req;
};

bool core_has_profile(const struct authority *a, struct slice name);
struct authority *core_find(struct core *c, const char *name); /* NULL: there is no such CA whose key is here */

#endif
