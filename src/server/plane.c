/* The control process: the configuration's part that is for it, and what the API asks of the program around it. */
#include "server/attempts.h"
#include "server/plane.h"

#include <openssl/ssl.h>
#include <stdlib.h>
#include <time.h>

#include "api/api.h"
#include "base/file.h"
#include "base/num.h"
#include "base/text.h"

struct plane {
	const struct server_options *options;
	struct config *config;
	struct config *newest;   /* after a reload: what it says of CAs counts; NULL: <config> */
	struct judge judge;
	struct buckets *buckets;
	struct api_config api;
	struct privileges user; /* whom it becomes */
	const char *factories[CONFIG_ROLE_CAS_MAX];
	struct api_role_ca role_cas[CONFIG_ROLE_CAS_MAX];
	char dir[PKI_PATH_MAX], registry[PKI_PATH_MAX];
	char host[256];          /* of our certificate */
};

/* Whose certificate and CAs are control's, too. */
static const struct config_listener *
model(const struct config *c)
{
	for (unsigned i = 0; i < c->n_listeners; i++)
		if (c->listeners[i].certfile != NULL)
			return &c->listeners[i];
	return NULL;
}

/* ---- ports ---- */

static struct tls_ctx *
make_tls(void *ctx, unsigned index, struct err *err)
{
	struct plane *p = ctx;
	const struct config *c = p->config;
	const struct config_listener *l = model(p->newest != NULL ? p->newest : c); /* whose trust it is, too */
	struct tls_config t = { .cert_file = c->https_certfile, .key_file = c->https_keyfile, .alpn = "http/1.1" };
	struct tls_ctx *made;

	if (l != NULL) {
		t.cert_file = t.cert_file != NULL ? t.cert_file : l->certfile;
		t.key_file = t.key_file != NULL ? t.key_file : l->keyfile;
		t.ciphers = l->ciphers;
		t.ciphersuites = l->ciphersuites;
		t.min_version = l->tls_version == 3 ? TLS1_3_VERSION : TLS1_2_VERSION;
	}
	if (l != NULL && p->judge.trust != NULL && (l->cafile != NULL || l->capath != NULL)) {
		t.ask_client_cert = true;
		t.ca_file = l->cafile;
		t.ca_path = l->capath;
		t.hooks = judge_hooks(&p->judge);
		t.hooks.psk = NULL;
	}
	made = tls_ctx_new(&t, err);
	if (made == NULL)
		(void)err_prefix(err, "%s", c->https[index].name);
	return made;
}

static bool
load_trust(struct plane *p, const struct config *c, struct err *err)
{
	const struct config_listener *l = model(c);
	struct pki_trust *t;

	if (l == NULL || (l->cafile == NULL && l->capath == NULL))
		return true;
	if (!world_trust(c, l, &t, err))
		return false;
	if (t == NULL)
		return true;
	judge_set_trust(&p->judge, t);
	pki_trust_unref(t);
	return true;
}

/* Where devices come who have been told nothing else: what our certificate is for. */
static void
find_host(struct plane *p, const struct config *c)
{
	const struct config_listener *l = model(c);
	const char *file = c->https_certfile != NULL ? c->https_certfile : l != NULL ? l->certfile : NULL;

	if (file == NULL || !pki_host_of(file, p->host, sizeof(p->host)))
		p->host[0] = '\0';
	p->api.own_host = p->host;
}

/* Whom which CA makes of its clients, by the configuration <c>. */
static void
note_role_cas(struct plane *p, const struct config *c)
{
	struct api_config *a = &p->api;

	a->n_factories = a->n_role_cas = 0;
	for (unsigned i = 0; i < c->n_role_cas; i++)
		if (c->role_cas[i].factory)
			p->factories[a->n_factories++] = c->role_cas[i].file;
		else
			p->role_cas[a->n_role_cas++] = (struct api_role_ca){ authz_role_name(c->role_cas[i].role), c->role_cas[i].file };
	a->factories = p->factories;
	a->role_cas = p->role_cas;
}

/* Roles of CAs may be others now; of the rest of the configuration a start takes what has changed. */
static void
reload(void *ctx)
{
	struct plane *p = ctx;
	struct err err;
	struct config *c = config_load(p->options, &err);

	if (c == NULL || !load_trust(p, c, &err)) {
		log_error("Those that are trusted by control stay as they were: %s.", err.text);
		config_free(c);
		return;
	}
	note_role_cas(p, c);
	find_host(p, c);
	config_free(p->newest);
	p->newest = c;
	log_notice("Certificates, CAs and revocation lists of control were read again.");
}

/* Each listener, and each kind of what strangers can provoke, may have twenty lines at once, and then one in five seconds. */
static const struct bucket_rule lines = { .every_ns = UINT64_C(5000000000), .burst = 20 };
enum { SAYING_KEYS = 1 << 16 }; /* behind the numbers of listeners */

