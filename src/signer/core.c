/* What is signed and what is not: each request meets the profiles, the limits and the audit log here. */
#include "signer/core.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "audit/audit.h"
#include "base/log.h"

enum { ENTRIES_MAX = 4000000, CHECKPOINT_RECORDS = 1000, CHECKPOINT_MS = 60000, DAY = 86400 };

void
asker_done(struct asker *a)
{
	pki_crl_drop(a->crl);
	*a = (struct asker){ .crl = NULL };
}

/* ---- the audit log ---- */

static bool
note(struct core *c, const struct audit_record *r, struct audit_head *ret, struct err *err)
{
	if (!audit_write(c->audit, r, ret, err))
		return false;
	c->written = true;
	return true;
}

static const char *
who(const struct req *r, char out[AUDIT_ACTOR_MAX + 1])
{
	(void)snprintf(out, AUDIT_ACTOR_MAX + 1, "control/%s", r->actor);
	return out;
}

bool
core_sync(struct core *c, struct err *err)
{
	bool ok = true;

	if (c->written)
		ok = audit_sync(c->audit, err);
	for (size_t i = 0; ok && i < c->n; i++)
		ok = pki_ca_sync(c->cas[i].ca, err);
	c->written = c->written && !ok;
	return ok;
}

static bool
checkpoint(struct core *c, struct audit_head *ret, struct err *err)
{
	if (!audit_checkpoint(c->audit, "signer", &c->signer, ret, err))
		return false;
	c->unsigned_ms = 0;
	log_notice("Audit log: checkpoint %llu, hash %s.", (unsigned long long)ret->n, ret->hash);
	return true;
}

void
core_tick(struct core *c, int64_t now, bool last)
{
	uint64_t n = audit_head(c->audit).unsigned_n;
	struct audit_head head;
	struct err err = { 0 };

	if (n == 0) {
		c->unsigned_ms = 0;
		return;
	}
	if (c->unsigned_ms == 0)
		c->unsigned_ms = now;
	if (!last && n < CHECKPOINT_RECORDS && now - c->unsigned_ms < CHECKPOINT_MS)
		return;
	if (!checkpoint(c, &head, &err)) {
		c->unsigned_ms = now;
		log_error("No checkpoint in the audit log: %s.", err.text);
	}
}

/* ---- answers ---- */

void
answer_free(struct answer *a)
{
	if (a != NULL)
		free(a->body);
	free(a);
}

static bool
body_copy(struct answer *a, struct slice s)
{
	a->body = malloc(s.n > 0 ? s.n : 1);
	if (a->body == NULL)
		return err_set(&a->err, ERR_MEMORY, "the signer is out of memory");
	if (s.n > 0)
		memcpy(a->body, s.p, s.n);
	a->n = s.n;
	return true;
}

static void
do_cas(struct core *c, struct asker *k, const struct req *r, struct answer *a)
{
	size_t cap = 2 * CAS_MAX * 4096;
	uint8_t *buf = malloc(cap);
	struct wr w = wr_of(buf, buf != NULL ? cap : 0);

	(void)k;
	(void)r;
	for (size_t i = 0; i < c->n; i++) {
		wr_str(&w, slice_str(pki_ca_name(c->cas[i].ca)));
		wr_str(&w, slice_str(c->cas[i].profiles));
		wr_str(&w, pki_ca_der(c->cas[i].ca));
	}
	for (size_t i = 0; i < c->n_away; i++) {
		wr_str(&w, slice_str(c->away[i].name));
		wr_str(&w, SL(CA_AWAY));
		wr_str(&w, slice_of(c->away[i].der, c->away[i].n));
	}
	if (buf == NULL || !wr_ok(&w)) {
		free(buf);
		(void)err_set(&a->err, ERR_LIMIT, "the CAs' certificates are too large for an answer");
		return;
	}
	a->body = buf;
	a->n = wr_len(&w);
}

static struct authority *
need(struct core *c, const struct req *r, struct err *err)
{
	struct authority *a = core_find(c, r->ca);
	char shown[64];

	if (a == NULL)
		(void)err_set(err, ERR_MISSING, "there is no CA \"%s\" whose key is here", text_show(slice_str(r->ca), shown, sizeof shown));
	return a;
}

