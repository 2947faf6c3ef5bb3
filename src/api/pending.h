/* Devices that come by themselves, with a certificate of a factory or of ours, and wait in the broker's quarantine until somebody, or a rule,
 * says what they are. Private to api/. */
#ifndef API_PENDING_H
#define API_PENDING_H

#include "api/internal.h"

/* Read the certificates of the factories' CAs that the configuration names: while we may still read them. One that cannot be read is logged. */
void pending_read(struct api *a);
void pending_forget(struct api *a);
/* What was read, into the registry. */
void pending_factories(struct api *a);
/* The broker has somebody in quarantine: a quarantine event of docs/control-protocol.md, or a row of sessions. */
void pending_seen(struct api *a, const json_t *o);

/* ---- enrol_rules.c ---- */

struct newcomer {
	struct slice ca, cn, subject; /* subject: RFC 2253; empty: not known now */
};
struct rule_verdict {
	enum registry_device_state state; /* REGISTRY_PENDING: no rule speaks of him */
	char rule[REGISTRY_NAME_MAX + 1];
	int64_t templates[REGISTRY_TEMPLATES_MAX];
	size_t n_templates;
};
/* The first rule that fits. */
void rules_judge(struct api *a, const struct newcomer *w, struct rule_verdict *ret);
void rules_get(struct call *c);
void rules_put(struct call *c);
extern const struct schema rules_schema;
extern const char rules_example[];

#endif
