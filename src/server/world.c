/* Everything that is loaded from files and can be loaded again: certificates, CAs, revocation
 * lists, policies. */
#include "server/internal.h"

#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/secret.h"

/* "FILE:LINE: DIRECTIVE: " before the error. */
static bool
fail_at(const struct config *c, struct config_place at, const char *directive, struct err *err)
{
	char where[CONFIG_PLACE_CAP];

	if (directive != NULL)
		(void)err_prefix(err, "%s", directive);
	if (at.line == 0)
		return false;
	return err_prefix(err, "%s", config_place_text(c, at, where, sizeof(where)));
}

static bool
load_policy_text(
    const struct config_security *s, const char *file, struct authz_policy **ret, struct err *err)
{
	uint8_t *text = NULL;
	size_t n = 0;

	if (!file_read(file, CONFIG_FILE_MAX, &text, &n, err))
		return false;
	*ret = s->acl_file != NULL ? authz_policy_parse_acl(slice_of(text, n), file, err)
				   : authz_policy_parse(slice_of(text, n), file, err);
	free(text);
	return *ret != NULL;
}

bool
world_policy(const struct config *c, const struct config_listener *l, const struct dynamics *ds, struct authz_policy **ret,
    struct err *err)
{
	const struct config_security *s = l->security;
	struct dynamic *d = dynamics_of(ds, l->dynsec);
	const char *name = s->policy, *directive;

	if (l->protocol == CONFIG_CONTROL) {
		*ret = authz_policy_parse(slice_str(control_policy), "control", err);
		return *ret != NULL;
	}
	if (l->protocol == CONFIG_CONSOLE) {
		*ret = authz_policy_parse(slice_str(console_policy), "console", err);
		return *ret != NULL;
	}
	if (d != NULL) {
		*ret = dynamic_policy(d);
		return true;
	}
	if (name == NULL && s->acl_file == NULL) {
		if (c->n_role_cas == 0) {
			*ret = authz_policy_open();
			return *ret != NULL || err_set(err, ERR_MEMORY, "out of memory");
		}
		name = "springcore";
	}
	if (name != NULL && authz_policy_builtin(name).p != NULL) {
		*ret = authz_policy_parse(authz_policy_builtin(name), name, err);
		return *ret != NULL;
	}
	if (load_policy_text(s, name != NULL ? name : s->acl_file, ret, err))
		return true;
	directive = name != NULL ? "policy" : "acl_file";
	return fail_at(c, option_at(s->at, directive), directive, err);
}

static bool
load_passwords(const struct config *c, const struct config_security *s, struct passwd_file **ret,
    struct err *err)
{
	uint8_t *text = NULL;
	size_t n = 0;

	if (s->password_file == NULL)
		return true;
	if (file_read(s->password_file, PASSWD_FILE_MAX, &text, &n, err)) {
		*ret = passwd_parse(slice_of(text, n), s->password_file, err);
		secret_free(text, n);
	}
	return *ret != NULL || fail_at(c, option_at(s->at, "password_file"), "password_file", err);
}

static bool
load_psk(const struct config *c, const struct config_security *s, struct psk_file **ret,
    struct err *err)
{
	uint8_t *text = NULL;
	size_t n = 0;

	if (file_read(s->psk_file, PASSWD_FILE_MAX, &text, &n, err)) {
		*ret = psk_parse(slice_of(text, n), s->psk_file, err);
		secret_free(text, n);
	}
	return *ret != NULL || fail_at(c, option_at(s->at, "psk_file"), "psk_file", err);
}

/* Files that listeners have in common are read once. */
static bool
load_secrets(const struct config *c, struct world *w, unsigned index, struct err *err)
{
	const struct config_listener *l = &c->listeners[index];
	struct world_listener *wl = &w->listeners[index];
	unsigned i;

	for (i = 0; i < index; i++) {
		if (c->listeners[i].security != l->security)
			continue;
		if (wl->passwords == NULL && w->listeners[i].passwords != NULL)
			wl->passwords = passwd_ref(w->listeners[i].passwords);
		if (wl->psk == NULL && w->listeners[i].psk != NULL && l->psk_hint != NULL)
			wl->psk = psk_ref(w->listeners[i].psk);
	}
	return (wl->passwords != NULL || load_passwords(c, l->security, &wl->passwords, err)) &&
	       (wl->psk != NULL || l->psk_hint == NULL ||
		   load_psk(c, l->security, &wl->psk, err));
}

static bool
is_about(const struct err *err, const char *file)
{
	return file != NULL && strstr(err->text, file) != NULL;
}