static void
refused(void *ctx, unsigned index, const struct net_peer *peer, const struct net_failure *f)
{
	struct plane *p = ctx;
	const struct pki_peer *who = peer->identity;
	struct refusal r;
	char addr[80];

	refusal_of_failure(f, who, &r);
	if (r.cause == REFUSAL_NONE || !buckets_try(p->buckets, index, &lines, server_now_ms() * 1000000))
		return;
	log_warning("Refused TLS handshake from %s on %s: %s [%s]; subject '%s', issuer '%s', serial %s. Remedy: %s.",
	    net_addr_text(&peer->addr, addr, sizeof(addr)), p->config->https[index].name, r.text, r.name, who != NULL ? who->subject : "-",
	    who != NULL ? who->issuer : "-", who != NULL ? who->serial_hex : "-", r.remedy);
}

static bool
stands(void *ctx, const struct pki_peer *peer)
{
	struct plane *p = ctx;
	struct pki_trust *t = judge_trust(&p->judge);
	struct pki_standing standing;
	struct authz_facts f;
	bool ok;

	if (t == NULL)
		return false;
	pki_peer_facts(peer, false, &f);
	ok = pki_judge_again(t, &f, (int64_t)time(NULL), true, &standing);
	pki_trust_unref(t);
	return ok;
}

static bool
may_say(void *ctx, enum api_saying what)
{
	struct plane *p = ctx;

	return buckets_try(p->buckets, SAYING_KEYS + what, &lines, server_now_ms() * 1000000);
}

static bool
may_try(void *ctx, enum api_try what, const char *peer, struct slice user)
{
	struct plane *p = ctx;
	struct attempts_key k;

	attempts_key(&k, what == API_TRY_PASSWORD ? ATTEMPTS_PERSON : ATTEMPTS_DEVICE, peer, user);
	return attempts_may(p->buckets, &k, server_now_ms());
}

static void
tried(void *ctx, enum api_try what, const char *peer, struct slice user)
{
	struct plane *p = ctx;
	struct attempts_key k;

	attempts_key(&k, what == API_TRY_PASSWORD ? ATTEMPTS_PERSON : ATTEMPTS_DEVICE, peer, user);
	attempts_failed(p->buckets, &k, server_now_ms());
}

static void
spared(void *ctx, enum api_try what, const char *peer, struct slice user)
{
	struct plane *p = ctx;
	struct attempts_key k;

	attempts_key(&k, what == API_TRY_PASSWORD ? ATTEMPTS_PERSON : ATTEMPTS_DEVICE, peer, user);
	attempts_spare(p->buckets, &k);
}

/* ---- start ---- */

/* Somebody who is not root, if there is anybody who can work there. */
static bool
find_user(struct plane *p, struct err *err)
{
	char why[SERVER_WHY_MAX];
	bool guess;

	if (!privileges_control(p->config, &p->user, &guess, err))
		return false;
	if (!p->user.drop)
		return true;
	if (guess)
		log_warning("There is no user _signet-control, so control runs as %s: make one (useradd --system _signet-control), or name one with control_user.",
		    p->user.name);
	if (plane_give(&p->user, p->dir, p->registry, why))
		return true;
	if (p->config->control_user != NULL)
		return err_set(err, ERR_DENIED, "control cannot run as %s: %s", p->user.name, why);
	log_warning("Control stays root: %s. Put the installation where others may pass through, and the registry into a folder of its own (registry_file).", why);
	p->user.drop = false;
	return true;
}

static bool
settle(void *ctx, struct err *err)
{
	struct plane *p = ctx;

	return plane_become(&p->user, p->options->notify_fd > 0, err);
}

/* The folder of the configuration is the installation's. */
static bool
find_files(const struct config *c, const char *file, char dir[static PKI_PATH_MAX], char registry[static PKI_PATH_MAX], struct err *err)
{
	const char *slash = strrchr(file, '/');
	struct slice folder = slash == NULL ? SL(".") : slice_of(file, (size_t)NUM_MAX(slash - file, 1));
	bool ok = text_copy(dir, PKI_PATH_MAX, folder) && (c->registry_file != NULL ? text_copy(registry, PKI_PATH_MAX, slice_str(c->registry_file))
										      : path_join(registry, PKI_PATH_MAX, dir, "registry.db"));

	return ok || err_set(err, ERR_USAGE, "%s: the path is too long", file);
}

bool
server_registry_path(const char *file, char *out, size_t cap, struct err *err)
{
	const struct server_options o = { .config_file = file };
	struct config *c = config_load(&o, err);
	char dir[PKI_PATH_MAX], path[PKI_PATH_MAX];
	bool ok = c != NULL && find_files(c, file, dir, path, err) &&
	    (text_copy(out, cap, slice_str(path)) || err_set(err, ERR_USAGE, "%s: the path is too long", path));

	config_free(c);
	return ok;
}

