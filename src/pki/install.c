/* signet init: the whole installation is made in a hidden folder inside its place and moved in at the end, so that there is
 * either all of it or nothing. */
#include "pki/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/un.h>
#include <sys/stat.h>

struct authority {
	const char *name, *cn, *what;
	enum authz_role role;
	enum profile profile;
	EVP_PKEY *key;
	X509 *cert;
	struct tkey *held;             /* of a key in a token */
};

enum { ROOT, CLOUD, CLIENT, WATCH, CONTROL, AUTHORITIES };
#define TENANT_POLICY "dojot.policy"

struct site {
	const struct pki_install *in;
	struct pki_secret secret;      /* hands out the one passphrase that was asked for */
	char pass[PKI_PASSPHRASE_MAX];
	int64_t now;
	char org[32];
	char place[PATH_MAX];          /* canonical */
	char made[PATH_MAX + 32];      /* the hidden folder */
	size_t existed;                /* how much of the given path was there before */
	struct authority ca[AUTHORITIES];
	struct pki_tokens *tokens;     /* NULL: the keys are in files */
};

static bool
same_pass(void *ctx, const char *what, bool creating, char *buf, size_t cap, struct err *err)
{
	struct site *s = ctx;

	(void)what;
	(void)creating;
	return text_copy(buf, cap, slice_str(s->pass)) || err_set(err, ERR_LIMIT, "the passphrase is too long");
}

static bool
check_hosts(const struct pki_install *in, struct err *err)
{
	char why[128], shown[300];
	auto_gens g = GENERAL_NAMES_new();

	if (in->n_hosts == 0 || in->n_hosts > 64)
		return err_set(err, ERR_USAGE, "give 1 to 64 names or addresses of the broker with --host");
	for (size_t i = 0; i < in->n_hosts; i++) {
		if (g == NULL || !hosts_add(g, in->hosts[i], err))
			return false;
	}
	if (!new_cn_ok(in->hosts[0], why, sizeof why))
		return err_set(err, ERR_USAGE, "\"%s\" cannot be the broker's first name: the common name %s",
		    text_show(slice_str(in->hosts[0]), shown, sizeof shown), why);
	return true;
}

/* How much of <dir> is there already: what lies below is ours to remove again. */
static size_t
existing_part(const char *dir)
{
	char part[PATH_MAX];
	size_t n = strlen(dir);

	(void)snprintf(part, sizeof part, "%s", dir);
	for (; n > 0 && access(part, F_OK) == -1; part[n] = '\0') {
		while (n > 0 && part[n - 1] == '/')
			n--;
		while (n > 0 && part[n - 1] != '/')
			n--;
	}
	return n;
}

static void
remove_made_dirs(const char *dir, size_t existed)
{
	char part[PATH_MAX];
	size_t n = strlen(dir);

	(void)snprintf(part, sizeof part, "%s", dir);
	while (n > existed && rmdir(part) == 0) {
		while (n > 0 && part[n - 1] == '/')
			part[--n] = '\0';
		while (n > 0 && part[n - 1] != '/')
			part[--n] = '\0';
	}
}

static bool
check_free(const char *dir, struct err *err)
{
	static const char *const ours[] = { "pki", "clients", "crls", "registry", "audit.log", TENANT_POLICY, "signet.conf" };
	char path[PKI_PATH_MAX];

	for (size_t i = 0; i < ARRAY_LEN(ours); i++) {
		if (!path_join(path, sizeof path, dir, ours[i]))
			return err_set(err, ERR_LIMIT, "%s: path too long", dir);
		if (access(path, F_OK) == 0)
			return err_set(err, ERR_EXISTS,
			    "%s has an installation already (%s is there) and nothing is overwritten: choose another --dir", dir, path);
	}
	return true;
}

/* What a CA's key is called in a token; tokens outlive installations. */
static void
object_name(const struct site *s, const struct authority *a, char out[static 64])
{
	(void)snprintf(out, 64, "%s-%s", s->org + strlen("Signet "), a->name);
}

