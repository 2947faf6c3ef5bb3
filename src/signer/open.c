/* The signer's start: the CAs of the installation are opened, those whose keys do not open are left out, and the audit log is. */
#include "signer/core.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"

enum { RATE_USUAL = 200, REFUSALS_A_SECOND = 1 };

bool
core_has_profile(const struct authority *a, struct slice name)
{
	bool more = true;

	for (struct slice rest = slice_str(a->profiles); more;)
		if (slice_eq(slice_cut(&rest, ' ', &more), name))
			return true;
	return false;
}

static void
add_profile(struct authority *a, const char *name)
{
	size_t n = strlen(a->profiles);

	if (!core_has_profile(a, slice_str(name)))
		(void)snprintf(a->profiles + n, sizeof a->profiles - n, "%s%s", n > 0 ? " " : "", name);
}

static void
note_absentee(struct core *c, const char *name)
{
	struct absentee *x = &c->away[c->n_away];
	struct err err = { .text = "there are too many CAs" };

	if (c->n_away < CAS_MAX && text_copy(x->name, sizeof x->name, slice_str(name)) && pki_export(c->setup->dir, name, true, false, &x->der, &x->n, &err))
		c->n_away++;
	else
		log_error("The CA %s is left out: %s.", name, err.text);
}

/* One key that does not open (another passphrase, a damaged file) takes nothing away from the other CAs. What the machine lacks may be
 * there at the next start. */
static bool
is_its_own(enum err_code code)
{
	return code == ERR_MISSING || code == ERR_USAGE || code == ERR_DENIED || code == ERR_INPUT;
}

static void
leave_out(struct core *c, const char *name, const struct err *why)
{
	if (why->code == ERR_MISSING) {
		log_notice("The key of the CA %s is not here: nothing is signed with it.", name);
	} else {
		log_error("The key of the CA %s cannot be used, nothing is signed with it: %s. If it has another passphrase than the other CAs, which have one, "
			  "write %s/pki/%s/key.pem under theirs (openssl pkey -aes256) and restart signet serve.", name, why->text, c->setup->dir, name);
		if (c->fault.code == ERR_OK)
			c->fault = *why;
	}
	note_absentee(c, name);
}

static void
open_one(void *ctx, const char *name)
{
	struct core *c = ctx;
	struct authority *a = &c->cas[c->n];
	struct err err = { 0 };

	if (!c->ok)
		return;
	if (c->n == CAS_MAX) {
		c->ok = err_set(c->err, ERR_LIMIT, "there are more than %d CAs", CAS_MAX);
		return;
	}
	a->ca = pki_ca_open(c->setup->dir, name, c->setup->secret, c->tokens, &err);
	if (a->ca == NULL && is_its_own(err.code)) {
		leave_out(c, name, &err);
		return;
	}
	if (a->ca == NULL) {
		c->ok = false;
		*c->err = err;
		return;
	}
	/* The root issues the CAs below it, which are made by hand. */
	if (strcmp(name, "root") != 0)
		add_profile(a, strcmp(name, "cloud") == 0 ? "server" : "client");
	for (size_t i = 0; i < c->setup->n_rules; i++)
		if (strcmp(c->setup->rules[i].ca, name) == 0 && strcmp(name, "root") != 0)
			add_profile(a, c->setup->rules[i].profile);
	if (strcmp(name, "root") != 0)
		add_profile(a, "ocsp");
	c->n++;
}

struct authority *
core_find(struct core *c, const char *name)
{
	for (size_t i = 0; i < c->n; i++)
		if (strcmp(pki_ca_name(c->cas[i].ca), name) == 0)
			return &c->cas[i];
	return NULL;
}

static bool
sign_checkpoint(void *ctx, struct slice statement, uint8_t *ret, size_t cap, size_t *ret_n, struct err *err)
{
	struct pki_signature s;

	if (!pki_ca_sign(ctx, statement, &s, err))
		return false;
	if (s.n > cap)
		return err_set(err, ERR_LIMIT, "the signature is too long");
	memcpy(ret, s.bytes, s.n);
	*ret_n = s.n;
	return true;
}

struct core *
core_new(const struct signer_setup *s, struct err *err)
{
	const struct pki_token_way way = { .secret = s->secret, .confine = confine_token, .ctx = (void *)(uintptr_t)s };
	struct core *c = calloc(1, sizeof *c);
	char path[PKI_PATH_MAX];
	struct authority *by;

	if (c == NULL) {
		(void)err_set(err, ERR_MEMORY, "out of memory");
		return NULL;
	}
	*c = (struct core){ .setup = s, .err = err, .ok = true };
	c->issues = ration_of(s->rate > 0 ? s->rate : RATE_USUAL);
	c->others = ration_of(5 * c->issues.rate);
	c->refusals = ration_of(REFUSALS_A_SECOND);
	if (!pki_tokens_start(s->dir, NULL, &way, &c->tokens, err) || !pki_each_ca(s->dir, open_one, c, err) || !c->ok) {
		core_free(c);
		return NULL;
	}
	by = core_find(c, "client");
	by = by != NULL ? by : c->n > 0 ? &c->cas[0] : NULL;
	if (by == NULL && c->fault.code != ERR_OK)
		*err = c->fault;
	else if (by == NULL)
		(void)err_set(err, ERR_MISSING, "%s has no CA whose key is here", s->dir);
	else if ((size_t)snprintf(path, sizeof path, "%s/audit.log", s->dir) >= sizeof path)
		(void)err_set(err, ERR_LIMIT, "%s: path too long", s->dir);
	else
		c->audit = audit_open(path, err);
	if (c->audit == NULL || by == NULL) {
		core_free(c);
		return NULL;
	}
	log_notice("The signer holds the keys of %zu CAs.", c->n);
	c->signer = (struct audit_signer){ pki_ca_name(by->ca), sign_checkpoint, by->ca };
	return c;
}

void
core_free(struct core *c)
{
	if (c == NULL)
		return;
	for (size_t i = 0; i < c->n; i++)
		pki_ca_free(c->cas[i].ca);
	for (size_t i = 0; i < c->n_away; i++)
		free(c->away[i].der);
	/* Nobody may be waited for behind the filter. */
	pki_tokens_stop(c->tokens, false);
	audit_close(c->audit);
	free(c);
}

bool
core_lost(const struct core *c)
{
	return pki_tokens_lost(c->tokens);
}
