/* The process that alone holds the keys of the CAs, and how control asks it. */
#ifndef SIGNER_SIGNER_H
#define SIGNER_SIGNER_H

#include <sys/types.h>
#include "pki/pki.h"
#include "signer/client.h"

enum { SIGNER_RULES_MAX = 32 };

/* Fixed at start: whoever asks later cannot change it. */
struct signer_setup {
	const char *dir;                  /* of the installation */
	const struct pki_secret *secret;  /* of the keys; NULL: they are not encrypted */
	char *wipe;                       /* overwritten once the keys are open: what <secret> gives; NULL: nothing */
	size_t wipe_n;
	int channel;                      /* SOCK_SEQPACKET to the supervisor: "C" with a descriptor brings an asker's socket, its end ours */
	bool drop;                        /* become <uid>, <gid> */
	uid_t uid;
	gid_t gid;
	struct signer_rule {
		const char *ca, *profile;
	} rules[SIGNER_RULES_MAX];        /* beside what each CA has: "client" below client, watch, control and adopted CAs, "server" below cloud; and "ocsp" */
	size_t n_rules;
	const char *crl_url, *ocsp_url, *issuers_url; /* in every certificate; "%c" is the CA's name; NULL: none */
	unsigned rate;                    /* certificates a second over time; ten seconds' worth at once; 0 = 200 */
};
/* Open the keys and the audit log, shed all rights, say "R" to the supervisor, and answer until SIGTERM or the supervisor has gone.
 * Logs its own errors. True: it ended in order. Wipes keys. The process must have no other thread and ends afterwards with _exit(). */
bool signer_run(const struct signer_setup *s);

#endif