static bool
take_token(struct ration *b, struct err *err)
{
	return ration_take(b) || err_set(err, ERR_LIMIT, "more signatures are asked for than %.0f a second: ask again in a second", b->rate);
}

/* The record stands before the certificate is in the index, and both before anybody has it. */
static bool
book(struct core *c, struct authority *by, const struct req *r, const struct pki_made *m, struct err *err)
{
	const struct pki_entry *e = &m->entry;
	char actor[AUDIT_ACTOR_MAX + 1], from[24], to[24];
	struct audit_detail d[] = { { "ca", e->ca }, { "profile", e->profile }, { "serial", e->serial }, { "sha256", e->fingerprint },
		{ "not_before", from }, { "not_after", to } };
	struct audit_record rec = { .actor = who(r, actor), .action = "issue", .object = e->cn, .details = d, .n_details = ARRAY_LEN(d) };

	audit_time(e->not_before, from);
	audit_time(e->not_after, to);
	return note(c, &rec, NULL, err) && pki_ca_book(by->ca, e, err);
}

static bool
issued_body(struct answer *a, const struct pki_made *m)
{
	uint8_t buf[16 << 10];
	struct wr w = wr_of(buf, sizeof buf);

	wr_str(&w, slice_str(m->entry.serial));
	wr_str(&w, slice_str(m->entry.fingerprint));
	wr_str(&w, slice_str(m->entry.cn));
	put_i64(&w, m->entry.not_before);
	put_i64(&w, m->entry.not_after);
	wr_str(&w, slice_of(m->der, m->der_n));
	wr_str(&w, slice_str(m->notes));
	return wr_ok(&w) ? body_copy(a, wr_slice(&w)) : err_set(&a->err, ERR_LIMIT, "the certificate is too large");
}

static void
do_issue(struct core *c, struct asker *k, const struct req *r, struct answer *a)
{
	struct authority *by = need(c, r, &a->err);
	struct slice usual = by != NULL ? slice_str(by->profiles) : SL("");
	struct pki_wish w = { .cn = r->has_cn ? r->cn : NULL, .names = r->name_list, .n_names = r->n_names, .only_names = r->only_names,
		.csr = r->csr, .days = r->days, .crl_url = c->setup->crl_url, .ocsp_url = c->setup->ocsp_url, .issuers_url = c->setup->issuers_url };
	char profile[PROFILE_CAP];
	struct pki_made m = { .der = NULL };
	bool more;

	(void)k;
	if (by == NULL)
		return;
	if (!text_copy(profile, sizeof profile, r->profile[0] != '\0' ? slice_str(r->profile) : slice_cut(&usual, ' ', &more)) ||
	    profile[0] == '\0' || !core_has_profile(by, slice_str(profile))) {
		(void)err_set(&a->err, by->profiles[0] == '\0' ? ERR_DENIED : ERR_MISSING, "the CA %s does not issue by such a profile: it has %s", r->ca,
		    by->profiles[0] != '\0' ? by->profiles : "none, for it only issues CAs, and by hand");
		return;
	}
	w.profile = profile;
	if (!take_token(&c->issues, &a->err) || !pki_ca_make(by->ca, &w, &m, &a->err))
		return;
	if (book(c, by, r, &m, &a->err))
		(void)issued_body(a, &m);
	pki_made_done(&m);
}

static void
do_revoke(struct core *c, struct asker *k, const struct req *r, struct answer *a)
{
	struct authority *by = need(c, r, &a->err);
	int64_t at = r->at != 0 ? r->at : (int64_t)time(NULL);
	char actor[AUDIT_ACTOR_MAX + 1], reason[16], when[24];
	struct audit_detail d[] = { { "ca", r->ca }, { "serial", r->serial }, { "at", when }, { "reason", reason } };
	struct audit_record rec = { .actor = who(r, actor), .action = r->reason < 0 ? "release" : "revoke", .object = r->serial,
		.details = d, .n_details = r->reason < 0 ? 3 : 4 };

	(void)k;
	(void)snprintf(reason, sizeof reason, "%d", r->reason);
	audit_time(at, when);
	if (by != NULL && take_token(&c->others, &a->err) && note(c, &rec, NULL, &a->err) &&
	    pki_ca_mark(by->ca, r->serial, r->reason, at, &a->err))
		(void)body_copy(a, SL(""));
}