bool
server_api_path(const char *file, char *out, size_t cap, struct err *err)
{
	const struct server_options o = { .config_file = file };
	struct config *c = config_load(&o, err);
	const char *path = NULL;
	bool ok;

	if (c == NULL)
		return false;
	for (unsigned i = 0; i < c->n_https && path == NULL; i++)
		path = c->https[i].path;
	ok = path != NULL ? text_copy(out, cap, slice_str(path)) || err_set(err, ERR_USAGE, "%s: the path is too long", path) :
			    err_set(err, ERR_MISSING, "%s: control has no unix socket: add `https_listener 0 PATH`", file);
	config_free(c);
	return ok;
}

static void
fill(struct plane *p)
{
	const struct config *c = p->config;
	struct api_config *a = &p->api;

	for (a->n_listeners = 0; a->n_listeners < c->n_https; a->n_listeners++) {
		const struct config_https *h = &c->https[a->n_listeners];

		a->listeners[a->n_listeners] = (struct api_listener){ h->host, h->port, h->path, h->plain, h->name };
		a->lists = a->lists || h->plain;
	}
	for (unsigned i = 0; i < c->n_listeners; i++)
		if (c->listeners[i].protocol == CONFIG_CONTROL && c->listeners[i].path != NULL)
			a->broker = c->listeners[i].path;
	for (unsigned i = 0; i < c->n_listeners; i++)
		if (c->listeners[i].protocol == CONFIG_CONSOLE)
			a->console = c->listeners[i].path;
	for (unsigned i = 0; i < c->n_listeners && a->mqtt_port == 0; i++)
		if (c->listeners[i].protocol == CONFIG_MQTT && c->listeners[i].certfile != NULL)
			a->mqtt_port = c->listeners[i].port;
	a->enrol_host = c->enrol_host;
	note_role_cas(p, c);
	find_host(p, c);
	a->lists = a->lists || c->crl_url != NULL;
	a->est_keygen = c->est_serverkeygen;
	a->ocsp_s = (unsigned)c->ocsp_answer_lifetime;
	a->status_topic = c->status_topic == NULL ? "springcard/springcore/+/status" : strcmp(c->status_topic, "none") != 0 ? c->status_topic : NULL;
	a->status_interval_s = (unsigned)c->status_interval;
	a->actuate_topic = c->actuate_topic != NULL ? c->actuate_topic : "/%t/%d/config";
	a->token_s = (unsigned)c->token_lifetime;
	a->timeout_s = (unsigned)c->https_timeout;
	a->max_connections = (unsigned)c->https_max_connections;
	a->max_per_address = (unsigned)c->https_max_per_address;
	a->dir = p->dir;
	a->registry = p->registry;
	a->signer_fd = p->options->signer_fd > 0 ? p->options->signer_fd : -1;
	a->dojot = (struct api_dojot){ .on = c->dojot_api, .shared_password = c->dojot_api && c->dojot_shared_password,
		.ca = c->dojot_ca != NULL ? c->dojot_ca : "client", .profile = c->dojot_profile != NULL ? c->dojot_profile : "client" };
	a->ports = (struct api_ports){ p, make_tls, settle, reload, refused, stands, may_try, may_say, tried, spared };
}

static enum server_exit
run(struct plane *p)
{
	struct logdest d = { .owner = (uid_t)-1 };
	struct err err;
	struct api *a;
	bool ok;

	if (p->config->n_https == 0) {
		log_error("Control has nothing to listen on: the configuration needs an https_listener line, for example https_listener 8443.");
		return SERVER_USAGE;
	}
	fill(p);
	ok = find_files(p->config, p->options->config_file, p->dir, p->registry, &err) && logdest_open(p->config, &d, &err) && find_user(p, &err) && load_trust(p, p->config, &err);
	a = ok ? api_new(&p->api, &err) : NULL;
	ok = a != NULL && api_run(a, &err);
	api_free(a);
	if (!ok)
		log_error("%s.", err.text);
	log_reset_sinks();
	return ok ? SERVER_OK : SERVER_FAILED;
}

enum server_exit
server_control(const struct server_options *o)
{
	struct plane *p = calloc(1, sizeof(*p));
	enum server_exit code = SERVER_FAILED;
	struct err err;

	if (p == NULL || !judge_init(&p->judge)) {
		free(p);
		return SERVER_FAILED;
	}
	p->options = o;
	p->buckets = buckets_new();
	p->config = config_load(o, &err);
	if (p->config == NULL)
		log_error("%s.", err.text);
	else if (p->buckets != NULL)
		code = run(p);
	code = p->config == NULL ? SERVER_USAGE : code;
	config_free(p->newest);
	config_free(p->config);
	buckets_free(p->buckets);
	judge_done(&p->judge);
	free(p);
	return code;
}