static bool
start_tokens(struct site *s, struct err *err)
{
	char names[AUTHORITIES][64];
	const char *list[AUTHORITIES];

	for (size_t i = 0; i < AUTHORITIES; i++) {
		object_name(s, &s->ca[i], names[i]);
		list[i] = names[i];
	}
	s->tokens = tokens_for_new(s->in->pkcs11, list, AUTHORITIES, s->in->secret, err);
	return s->tokens != NULL;
}

static bool
make_key(struct site *s, struct authority *a, struct err *err)
{
	if (s->tokens == NULL)
		a->key = key_new(s->in->key_type, err);
	else if ((a->held = tokens_held(s->tokens, (size_t)(a - s->ca))) == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	else
		a->key = tkey_make(a->held, s->in->key_type, err);
	return a->key != NULL;
}

static bool
write_authority(struct site *s, const struct authority *a, const char *dir, struct err *err)
{
	char name[64], uri[TOKEN_URI_MAX];

	if (s->tokens == NULL)
		return ca_write(dir, a->key, a->cert, s->in->secret != NULL ? &s->secret : NULL, a->what, err);
	object_name(s, a, name);
	return (token_uri_add_object(s->in->pkcs11, name, uri) || err_set(err, ERR_LIMIT, "the PKCS#11 URI is too long")) &&
	    ca_write_held(dir, uri, a->cert, err);
}

static bool
make_authority(struct site *s, struct authority *a, struct err *err)
{
	struct authority *root = &s->ca[ROOT];
	struct cert_spec spec = {
		.profile = a->profile,
		.cn = a->cn,
		.org = s->org,
		.issuer = a == root ? NULL : root->cert,
		.days = profile_days(a->profile),
		.now = s->now,
	};
	char dir[PATH_MAX + 128];
	struct index x;
	bool clipped, ok;

	if (!make_key(s, a, err))
		return false;
	spec.key = a->key;
	spec.issuer_key = a == root ? NULL : root->key;
	if ((a->cert = cert_make(&spec, &clipped, err)) == NULL)
		return false;
	(void)snprintf(dir, sizeof dir, "%s/pki/%s", s->made, a->name);
	if (!write_authority(s, a, dir, err) ||
	    !note_ca(s->made, "create-ca", a->name, a->cert, err))
		return false;
	if (a == root)
		return true;
	(void)snprintf(dir, sizeof dir, "%s/pki/root", s->made);
	if (!index_open(&x, dir, "root", s->now, true, err))
		return false;
	ok = cert_book(&x, dir, "root", a->cert, a->profile, a->cn, err);
	index_done(&x);
	return ok;
}

static bool
make_leaf(struct site *s, struct authority *a, const char *cn, const char *sub, struct err *err)
{
	struct cert_spec spec = {
		.profile = a->role == AUTHZ_ROLE_CLOUD ? PROFILE_SERVER : PROFILE_CLIENT,
		.cn = cn,
		.issuer = a->cert,
		.issuer_key = a->key,
		.now = s->now,
	};
	auto_gens san = GENERAL_NAMES_new();
	auto_pkey key = key_new(s->in->key_type, err);
	auto_x509 leaf = NULL;
	char dir[PATH_MAX + 128], ca_dir[PATH_MAX + 128];
	struct index x;
	bool clipped, ok;

	for (size_t i = 0; spec.profile == PROFILE_SERVER && i < s->in->n_hosts; i++) {
		if (san == NULL || !hosts_add(san, s->in->hosts[i], err))
			return false;
	}
	spec.key = key;
	spec.san = san;
	spec.days = profile_days(spec.profile);
	if (key == NULL || (leaf = cert_make(&spec, &clipped, err)) == NULL)
		return false;
	(void)snprintf(dir, sizeof dir, "%s/%s", s->made, sub);
	(void)snprintf(ca_dir, sizeof ca_dir, "%s/pki/%s", s->made, a->name);
	if (!dir_make(dir, 0700, err) || !index_open(&x, ca_dir, a->name, s->now, true, err))
		return false;
	ok = cert_book(&x, ca_dir, a->name, leaf, spec.profile, cn, err) && note_certificate(s->made, "issue", &x.entries[x.n - 1], err);
	index_done(&x);
	return ok && bundle_write(dir, &(struct bundle){ key, (X509 *[]){ leaf, a->cert }, 2, s->ca[ROOT].cert }, err);
}

static bool
write_ca_bundle(struct site *s, struct err *err)
{
	X509 *all[AUTHORITIES];
	char dir[PATH_MAX + 64];
	auto_str pem = NULL;

	for (size_t i = 0; i < AUTHORITIES; i++)
		all[i] = s->ca[i].cert;
	(void)snprintf(dir, sizeof dir, "%s/pki", s->made);
	return certs_pem(all, AUTHORITIES, &pem, err) && write_text(dir, "ca.pem", pem, 0644, 0, err);
}

#define CONTROL_SOCKET "/control.sock"
#define CONSOLE_SOCKET "/console.sock"
#define API_SOCKET "/api.sock"

/* The name of a unix socket is short. */
static bool
socket_fits(const struct site *s, const char *name)
{
	return strlen(s->place) + strlen(name) < sizeof(((struct sockaddr_un *)0)->sun_path);
}

/* The registry has a folder of its own: who runs control writes there, and nowhere else. */
static bool
write_api_conf(struct site *s, const char *conf, struct err *err)
{
	char folder[PATH_MAX + 64], local[PATH_MAX + 128] = "";
	auto_str text = NULL;

	if (s->in->api_port == 0)
		return write_text(s->made, "signet.conf", conf, 0644, 0, err);
	if (socket_fits(s, API_SOCKET))
		(void)snprintf(local, sizeof local, "# For the commands of this machine: signet device token, backup --all and others.\nhttps_listener 0 %s" API_SOCKET "\n",
		    s->place);
	if (asprintf(&text,
		"%s\n# signet serve: the API of control by HTTPS, and what it knows of tenants, users, devices and certificates.\n"
		"https_listener %u\n"
		"%s"
		"registry_file %s/registry/registry.db\n", conf, s->in->api_port, local, s->place) == -1) {
		text = NULL;
		return err_set(err, ERR_MEMORY, "out of memory");
	}
	(void)snprintf(folder, sizeof folder, "%s/registry", s->made);
	return dir_make(folder, 0700, err) && write_text(s->made, "signet.conf", text, 0644, 0, err);
}

static const char *
policy_name(const struct site *s)
{
	return s->in->policy != NULL ? s->in->policy : "springcore";
}

static bool
write_policy(struct site *s, struct err *err)
{
	char text[256];

	(void)snprintf(text, sizeof text, "# Devices whose certificate names the device alone are of this tenant.\ntenant %.128s\nuse %.32s\n", s->in->tenant, policy_name(s));
	return write_text(s->made, TENANT_POLICY, text, 0644, 0, err);
}

static bool
write_conf(struct site *s, struct err *err)
{
	const char *d = s->place;
	char crls[PATH_MAX + 64];
	char control[2 * PATH_MAX + 300] = "", policy[PATH_MAX + 32];
	auto_str text = NULL;

	(void)snprintf(policy, sizeof policy, "%s%s%s", s->in->tenant != NULL ? d : "", s->in->tenant != NULL ? "/" : "", s->in->tenant != NULL ? TENANT_POLICY : policy_name(s));
	if (socket_fits(s, CONSOLE_SOCKET))
		(void)snprintf(control, sizeof control,
		    "\n# For the administrator of this machine: signet why.\nlistener 0 %s" CONTROL_SOCKET "\nprotocol control\n"
		    "# For live messages in the web console.\nlistener 0 %s" CONSOLE_SOCKET "\nprotocol console\n", d, d);
	if (asprintf(&text,
		"# Signet: the configuration, in the syntax of mosquitto.conf. Start: signet serve --dir %s\n"
		"# Paths are absolute; when the folder moves, they have to be changed.\n\n"
		"# Who may do what: a ready-made policy, by the CA that issued a client's certificate.\n"
		"policy %s\n"
		"# Threads; 0 = one for each core.\n"
		"workers %u\n"
		"allow_anonymous false\n"
		"# Sessions, queued and retained messages survive everything: what is acknowledged is on the disk.\n"
		"persistence true\n"
		"persistence_location %s\n\n"
		"# MQTT over TLS. Every client shows a certificate; its common name is its user name.\n"
		"listener %u\n"
		"cafile %s/pki/ca.pem\n"
		"# What was revoked, by CA (signet ca revoke); taken over at once.\n"
		"crlfile %s/crls\n"
		"certfile %s/pki/broker/cert.pem\n"
		"keyfile %s/pki/broker/key.pem\n"
		"tls_version tlsv1.2\n"
		"require_certificate true\n"
		"use_identity_as_username true\n\n"
		"# The role of a client is decided by the key of the CA that issued its certificate.\n"
		"role_ca cloud %s/pki/cloud/cert.pem\n"
		"role_ca client %s/pki/client/cert.pem\n"
		"role_ca watch %s/pki/watch/cert.pem\n"
		"role_ca control %s/pki/control/cert.pem\n%s",
		d, policy, s->in->workers,
		d, s->in->port != 0 ? s->in->port : 8883, d, d, d, d, d, d, d, d, control) == -1) {
		text = NULL;
		return err_set(err, ERR_MEMORY, "out of memory");
	}
	(void)snprintf(crls, sizeof crls, "%s/crls", s->made);
	return dir_make(crls, 0755, err) && (s->in->tenant == NULL || write_policy(s, err)) && write_api_conf(s, text, err);
}

static bool
make_all(struct site *s, struct err *err)
{
	for (size_t i = 0; i < AUTHORITIES; i++) {
		if (!make_authority(s, &s->ca[i], err))
			return false;
	}
	return make_leaf(s, &s->ca[CLOUD], s->in->hosts[0], "pki/broker", err) &&
	    make_leaf(s, &s->ca[WATCH], "watcher", "clients/watcher", err) &&
	    make_leaf(s, &s->ca[CONTROL], "controller", "clients/controller", err) && write_ca_bundle(s, err) &&
	    write_conf(s, err) && (s->in->api_port == 0 || s->in->also == NULL || s->in->also(s->in->ctx, s->made, err));
}

static bool
move_one(const char *from_dir, const char *to_dir, const char *name, struct err *err)
{
	char from[PKI_PATH_MAX + 64], to[PKI_PATH_MAX + 64];

	(void)snprintf(from, sizeof from, "%s/%s", from_dir, name);
	(void)snprintf(to, sizeof to, "%s/%s", to_dir, name);
	if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
		return true;
	if ((errno == EINVAL || errno == ENOSYS) && access(to, F_OK) == -1 && rename(from, to) == 0)
		return true;
	return err_sys(err, "cannot write %s", to);
}

static bool
has_part(const struct site *s, const char *name)
{
	return strcmp(name, "registry") == 0 ? s->in->api_port != 0 : strcmp(name, TENANT_POLICY) != 0 || s->in->tenant != NULL;
}

/* signet.conf last: what has it is complete. */
static bool
move_in(struct site *s, struct err *err)
{
	static const char *const parts[] = { "pki", "clients", "crls", "registry", "audit.log", TENANT_POLICY, "signet.conf" };

	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		if (!has_part(s, parts[i]))
			continue;
		if (move_one(s->made, s->place, parts[i], err))
			continue;
		while (i-- > 0)
			if (has_part(s, parts[i]))
				(void)move_one(s->place, s->made, parts[i], NULL); /* back, to be removed with the rest */
		return false;
	}
	(void)rmdir(s->made);
	return dir_sync(s->place, err);
}