/* pki names the file; the reader of the configuration wants the line. */
static bool
fail_trust(const struct config *c, const struct config_listener *l, struct err *err)
{
	unsigned i;

	for (i = 0; i < c->n_role_cas; i++)
		if (is_about(err, c->role_cas[i].file))
			return fail_at(c, c->role_cas[i].place, "role_ca", err);
	if (is_about(err, l->crlfile))
		return fail_at(c, option_at(l->at, "crlfile"), "crlfile", err);
	if (is_about(err, l->cafile))
		return fail_at(c, option_at(l->at, "cafile"), "cafile", err);
	return fail_at(c, l->place, NULL, err);
}

/* net begins its texts with the directive. */
static bool
fail_tls(const struct config *c, const struct config_listener *l, struct err *err)
{
	struct slice rest = slice_str(err->text), word = parse_word(&rest);
	const struct option *o = option_find(word);
	struct config_place at = l->place;

	if (o != NULL && o->scope == OPTION_LISTENER && l->at[o - options].line != 0)
		at = l->at[o - options];
	return fail_at(c, at, NULL, err);
}

/* Who has read the same revocation lists before. */
struct trust_hints {
	const struct pki_trust *previous, *also;
};

static struct trust_hints
hints_of(const struct config *c, const struct world *w, const struct world *old, unsigned index)
{
	struct trust_hints h = { old != NULL ? old->listeners[index].trust : NULL, NULL };
	const char *crl = c->listeners[index].crlfile;
	unsigned i;

	for (i = 0; crl != NULL && i < index; i++)
		if (c->listeners[i].crlfile != NULL && strcmp(c->listeners[i].crlfile, crl) == 0)
			h.also = w->listeners[i].trust;
	return h;
}

static bool
load_trust(const struct config *c, const struct config_listener *l, const struct trust_hints *h, struct pki_trust **ret,
    struct err *err)
{
	struct pki_role_ca roles[CONFIG_ROLE_CAS_MAX];
	const char *crl = l->crlfile;
	struct pki_trust_config t = { .ca_file = l->cafile,
		.more_anchors = l->capath != NULL,
		.roles = roles,
		.n_roles = c->n_role_cas,
		.crl_files = &crl,
		.n_crl_files = crl != NULL ? 1 : 0,
		.previous = h->previous,
		.also = h->also,
		.crl_grace = l->crl_grace,
		.ignore_dates = l->ignore_dates,
		.ocsp = l->ocsp_check != CONFIG_OCSP_OFF,
		.quarantine = (l->quarantine & CONFIG_QUARANTINE_DATES) != 0,
		.require_cn = l->use_identity_as_username };
	unsigned i;

	for (i = 0; i < c->n_role_cas; i++)
		roles[i] = (struct pki_role_ca){ c->role_cas[i].role, c->role_cas[i].file, c->role_cas[i].factory };
	*ret = pki_trust_new(&t, err);
	return *ret != NULL || fail_trust(c, l, err);
}

bool
world_trust(const struct config *c, const struct config_listener *l, struct pki_trust **ret, struct err *err)
{
	return load_trust(c, l, &(struct trust_hints){ 0 }, ret, err);
}

/* What decides whether somebody who was let in once would be let in by a full handshake with <l>, and in the same way; but for what is judged
 * each time. */
static bool
ticket_scope(const struct config *c, const struct config_listener *l, const struct pki_trust *trust, uint8_t ret[32])
{
	char *text;
	bool ok;

	if (asprintf(&text, "%td %s %d %d %s %s", l - c->listeners, l->name, l->require_certificate, (int)l->tls_version,
		l->ciphers != NULL ? l->ciphers : "", l->ciphersuites != NULL ? l->ciphersuites : "") == -1)
		return false;
	ok = pki_trust_scope(trust, slice_str(text), ret);
	free(text);
	return ok;
}

/* Whom to ask about our own certificate, or which file says it. */
static bool
load_staple(const struct config *c, const struct config_listener *l, struct world_listener *ret, struct err *err)
{
	const char *directive = l->ocsp_stapling_file != NULL ? "ocsp_stapling_file" : l->ocsp_stapling_responder != NULL ? "ocsp_stapling_responder"
															  : "ocsp_stapling";
	char named[PKI_URL_MAX];
	const char *url = l->ocsp_stapling_responder != NULL ? l->ocsp_stapling_responder : named;

	if (!config_staples(l))
		return true;
	if (!pki_ocsp_subject(l->certfile, l->cafile, &ret->staple_cert, &ret->staple_issuer, named, err))
		return fail_at(c, option_at(l->at, directive), directive, err);
	if (l->ocsp_stapling_file != NULL)
		return (ret->staple_file = strdup(l->ocsp_stapling_file)) != NULL || err_set(err, ERR_MEMORY, "out of memory");
	if (url[0] == '\0') {
		(void)err_set(err, ERR_INPUT, "%s names no responder; say one with ocsp_stapling_responder", l->certfile);
		return fail_at(c, option_at(l->at, directive), directive, err);
	}
	return (ret->staple_url = strdup(url)) != NULL || err_set(err, ERR_MEMORY, "out of memory");
}

