/* The installation that a command works on, and the commands that a client of it can paste. */
#include "cli/internal.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/file.h"
#include "base/num.h"
#include "base/text.h"
#include "bundle/bundle.h"

bool
site_dir(const char *given, const char **ret, struct err *err)
{
	if (given != NULL)
		*ret = given;
	else if (access("signet.conf", F_OK) == 0)
		*ret = ".";
	else if (access("run/signet.conf", F_OK) == 0)
		*ret = "run";
	else
		return err_set(err, ERR_USAGE,
		    "there is no signet.conf here: say where the installation is with --dir DIR, or make one with \"signet init --dir DIR --host NAME\"");
	return true;
}

bool
site_role(const char *text, enum authz_role *ret, struct err *err)
{
	char shown[64];

	if (authz_role_parse(slice_str(text), ret) && *ret != AUTHZ_ROLE_NONE)
		return true;
	return err_set(err, ERR_USAGE, "\"%s\" is no role: cloud, client, watch or control",
	    text_show(slice_str(text), shown, sizeof shown));
}

/* The broker's CN is the name that it was made for. */
static void
read_host(const char *dir, struct site_facts *c)
{
	char path[PKI_PATH_MAX], subject[256];

	if (path_join(path, sizeof path, dir, "pki/broker/cert.pem") &&
	    show_field(path, "subject", subject, sizeof subject, NULL) && strncmp(subject, "CN=", 3) == 0)
		(void)snprintf(c->host, sizeof c->host, "%s", subject + 3);
}

/* A certificate is made and good whatever the configuration says: that nothing is known of its use ends no command. */
void
site_facts(const char *dir, const char *name, enum authz_role role, struct site_facts *ret)
{
	char conf[PKI_PATH_MAX];
	struct server_question q = { .config_file = conf, .role = authz_role_name(role), .cn = name, .client_id = name };
	struct err err = { 0 };

	*ret = (struct site_facts){ .host = "localhost" };
	read_host(dir, ret);
	if (!path_join(conf, sizeof conf, dir, "signet.conf") || !server_usage(&q, &ret->usage, &err))
		(void)fprintf(stderr, "signet: there are no commands to try it: %s\n", err.text[0] != '\0' ? err.text : "the path is too long");
	else if (ret->usage.client_id[0] == '\0')
		(void)fprintf(stderr, "signet: there are no commands to try it: the policy lets no role %s named %s connect; \"signet explain\" says why\n", q.role, name);
	if (ret->usage.port == 0)
		ret->usage.port = 8883;
	if (ret->usage.client_id[0] == '\0')
		(void)text_copy(ret->usage.client_id, sizeof ret->usage.client_id, slice_str(name));
}

bool
site_command_text(const struct site_facts *c, const char *folder, char **ret)
{
	const struct server_usage *u = &c->usage;

	return bundle_commands(&(struct bundle_usage){ .host = c->host, .folder = folder, .port = u->port, .client_id = u->client_id, .publish = u->publish,
		.subscribe = u->subscribe }, ret);
}

bool
site_commands(const char *dir, const char *folder, const char *name, enum authz_role role, char **ret,
    struct err *err)
{
	char path[PKI_PATH_MAX];
	struct site_facts c;
	char *text;

	site_facts(dir, name, role, &c);
	if (!site_command_text(&c, folder, &text))
		return err_set(err, ERR_MEMORY, "out of memory");
	if (text[0] != '\0' && (!path_join(path, sizeof path, folder, "commands.txt") ||
	    !file_write(path, slice_str(text), 0644, FILE_REPLACE, err))) {
		free(text);
		return false;
	}
	*ret = text;
	return true;
}
