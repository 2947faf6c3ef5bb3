/* What somebody may do by the configuration alone, without a broker: the files are read as the broker would, and asked. */
#include "server/control.h"

#include <openssl/pem.h>
#include <openssl/x509_vfy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/num.h"
#include "base/text.h"
#include "topic/topic.h"

enum { CERT_FILE_MAX = 1 << 20 };

static const uint8_t unknown_key[32];

bool
explain_is_meant(const struct config_listener *l, const char *name)
{
	char port[8];

	if (name == NULL)
		return !CONFIG_FOR_CONTROL(l) && l->protocol != CONFIG_METRICS;
	(void)snprintf(port, sizeof(port), "%u", (unsigned)l->port);
	return strcmp(l->name, name) == 0 || (l->port != 0 && strcmp(port, name) == 0);
}

static const struct config_listener *
find_listener(const struct config *c, const char *name, struct err *err)
{
	for (unsigned i = 0; i < c->n_listeners; i++)
		if (explain_is_meant(&c->listeners[i], name))
			return &c->listeners[i];
	(void)err_set(err, ERR_MISSING, "there is no listener %s; `signet broker --test-config` names all", name != NULL ? name : "for clients");
	return NULL;
}

/* ---- who he is ---- */

static STACK_OF(X509) *
read_chain(const char *file, struct err *err)
{
	STACK_OF(X509) *chain = sk_X509_new_null();
	uint8_t *text = NULL;
	size_t n = 0;
	BIO *bio = NULL;
	X509 *x;

	if (chain == NULL || !file_read(file, CERT_FILE_MAX, &text, &n, err)) {
		sk_X509_free(chain);
		return NULL;
	}
	bio = BIO_new_mem_buf(text, (int)n);
	while (bio != NULL && (x = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL)
		if (sk_X509_push(chain, x) <= 0)
			X509_free(x);
	BIO_free(bio);
	free(text);
	if (sk_X509_num(chain) > 0)
		return chain;
	sk_X509_free(chain);
	(void)err_set(err, ERR_INPUT, "%s: there is no PEM certificate in it; `signet inspect` says what is", file);
	return NULL;
}

/* What the TLS contexts of <l> trust. */
static X509_STORE *
anchors_of(const struct config_listener *l)
{
	X509_STORE *store = X509_STORE_new();

	if (store != NULL && ((l->cafile != NULL && X509_STORE_load_file(store, l->cafile) != 1) ||
				 (l->capath != NULL && X509_STORE_load_path(store, l->capath) != 1))) {
		X509_STORE_free(store);
		return NULL;
	}
	return store;
}

/* As in a handshake. NULL: out of memory, or a file has gone. */
static struct pki_peer *
judge_chain(const struct config_listener *l, const struct pki_trust *t, STACK_OF(X509) *chain, bool *ret_ok)
{
	X509_STORE *store = anchors_of(l);
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	struct pki_peer *p = NULL;

	*ret_ok = false;
	if (store != NULL && ctx != NULL && X509_STORE_CTX_init(ctx, store, sk_X509_value(chain, 0), chain) == 1) {
		(void)X509_STORE_CTX_set_default(ctx, "ssl_client");
		*ret_ok = pki_judge(t, ctx, &p);
	}
	X509_STORE_CTX_free(ctx);
	X509_STORE_free(store);
	return p;
}

/* *ret_who NULL: he would not get in, and <ret> says why. */
static bool
who_by_cert(const struct config *c, const struct config_listener *l, const struct server_question *q, struct authz_principal **ret_who,
    struct server_answer *ret, struct err *err)
{
	STACK_OF(X509) *chain = read_chain(q->cert_file, err);
	struct pki_trust *trust = NULL;
	struct pki_peer *p = NULL;
	bool ok = false, read;

	if (chain == NULL)
		return false;
	*ret_who = NULL;
	if (l->cafile == NULL && l->capath == NULL)
		read = err_set(err, ERR_USAGE, "listener %s asks nobody for a certificate; leave it out, or name another --listener", l->name);
	else
		read = world_trust(c, l, &trust, err);
	if (read && (p = judge_chain(l, trust, chain, &ok)) == NULL)
		read = err_set(err, ERR_SYSTEM, "the CAs of listener %s cannot be loaded", l->name);
	if (read && ok && (*ret_who = identity_of_peer(listener_rules_of(c, l), p, NULL)) == NULL)
		read = err_set(err, ERR_MEMORY, "out of memory");
	if (read && !ok)
		(void)snprintf(ret->text, sizeof(ret->text), "refused: in the TLS handshake: %s; %s", p->text, p->remedy);
	pki_peer_free(p);
	pki_trust_unref(trust);
	sk_X509_pop_free(chain, X509_free);
	return read;
}

static bool
who_by_words(unsigned rules, const struct server_question *q, struct authz_principal **ret_who, struct err *err)
{
	struct authz_facts f = { .role = AUTHZ_ROLE_NONE };
	char subject[600];
	bool named = q->role != NULL && strcmp(q->role, authz_role_name(AUTHZ_ROLE_NONE)) != 0;

	if (named && !authz_role_parse(slice_str(q->role), &f.role))
		return err_set(err, ERR_USAGE, "\"%s\" is no role: cloud, client, watch, control or none", q->role);
	if (named || q->cn != NULL) {
		f.has_cert = true;
		f.cn = slice_str(q->cn != NULL ? q->cn : q->client_id);
		(void)snprintf(subject, sizeof(subject), "CN=%s", (const char *)f.cn.p);
		f.subject = slice_str(subject);
		f.issuer_key = unknown_key;
		f.fingerprint = unknown_key;
		if ((rules & RULE_CERT_IS_IDENTITY) != 0)
			f.username = (rules & RULE_SUBJECT) != 0 ? f.subject : f.cn;
	}
	*ret_who = authz_principal_new(&f);
	return *ret_who != NULL || err_set(err, ERR_MEMORY, "out of memory");
}

/* The user name of CONNECT counts where nothing else says who he is. */
static bool
take_user(unsigned rules, const char *user, struct authz_principal **who, struct err *err)
{
	struct authz_principal *named;

	if (user == NULL || identity_is_known(rules, *who))
		return true;
	named = identity_as(*who, slice_str(user), 0);
	if (named == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	authz_principal_unref(*who);
	*who = named;
	return true;
}

bool
explain_who(unsigned rules, const struct server_question *q, struct authz_principal **ret_who, struct err *err)
{
	struct authz_principal *who = NULL;

	if (!who_by_words(rules, q, &who, err))
		return false;
	if (take_user(rules, q->user, &who, err)) {
		*ret_who = who;
		return true;
	}
	authz_principal_unref(who);
	return false;
}

static void
say_who(const struct authz_principal *who, struct server_answer *ret)
{
	struct authz_facts f;

	authz_principal_facts(who, &f);
	(void)snprintf(ret->role, sizeof(ret->role), "%s", authz_role_name(f.role));
	if (f.has_cert)
		(void)text_show(f.cn, ret->cn, sizeof(ret->cn));
	if (f.username.p != NULL)
		(void)text_show(f.username, ret->user, sizeof(ret->user));
}

/* ---- what he may ---- */

bool
explain_topic(const struct config_listener *l, enum authz_action action, const char *text, char *out, size_t cap)
{
	struct slice topic = slice_str(text), name;
	int n;

	if (action == AUTHZ_SUBSCRIBE && topic_share_split(topic, &name, &topic) == TOPIC_SHARE_BAD)
		return false;
	n = snprintf(out, cap, "%s%.*s", l->mount_point != NULL ? l->mount_point : "", (int)topic.n, (const char *)topic.p);
	if (n < 0 || (size_t)n >= cap)
		return false;
	if (action == AUTHZ_SUBSCRIBE || action == AUTHZ_UNSUBSCRIBE)
		return topic_filter_ok(slice_str(out));
	return topic_name_ok(slice_str(out));
}

static bool
judge(const struct config *c, const struct config_listener *l, const struct server_question *q, const struct authz_principal *who,
    struct server_answer *ret, struct err *err)
{
	char topic[4096];
	struct dynamics *ds;
	struct authz_policy *p = NULL;
	enum authz_action action;
	bool will, ok;

	if (!rights_action(q->action, &action, &will))
		return err_set(err, ERR_USAGE, "\"%s\" is none of connect, publish, subscribe, receive, unsubscribe and will", q->action);
	if (action == AUTHZ_CONNECT)
		(void)snprintf(topic, sizeof(topic), "%s", q->client_id);
	else if (!explain_topic(l, action, q->topic, topic, sizeof(topic)))
		return err_set(err, ERR_USAGE, "\"%s\" is no topic %s", q->topic, action == AUTHZ_SUBSCRIBE ? "filter" : "name");
	ds = dynamics_load(c, true, err);
	ok = ds != NULL && world_policy(c, l, ds, &p, err);
	if (ok)
		ret->allowed = authz_explain(p, who, slice_str(q->client_id), action, slice_str(topic), ret->text, sizeof(ret->text));
	authz_policy_unref(p);
	dynamics_free(ds);
	return ok;
}

bool
explain_for_certificates(const struct config_listener *l)
{
	return l->protocol == CONFIG_MQTT && l->port != 0 && config_is_tls(l) && (l->cafile != NULL || l->capath != NULL);
}

static bool
use(const struct config *c, const struct config_listener *l, const struct server_question *q, struct server_usage *ret, struct err *err)
{
	struct authz_principal *who = NULL;
	struct authz_policy *p = NULL;
	struct authz_usage u;
	struct dynamics *ds = dynamics_load(c, true, err);
	bool ok = ds != NULL && explain_who(listener_rules_of(c, l), q, &who, err) && world_policy(c, l, ds, &p, err);

	if (ok) {
		(void)authz_usage(p, who, slice_str(l->mount_point), &u);
		(void)text_copy(ret->client_id, sizeof(ret->client_id), slice_str(u.client_id));
		(void)text_copy(ret->publish, sizeof(ret->publish), slice_str(u.publish));
		(void)text_copy(ret->subscribe, sizeof(ret->subscribe), slice_str(u.subscribe));
		ret->port = l->port;
	}
	authz_policy_unref(p);
	authz_principal_unref(who);
	dynamics_free(ds);
	return ok;
}

bool
server_usage(const struct server_question *q, struct server_usage *ret, struct err *err)
{
	struct config *c = config_load(&(struct server_options){ .config_file = q->config_file }, err);
	bool ok = c != NULL, found = false;

	*ret = (struct server_usage){ .port = 0 };
	for (unsigned i = 0; ok && !found && i < c->n_listeners; i++) {
		found = explain_for_certificates(&c->listeners[i]);
		if (found)
			ok = use(c, &c->listeners[i], q, ret, err);
	}
	config_free(c);
	return ok && (found || err_set(err, ERR_MISSING, "no listener of %s asks for certificates", q->config_file));
}

bool
server_explain(const struct server_question *q, struct server_answer *ret, struct err *err)
{
	struct config *c = config_load(&(struct server_options){ .config_file = q->config_file }, err);
	const struct config_listener *l = c != NULL ? find_listener(c, q->listener, err) : NULL;
	struct authz_principal *who = NULL;
	bool ok = l != NULL;

	*ret = (struct server_answer){ .allowed = false };
	if (ok) {
		(void)snprintf(ret->listener, sizeof(ret->listener), "%s", l->name);
		ok = q->cert_file != NULL ? who_by_cert(c, l, q, &who, ret, err) : explain_who(listener_rules_of(c, l), q, &who, err);
	}
	if (ok && who != NULL && q->cert_file != NULL)
		ok = take_user(listener_rules_of(c, l), q->user, &who, err);
	if (ok && who != NULL) {
		say_who(who, ret);
		ok = judge(c, l, q, who, ret, err);
	}
	authz_principal_unref(who);
	config_free(c);
	return ok;
}