static bool
begin(struct site *s, struct err *err)
{
	const char *dir = s->in->dir;

	if (strlen(dir) == 0 || strlen(dir) > PKI_PATH_MAX - 512)
		return err_set(err, ERR_USAGE, "the path of the folder is empty or too long");
	if (!check_hosts(s->in, err) || !check_free(dir, err))
		return false;
	if (s->in->secret != NULL && s->in->pkcs11 == NULL) {
		if (!s->in->secret->get(s->in->secret->ctx, "the CA keys", true, s->pass, sizeof s->pass, err))
			return false;
		if (strlen(s->pass) < PKI_PASSPHRASE_MIN)
			return err_set(err, ERR_USAGE, "the passphrase for the CA keys is shorter than %d characters",
			    PKI_PASSPHRASE_MIN);
	}
	s->existed = existing_part(dir);
	if (!dir_make(dir, 0755, err))
		return false;
	if (realpath(dir, s->place) == NULL)
		return err_sys(err, "%s", dir);
	if (strpbrk(s->place, "\n\r") != NULL)
		return err_set(err, ERR_USAGE, "the path of the folder has a line break in it");
	(void)snprintf(s->made, sizeof s->made, "%s/.signet-init-XXXXXX", s->place);
	if (mkdtemp(s->made) == NULL) {
		s->made[0] = '\0';
		return err_sys(err, "cannot write in %s", s->place);
	}
	return true;
}

