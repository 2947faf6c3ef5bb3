/* signet init: the installation, a summary of what was made, and what to do next. */
#include "cli/internal.h"

#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/num.h"
#include "base/secret.h"
#include "base/text.h"

static const char about[] =
    "Makes a root CA, the four role CAs (Cloud, Client, Watch, Control), the broker's certificate, one watcher and\n"
    "one controller, the API's first administrator, whose password is shown once, and a configuration with which\n"
    "\"signet serve --dir DIR\" works. Nothing that exists is overwritten; if anything fails, nothing is left behind.\n"
    "The CA keys are encrypted with a passphrase: from --passphrase-file, from the environment variable\n"
    "SIGNET_PASSPHRASE, or asked for.";

static const char more[] =
    "Examples:\n"
    "  signet init --dir /etc/signet --host mqtt.example.com,192.0.2.7\n"
    "  signet init --dir demo --host localhost,127.0.0.1,::1 --no-passphrase\n"
    "  signet init --dir demo --host localhost --no-passphrase --json\n"
    "  signet init --dir demo --host localhost --policy dojot --tenant admin\n"
    "  signet init --dir /etc/signet --host mqtt.example.com --pkcs11 'pkcs11:token=signet?module-path=/usr/lib/softhsm/libsofthsm2.so'\n\n"
    "Exit codes: 0 success, 1 failure, 2 wrong usage.\n";

struct made {
	const char *path, *what;
};

struct admin {
	const char *name, *tenant;
	char password[SITE_PASSWORD_CAP];
};

static const struct made tree[] = {
	{ "signet.conf", "the configuration" },
	{ "pki/ca.pem", "root and role CAs: what the broker trusts" },
	{ "pki/root/cert.pem", "root CA; its key is needed only to make CAs: keep it offline" },
	{ "pki/cloud/cert.pem", "Cloud CA: issues brokers" },
	{ "pki/client/cert.pem", "Client CA: issues devices" },
	{ "pki/watch/cert.pem", "Watch CA: issues those who may read everything" },
	{ "pki/control/cert.pem", "Control CA: issues those who may read and write everything" },
	{ "pki/broker/cert.pem", "the broker's certificate and chain" },
	{ "clients/watcher/cert.pem", "a watcher: key, certificate, ca.pem, commands.txt" },
	{ "clients/controller/cert.pem", "a controller: the same" },
};

static void
summary(const char *dir)
{
	char path[PKI_PATH_MAX], print[80], until[48];

	(void)printf("Made in %s:\n", dir);
	for (size_t i = 0; i < ARRAY_LEN(tree); i++) {
		(void)printf("  %-29s %s\n", tree[i].path, tree[i].what);
		if (strstr(tree[i].path, "/cert.pem") == NULL || !path_join(path, sizeof path, dir, tree[i].path))
			continue;
		if (show_field(path, "sha256", print, sizeof print, NULL) &&
		    show_field(path, "not_after", until, sizeof until, NULL))
			(void)printf("  %-29s until %.10s, SHA-256 %s\n", "", until, print);
	}
}

static bool
client_files(const char *dir, const char *name, enum authz_role role, struct err *err)
{
	char folder[PKI_PATH_MAX], sub[64], real[PKI_PATH_MAX];
	char *text = NULL;
	bool ok;

	(void)snprintf(sub, sizeof sub, "clients/%s", name);
	if (!path_join(folder, sizeof folder, dir, sub) || realpath(folder, real) == NULL)
		return err_sys(err, "%s", folder);
	ok = site_commands(dir, real, name, role, &text, err);
	if (ok && text[0] != '\0')
		(void)printf("\n%s:\n%s", role == AUTHZ_ROLE_WATCH ? "Watch everything" : "Control a device", text);
	free(text);
	return ok;
}

static bool
next_steps(const char *dir, bool api, struct err *err)
{
	char real[PKI_PATH_MAX];

	if (realpath(dir, real) == NULL)
		return err_sys(err, "%s", dir);
	(void)printf("\nNext:\n  signet serve --dir %s\n  signet device add ID --dir %s\n", real, real);
	if (!api)
		(void)printf("  signet broker -c %s/signet.conf\n", real);
	return client_files(dir, "watcher", AUTHZ_ROLE_WATCH, err) && client_files(dir, "controller", AUTHZ_ROLE_CONTROL, err);
}

