/* signet ca adopt, trust: CAs that were not made here. */
#include "cli/internal.h"

#include <string.h>
#include "base/num.h"

static bool
adopt(struct pki_adopt *a, const char *role, struct err *err)
{
	if (a->name == NULL || a->key_file == NULL || a->cert_file == NULL)
		return err_set(err, ERR_USAGE, "--name, --key and --cert are all needed");
	if (!site_dir(a->dir, &a->dir, err) || (role != NULL && !site_role(role, &a->role, err)) || !pki_adopt(a, err))
		return false;
	(void)printf("The CA \"%s\" is trusted from now on (role: %s) and can issue: signet ca issue --ca %s NAME\n"
		     "A running \"signet serve\" takes it over by itself; a broker alone does at SIGHUP.\n",
	    a->name, a->role != AUTHZ_ROLE_NONE ? authz_role_name(a->role) : "none", a->name);
	return true;
}

int
ca_adopt(int argc, char *argv[])
{
	struct pki_adopt a = { 0 };
	struct pass pass;
	const char *role = NULL, *pass_file = NULL;
	bool no_pass = false;
	int words, code;
	struct err err;
	const struct arg table[] = {
		{ "dir", "DIR", ARG_TEXT, &a.dir, 0, 0, "the installation" },
		{ "name", "NAME", ARG_TEXT, &a.name, 0, 0, "what it is called here" },
		{ "key", "FILE", ARG_TEXT, &a.key_file, 0, 0, "its key; may be encrypted" },
		{ "cert", "FILE", ARG_TEXT, &a.cert_file, 0, 0, "its certificate" },
		{ "role", "ROLE", ARG_TEXT, &role, 0, 0, "what its certificates may do: client, watch, control (else none)",
		    "client watch control" },
		{ "passphrase-file", "FILE", ARG_TEXT, &pass_file, 0, 0, "passphrase of the key, old and new (or SIGNET_PASSPHRASE)" },
		{ "no-passphrase", NULL, ARG_FLAG, &no_pass, 0, 0, "keep our copy of the key unencrypted" },
	};
	const struct args args = { "signet ca adopt --name NAME --key FILE --cert FILE [options]",
		"Takes over an existing CA, for example one made with the openssl command. Its key and certificate are copied;\n"
		"what it issued stays valid, and it can issue more.",
		table, ARRAY_LEN(table), NULL, 0, 0 };

	if (!args_parse(&args, argc, argv, &words, &code))
		return code;
	pass_init(&pass, pass_file);
	a.secret = &pass.secret;
	a.new_secret = no_pass ? NULL : &pass.secret;
	return adopt(&a, role, &err) ? EXIT_OK : fail(&err);
}

static bool
trust(const char *dir, const char *file, const char *role_name, const char *name, struct err *err)
{
	enum authz_role role;
	char path[PKI_PATH_MAX];
	bool factory = role_name != NULL && strcmp(role_name, "factory") == 0;

	if (role_name == NULL)
		return err_set(err, ERR_USAGE, "say what its certificates may do: --role client, watch or control, or factory");
	if (!site_dir(dir, &dir, err) || (!factory && !site_role(role_name, &role, err)) ||
	    !pki_trust_add(dir, file, role_name, name, path, err))
		return false;
	(void)printf("Certificates of this CA now have the role \"%s\": %s\nA running \"signet serve\" takes it over by itself; a broker alone does at SIGHUP.\n", role_name, path);
	if (factory)
		(void)printf("Each device that comes with one waits for its approval (signet device pending), where signet.conf has\n"
			     "  require_registration true\n  quarantine unregistered\n");
	return true;
}

int
ca_trust(int argc, char *argv[])
{
	const char *dir = NULL, *role = NULL, *name = NULL;
	int words, code;
	struct err err;
	const struct arg table[] = {
		{ "dir", "DIR", ARG_TEXT, &dir, 0, 0, "the installation" },
		{ "role", "ROLE", ARG_TEXT, &role, 0, 0, "client, watch, control or cloud; factory: its devices wait for their approval", CHOICES_CA " factory" },
		{ "name", "NAME", ARG_TEXT, &name, 0, 0, "what it is called here (else from its common name)" },
	};
	const struct args args = { "signet ca trust --role ROLE FILE [options]",
		"Trusts a CA whose key is elsewhere, for example the one that a maker of devices put into them. The certificate\n"
		"is copied, added to pki/ca.pem, and a role_ca line is added to signet.conf.",
		table, ARRAY_LEN(table), NULL, 1, 1 };

	if (!args_parse(&args, argc, argv, &words, &code))
		return code;
	return trust(dir, argv[1], role, name, &err) ? EXIT_OK : fail(&err);
}