bool
pki_install(const struct pki_install *i, struct err *err)
{
	struct site s = {
		.in = i,
		.now = pki_clock(i->now),
		.existed = SIZE_MAX,
		.ca = {
			[ROOT] = { "root", "Signet Root CA", "the root CA's key", AUTHZ_ROLE_NONE, PROFILE_ROOT, NULL, NULL, NULL },
			[CLOUD] = { "cloud", "Signet Cloud CA", "the Cloud CA's key", AUTHZ_ROLE_CLOUD, PROFILE_ROLE_CA, NULL, NULL, NULL },
			[CLIENT] = { "client", "Signet Client CA", "the Client CA's key", AUTHZ_ROLE_CLIENT, PROFILE_ROLE_CA, NULL, NULL, NULL },
			[WATCH] = { "watch", "Signet Watch CA", "the Watch CA's key", AUTHZ_ROLE_WATCH, PROFILE_ROLE_CA, NULL, NULL, NULL },
			[CONTROL] = { "control", "Signet Control CA", "the Control CA's key", AUTHZ_ROLE_CONTROL, PROFILE_ROLE_CA, NULL, NULL, NULL },
		},
	};
	uint8_t unique[4];
	bool ok;

	/* Names of two installations differ, so that a chain that mixes them is told by its names already. */
	random_bytes(unique, sizeof unique);
	(void)snprintf(s.org, sizeof s.org, "Signet %02x%02x%02x%02x", unique[0], unique[1], unique[2], unique[3]);
	s.secret = (struct pki_secret){ same_pass, &s };
	ok = begin(&s, err) && (i->pkcs11 == NULL || start_tokens(&s, err)) && make_all(&s, err) && move_in(&s, err);
	if (!ok && s.made[0] != '\0')
		(void)dir_remove(s.made);
	if (!ok && s.existed != SIZE_MAX)
		remove_made_dirs(i->dir, s.existed);
	secret_wipe(s.pass, sizeof s.pass);
	for (size_t k = 0; k < AUTHORITIES; k++) {
		if (!ok && s.tokens != NULL && s.ca[k].held != NULL)
			tokens_unmake(s.tokens, k);
		EVP_PKEY_free(s.ca[k].key);
		X509_free(s.ca[k].cert);
		tkey_free(s.ca[k].held);
	}
	pki_tokens_stop(s.tokens, true);
	return ok;
}