/* ---- the API's administrator ---- */

/* Where the API is, for the first name that the broker's certificate has. */
static void
api_url(const struct pki_install *in, char *out, size_t cap)
{
	bool v6 = strchr(in->hosts[0], ':') != NULL;

	(void)snprintf(out, cap, "https://%s%s%s:%u/api/v1", v6 ? "[" : "", in->hosts[0], v6 ? "]" : "", in->api_port);
}

static void
show_admin(const struct pki_install *in, const struct admin *a)
{
	char url[400];

	api_url(in, url, sizeof url);
	(void)printf("\nThe API is %s\nIts administrator: user %s, password %s\n(shown once; change it with PUT /api/v1/me/password)\n", url, a->name,
	    a->password);
}

static void
json_member(const char *name, const char *value)
{
	(void)printf(", \"%s\": ", name);
	show_json_string(stdout, value);
}

/* One object: what was made, and the password. */
static bool
show_json(const struct pki_install *in, const struct admin *a, struct err *err)
{
	char real[PKI_PATH_MAX], path[PKI_PATH_MAX], url[400];

	if (realpath(in->dir, real) == NULL)
		return err_sys(err, "%s", in->dir);
	if (!path_join(path, sizeof path, real, "signet.conf"))
		return err_set(err, ERR_LIMIT, "%s: path too long", real);
	(void)printf("{\"dir\": ");
	show_json_string(stdout, real);
	json_member("config", path);
	if (!path_join(path, sizeof path, real, "pki/ca.pem"))
		return err_set(err, ERR_LIMIT, "%s: path too long", real);
	json_member("cafile", path);
	(void)printf(", \"port\": %u", in->port);
	if (in->api_port != 0) {
		api_url(in, url, sizeof url);
		json_member("api", url);
		(void)printf(", \"administrator\": {\"user\": ");
		show_json_string(stdout, a->name);
		json_member("password", a->password);
		(void)putchar('}');
	}
	(void)puts("}");
	return true;
}

static bool
make_admin(void *ctx, const char *folder, struct err *err)
{
	struct admin *a = ctx;
	char path[PKI_PATH_MAX];

	if (!path_join(path, sizeof path, folder, "registry/registry.db"))
		return err_set(err, ERR_LIMIT, "%s: path too long", folder);
	return site_admin_put(path, a->tenant, a->name, a->password, err);
}

/* The policy's name goes into the configuration: a word, whatever policies there are. */
static bool
policy_ok(const char *name)
{
	return name[0] != '\0' && strlen(name) < 32 &&
	    strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-_") == strlen(name);
}

static bool
read_key_type(const char *text, enum pki_key_type *ret, struct err *err)
{
	char shown[64];

	if (text == NULL || pki_key_type_parse(slice_str(text), ret))
		return true;
	return err_set(err, ERR_USAGE, "\"%s\" is no key type: p256, p384, p521, rsa2048, rsa3072, rsa4096 or rsa8192",
	    text_show(slice_str(text), shown, sizeof shown));
}

static bool
run(struct pki_install *in, const char *key_type, bool json, struct err *err)
{
	const struct admin *a = in->ctx;
	char shown[100];

	if (in->dir == NULL)
		return err_set(err, ERR_USAGE, "say where with --dir DIR, e.g. signet init --dir demo --host localhost");
	if (in->n_hosts == 0)
		return err_set(err, ERR_USAGE, "say under which names clients reach the broker, e.g. --host mqtt.example.com,192.0.2.7");
	if (in->pkcs11 != NULL && strstr(in->pkcs11, "object=") != NULL)
		return err_set(err, ERR_USAGE, "--pkcs11 names a token; the names of the keys in it are made here");
	if (!policy_ok(in->policy))
		return err_set(err, ERR_USAGE, "the policy is a word such as springcore or dojot");
	if (!site_tenant_ok(a->tenant))
		return err_set(err, ERR_USAGE, "\"%s\" cannot be the tenant: it has at most 64 lower-case letters, digits and _, with a letter or digit first",
		    text_show(slice_str(a->tenant), shown, sizeof shown));
	/* Its topics have the tenant in them. */
	if (strcmp(in->policy, "dojot") == 0)
		in->tenant = a->tenant;
	if (!read_key_type(key_type, &in->key_type, err) || !pki_install(in, err))
		return false;
	if (json)
		return show_json(in, a, err);
	summary(in->dir);
	if (!next_steps(in->dir, in->api_port != 0, err))
		return false;
	if (in->api_port != 0)
		show_admin(in, a);
	return true;
}