static bool
load_tls(const struct config *c, const struct config_listener *l, struct judge *j, const struct trust_hints *h,
    struct world_listener *ret, struct err *err)
{
	bool ask = l->cafile != NULL || l->capath != NULL;
	struct tls_config t = {
		.cert_file = l->certfile,
		.key_file = l->keyfile,
		.ca_file = l->cafile,
		.ca_path = l->capath,
		.dh_file = l->dhparamfile,
		.ciphers = l->ciphers,
		.ciphersuites = l->ciphersuites,
		/* Browsers offer http/1.1 for wss:, and nothing of MQTT. */
		.alpn = l->protocol == CONFIG_METRICS	   ? "http/1.1"
			: l->protocol == CONFIG_WEBSOCKETS ? "http/1.1,mqtt"
							   : NULL,
		.min_version = l->tls_version == 3 ? TLS1_3_VERSION : TLS1_2_VERSION,
		.psk_hint = l->psk_hint,
		.ask_client_cert = ask,
		.require_client_cert = l->require_certificate,
	};

	ret->crl_grace = l->crl_grace;
	ret->crl_file = ask && l->crlfile != NULL ? strdup(l->crlfile) : NULL;
	if (ask && l->crlfile != NULL && ret->crl_file == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	if (ask && !load_trust(c, l, h, &ret->trust, err))
		return false;
	/* Without a judge nobody will shake hands. */
	if (ask || l->psk_hint != NULL)
		t.hooks = judge_hooks(j);
	if (!ask)
		t.hooks.verify = NULL;
	if (l->psk_hint == NULL)
		t.hooks.psk = NULL;
	t.tickets = l->session_tickets && j != NULL ? j->tickets : NULL;
	if (t.tickets != NULL && !ticket_scope(c, l, ret->trust, t.ticket_scope))
		return err_set(err, ERR_MEMORY, "out of memory");
	ret->tls = tls_ctx_new(&t, err);
	if (ret->tls == NULL)
		return fail_tls(c, l, err);
	ret->cert_file = l->certfile != NULL ? strdup(l->certfile) : NULL;
	if (l->certfile != NULL && ret->cert_file == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	return load_staple(c, l, ret, err);
}

/* The server opens it once, at its start; a look says early what is wrong with it. */
static bool
look_at_http_dir(const struct config *c, const struct config_listener *l, struct err *err)
{
	int fd = -1;

	if (l->http_dir == NULL)
		return true;
	if (!files_open_dir(l->http_dir, &fd, err))
		return fail_at(c, option_at(l->at, "http_dir"), "http_dir", err);
	(void)close(fd); /* only looked at */
	return true;
}

struct world *
world_load(
    const struct config *c, struct judge *judges, const struct dynamics *ds, const struct world *old, struct err *err)
{
	struct world *w = calloc(1, sizeof(*w));
	unsigned i;

	if (w != NULL)
		w->listeners = calloc(c->n_listeners, sizeof(*w->listeners));
	if (w != NULL && w->listeners != NULL)
		w->bridges = authz_policy_open();
	if (w == NULL || w->bridges == NULL) {
		world_free(w);
		(void)err_set(err, ERR_MEMORY, "out of memory");
		return NULL;
	}
	w->n = c->n_listeners;
	for (i = 0; i < w->n; i++) {
		const struct config_listener *l = &c->listeners[i];
		struct world_listener *wl = &w->listeners[i];
		struct trust_hints h = hints_of(c, w, old, i);

		if (!world_policy(c, l, ds, &wl->policy, err) || !look_at_http_dir(c, l, err) ||
		    !load_secrets(c, w, i, err) ||
		    (config_is_tls(l) &&
			!load_tls(c, l, judges != NULL ? &judges[i] : NULL, &h, wl, err))) {
			world_free(w);
			return NULL;
		}
	}
	return w;
}

void
world_free(struct world *w)
{
	unsigned i;

	if (w == NULL)
		return;
	for (i = 0; i < w->n; i++) {
		tls_ctx_unref(w->listeners[i].tls);
		free(w->listeners[i].cert_file);
		free(w->listeners[i].crl_file);
		pki_cert_free(w->listeners[i].staple_cert);
		pki_cert_free(w->listeners[i].staple_issuer);
		free(w->listeners[i].staple_file);
		free(w->listeners[i].staple_url);
		pki_trust_unref(w->listeners[i].trust);
		authz_policy_unref(w->listeners[i].policy);
		passwd_unref(w->listeners[i].passwords);
		psk_unref(w->listeners[i].psk);
	}
	authz_policy_unref(w->bridges);
	free(w->listeners);
	free(w);
}