/* ---- lists ---- */

static bool
crl_first(struct core *c, struct asker *k, const struct req *r, struct err *err)
{
	struct authority *by = need(c, r, err);
	int64_t now = (int64_t)time(NULL);

	asker_done(k);
	k->crl_id = r->id;
	k->crl_number = r->number;
	memcpy(k->crl_ca, r->ca, sizeof k->crl_ca);
	if (by == NULL || !take_token(&c->others, err))
		return false;
	if (r->number == 0)
		return err_set(err, ERR_INPUT, "a revocation list needs a number");
	k->crl = pki_crl_begin(by->ca, now, r->days > 0 ? now + (int64_t)r->days * DAY : INT64_MAX, r->number, err);
	return k->crl != NULL;
}

static bool
crl_part(struct core *c, struct asker *k, const struct req *r, struct err *err)
{
	struct slice rest = r->entries;

	if (r->first && !crl_first(c, k, r, err))
		return false;
	if (k->crl == NULL || k->crl_id != r->id)
		return err_set(err, ERR_INPUT, "a part of a revocation list that was not begun");
	k->crl_n += r->n_entries;
	if (k->crl_n > ENTRIES_MAX)
		return err_set(err, ERR_LIMIT, "a revocation list has at most %d entries", ENTRIES_MAX);
	while (rest.n > 0) {
		struct signer_entry e = entry_next(&rest);

		if (!pki_crl_add(k->crl, slice_of(e.serial, e.serial_n), e.at, e.reason, err))
			return false;
	}
	return true;
}

static void
crl_sign(struct core *c, struct asker *k, const struct req *r, struct answer *a)
{
	char actor[AUDIT_ACTOR_MAX + 1], number[24], entries[24];
	struct audit_detail d[] = { { "number", number }, { "entries", entries } };
	struct audit_record rec = { .actor = who(r, actor), .action = "crl", .object = k->crl_ca, .details = d, .n_details = 2 };
	struct pki_crl_draft *crl = k->crl;

	k->crl = NULL;
	(void)snprintf(number, sizeof number, "%llu", (unsigned long long)k->crl_number);
	(void)snprintf(entries, sizeof entries, "%zu", k->crl_n);
	if (note(c, &rec, NULL, &a->err))
		(void)pki_crl_end(crl, &a->body, &a->n, &a->err);
	else
		pki_crl_drop(crl);
}

static void
do_crl(struct core *c, struct asker *k, const struct req *r, struct answer *a)
{
	struct err err = { 0 };
	bool known = r->first || k->crl_id == r->id;

	/* What went wrong in one part is told at the last. */
	if (!(known && !r->first && k->crl_fault.code != ERR_OK) && !crl_part(c, k, r, &err)) {
		pki_crl_drop(k->crl);
		k->crl = NULL;
		k->crl_id = r->id;
		k->crl_fault = err;
	}
	if (!r->last)
		return;
	if (k->crl_fault.code == ERR_OK)
		crl_sign(c, k, r, a);
	else
		a->err = k->crl_fault;
	asker_done(k);
}

static void
do_ocsp(struct core *c, struct asker *k, const struct req *r, struct answer *a)
{
	struct authority *by = need(c, r, &a->err);
	struct pki_ocsp_about about[SIGNER_OCSP_MAX];
	struct signer_entry entries[SIGNER_OCSP_MAX];
	int64_t now = (int64_t)time(NULL);
	struct pki_ocsp_terms t = { about, r->n_entries, r->sha256, r->nonce, now, now + r->good_for };
	struct slice rest = r->entries;
	char actor[AUDIT_ACTOR_MAX + 1], count[16], first[SERIAL_CAP];
	struct audit_detail d[] = { { "certificates", count }, { "first", first } };
	struct audit_record rec = { .actor = who(r, actor), .action = "ocsp", .object = r->ca, .details = d, .n_details = 2 };

	(void)k;
	for (size_t i = 0; i < r->n_entries; i++) {
		struct signer_entry *e = &entries[i];

		*e = entry_next(&rest);
		about[i] = (struct pki_ocsp_about){ slice_of(e->serial, e->serial_n),
			e->reason == -1 ? PKI_OCSP_GOOD : e->reason == -2 ? PKI_OCSP_UNKNOWN : PKI_OCSP_REVOKED, e->at, e->reason > 0 ? e->reason : -1 };
	}
	(void)snprintf(count, sizeof count, "%zu", r->n_entries);
	(void)text_hex(r->n_entries > 0 ? about[0].serial : slice_of(NULL, 0), first, sizeof first);
	if (by != NULL && take_token(&c->others, &a->err) && note(c, &rec, NULL, &a->err))
		(void)pki_ca_ocsp(by->ca, &t, &a->body, &a->n, &a->err);
}

