/* Private to `signet doctor`: its steps, what was asked, and the report that grows while it walks. */
#ifndef CLI_DOCTOR_H
#define CLI_DOCTOR_H

#include "cli/client.h"
#include "cli/internal.h"

/* In the order in which they are taken. A step's number is part of the exit code: never change one. */
enum step {
	STEP_FILES, STEP_DNS, STEP_TCP, STEP_TLS, STEP_CHAIN, STEP_NAME, STEP_TIME, STEP_USAGE, STEP_REVOCATION, STEP_IDENTITY,
	STEP_CONNECT, STEP_TOPICS, STEP_ROUND_TRIP,
	STEPS
};
enum { EXIT_STEP = 10 }; /* + the step with the first fault */

struct doctor {
	const char *target;
	bool json, no_tls;
	const char *cafile, *cert, *key, *crlfile, *id, *user, *password_file, *topic;
	unsigned port, timeout_s;
	/* the report */
	unsigned said, faults;
	int exit;
	char host[256];
	char made_id[256]; /* when no id was given */
};

/* One line of the report. Returns false for a fault, so that a step ends with it. <remedy> "": none but what <fmt>
 * has behind a semicolon. */
bool doctor_say(struct doctor *d, enum step step, enum pki_level level, const char *remedy, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
/* A pki_found that reports under the step of each check. */
void doctor_found(void *doctor, const struct pki_finding *f);
/* The same, all of it under STEP_FILES. */
void doctor_found_files(void *doctor, const struct pki_finding *f);

bool doctor_files(struct doctor *d); /* a folder: a client's, or a whole installation */
bool doctor_live(struct doctor *d);  /* a broker */
/* CONNECT, topics, round trip, through <target>. */
bool doctor_mqtt(struct doctor *d, const struct wire_target *target);

#endif