int
cmd_init(int argc, char *argv[])
{
	struct admin admin = { .name = "admin", .tenant = SITE_TENANT };
	struct pki_install in = { .policy = "springcore", .also = make_admin, .ctx = &admin };
	struct host_list hosts = { 0 };
	struct pass pass;
	const char *key_type = NULL, *pass_file = NULL;
	unsigned port = 8883, api_port = 8443;
	bool no_pass = false, no_api = false, json = false, ok;
	int words, code;
	struct err err;
	const struct arg table[] = {
		{ "dir", "DIR", ARG_TEXT, &in.dir, 0, 0, "where; made when it is not there" },
		{ "host", "NAME[,NAME|IP...]", ARG_HOSTS, &hosts, 0, 0, "the broker's names; the first is its common name" },
		{ "port", "N", ARG_NUMBER, &port, 1, 65535, "MQTT over TLS (8883)" },
		{ "api-port", "N", ARG_NUMBER, &api_port, 1, 65535, "the API by HTTPS (8443)" },
		{ "admin", "NAME", ARG_TEXT, &admin.name, 0, 0, "the API's first administrator (admin)" },
		{ "no-api", NULL, ARG_FLAG, &no_api, 0, 0, "no API and no administrator: \"signet control --make-admin\" makes one later" },
		{ "key-type", "TYPE", ARG_TEXT, &key_type, 0, 0,
		    "p256 (default), p384, p521, rsa2048, rsa3072, rsa4096, rsa8192", CHOICES_KEY },
		{ "passphrase-file", "FILE", ARG_TEXT, &pass_file, 0, 0, "its first line encrypts the CA keys" },
		{ "no-passphrase", NULL, ARG_FLAG, &no_pass, 0, 0, "leave the CA keys unencrypted (mode 0600)" },
		{ "pkcs11", "URI", ARG_TEXT, &in.pkcs11, 0, 0,
		    "make the CA keys in a token: pkcs11:token=LABEL?module-path=FILE; the PIN comes as a passphrase does, or by pin-source=file:FILE" },
		{ "policy", "NAME", ARG_TEXT, &in.policy, 0, 0, "springcore (default) or dojot", "springcore dojot" },
		{ "tenant", "NAME", ARG_TEXT, &admin.tenant, 0, 0, "the first tenant (default): its devices' names are their common names, and with --policy dojot it is in their topics" },
		{ "workers", "N", ARG_NUMBER, &in.workers, 0, 1024, "the broker's threads (0: one a core)" },
		{ "json", NULL, ARG_FLAG, &json, 0, 0, "say what was made, and the password, as one object" },
	};
	const struct args args = { "signet init --dir DIR --host NAME[,NAME|IP...] [options]", about, table, ARRAY_LEN(table),
		more, 0, 0 };

	if (!args_parse(&args, argc, argv, &words, &code))
		return code;
	if (no_pass && pass_file != NULL) {
		(void)err_set(&err, ERR_USAGE, "--no-passphrase and --passphrase-file exclude each other");
		return fail(&err);
	}
	pass_init(&pass, pass_file);
	in.hosts = hosts.v;
	in.n_hosts = hosts.n;
	in.port = (uint16_t)port;
	in.api_port = no_api ? 0 : (uint16_t)api_port;
	in.secret = no_pass ? NULL : &pass.secret;
	ok = run(&in, key_type, json, &err);
	secret_wipe(admin.password, sizeof admin.password);
	return ok ? EXIT_OK : fail(&err);
}