/* ---- the log itself ---- */

static void
logged_body(struct answer *a, const struct audit_head *h)
{
	uint8_t buf[128];
	struct wr w = wr_of(buf, sizeof buf);

	put_i64(&w, (int64_t)h->n);
	wr_str(&w, slice_str(h->hash));
	(void)body_copy(a, wr_slice(&w));
}

static void
do_log(struct core *c, struct asker *k, const struct req *r, struct answer *a)
{
	/* Words that say what the signer did are the signer's own. */
	static const char *const own[] = { "issue", "revoke", "release", "crl", "ocsp", "checkpoint", "torn", "drop", "refuse", "create-ca",
		"adopt-ca", "trust-ca" };
	struct audit_detail d[SIGNER_DETAILS_MAX];
	char actor[AUDIT_ACTOR_MAX + 1];
	struct audit_record rec = { .actor = who(r, actor), .action = r->action, .object = r->object, .details = d, .n_details = r->n_details };
	struct audit_head head;

	(void)k;
	for (size_t i = 0; i < ARRAY_LEN(own); i++) {
		if (strcmp(own[i], r->action) == 0) {
			(void)err_set(&a->err, ERR_DENIED, "records of the action \"%s\" are made by the signer alone", own[i]);
			return;
		}
	}
	for (size_t i = 0; i < r->n_details; i++)
		d[i] = (struct audit_detail){ r->detail_names[i], r->detail_values[i] };
	if (take_token(&c->others, &a->err) && note(c, &rec, &head, &a->err))
		logged_body(a, &head);
}

static void
do_checkpoint(struct core *c, struct asker *k, const struct req *r, struct answer *a)
{
	struct audit_head head;

	(void)k;
	(void)r;
	if (take_token(&c->others, &a->err) && checkpoint(c, &head, &a->err))
		logged_body(a, &head);
}

/* Somebody who asks for what he does not get is worth a line; a flood of it is not. */
static void
tell_refusal(struct core *c, const struct req *r, const struct err *why)
{
	static const char *const types[] = { "?", "cas", "issue", "revoke", "crl", "ocsp", "log", "checkpoint" };
	char actor[AUDIT_ACTOR_MAX + 1];
	const char *type = r->type < ARRAY_LEN(types) ? types[r->type] : "?";
	struct audit_detail d[] = { { "ca", r->ca }, { "why", why->text } };
	struct audit_record rec = { .actor = who(r, actor), .action = "refuse", .object = type, .details = d, .n_details = 2 };
	struct err ignored;

	if (!ration_take(&c->refusals))
		return;
	log_warning("Control asked for a signature that it does not get (%s): %s.", type, why->text);
	(void)note(c, &rec, NULL, &ignored);
}

struct answer *
core_ask(struct core *c, struct asker *k, struct slice message, bool *ret_fatal)
{
	static void (*const actions[])(struct core *, struct asker *, const struct req *, struct answer *) = {
		[REQ_CAS] = do_cas, [REQ_ISSUE] = do_issue, [REQ_REVOKE] = do_revoke, [REQ_CRL] = do_crl, [REQ_OCSP] = do_ocsp,
		[REQ_LOG] = do_log, [REQ_CHECKPOINT] = do_checkpoint,
	};
	struct answer *a = calloc(1, sizeof *a);
	struct req *r = &c->req;

	*ret_fatal = a == NULL;
	if (a == NULL)
		return NULL;
	if (req_parse(r, message, &a->err))
		actions[r->type](c, k, r, a);
	a->id = r->id;
	if (a->err.code != ERR_OK) {
		free(a->body);
		a->body = NULL;
		a->n = 0;
		tell_refusal(c, r, &a->err);
	} else if (a->body == NULL) {
		answer_free(a);
		return NULL;
	}
	return a;
}
