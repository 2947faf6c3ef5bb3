/* The installation that a command works on, and the commands that a client of it can paste. */
#include "cli/internal.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/file.h"
#include "base/num.h"
#include "base/text.h"

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

static void
read_conf(const char *dir, struct site_facts *c)
{
	char path[PKI_PATH_MAX];
	uint8_t *data = NULL;
	size_t n;
	bool more = true;

	*c = (struct site_facts){ .port = 8883, .policy = "springcore", .host = "localhost" };
	if (!path_join(path, sizeof path, dir, "signet.conf") || !file_read(path, PKI_FILE_MAX, &data, &n, NULL))
		return;
	for (struct slice rest = slice_of(data, n); more;) {
		struct slice line = slice_cut(&rest, '\n', &more);
		struct slice word = slice_cut(&line, ' ', &(bool){ false });
		uint64_t port;

		if (slice_eq(word, SL("listener"))) {
			word = slice_cut(&line, ' ', &(bool){ false });
			if (text_u64(word, 1, 65535, &port))
				c->port = (unsigned)port;
		} else if (slice_eq(word, SL("policy"))) {
			(void)text_copy(c->policy, sizeof c->policy, line);
		}
	}
	free(data);
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

void
site_facts(const char *dir, struct site_facts *ret)
{
	read_conf(dir, ret);
	read_host(dir, ret);
}

void
site_client_id(const struct site_facts *c, const char *name, enum authz_role role, char out[static SITE_ID_MAX])
{
	/* dojot's devices are called tenant:device, and its first tenant is admin. */
	(void)snprintf(out, SITE_ID_MAX, "%s%s", strcmp(c->policy, "dojot") == 0 && role == AUTHZ_ROLE_CLIENT ? "admin:" : "", name);
}

enum { SAMPLE_CAP = 2048 };

/* Topics of a role under a policy, and a payload to try. */
static void
sample(const struct site_facts *c, enum authz_role role, const char *name, char out[SAMPLE_CAP])
{
	bool dojot = strcmp(c->policy, "dojot") == 0;
	char topic[1200];

	if (role == AUTHZ_ROLE_WATCH)
		(void)snprintf(out, SAMPLE_CAP, "-t '#' -v");
	else if (role == AUTHZ_ROLE_CONTROL)
		(void)snprintf(out, SAMPLE_CAP, "-q 1 -t %s", dojot ? "/admin/DEVICE/config -m '{\"fan\":100}'" :
							       "springcard/springcore/DEVICE/rdr/cmd -m '{\"Buzzer\":100}'");
	else {
		char raw[400];

		(void)snprintf(raw, sizeof raw, dojot ? "/admin/%s/attrs" : "springcard/springcore/%s/status", name);
		(void)text_shell(raw, topic, sizeof topic);
		(void)snprintf(out, SAMPLE_CAP, "-q 1 -t %s -m '%s'", topic,
		    dojot ? "{\"temperature\":21}" : "{\"State\":\"online,ready\"}");
	}
}

char *
site_command_text(const struct site_facts *c, const char *folder, const char *name, enum authz_role role)
{
	char at[4 * PKI_PATH_MAX], id[4 * SITE_ID_MAX], raw_id[SITE_ID_MAX], host[4 * 256 + 3], what[SAMPLE_CAP];
	const char *verb = role == AUTHZ_ROLE_WATCH ? "sub" : "pub";
	char *text;

	site_client_id(c, name, role, raw_id);
	if (!text_shell(folder, at, sizeof at) || !text_shell(raw_id, id, sizeof id) || !text_shell(c->host, host, sizeof host))
		return NULL;
	sample(c, role, name, what);
	if (asprintf(&text,
		"signet %s -h %s -p %u --cafile %s/ca.pem --cert %s/cert.pem --key %s/key.pem -i %s %s\n"
		"mosquitto_%s -h %s -p %u --cafile %s/ca.pem --cert %s/cert.pem --key %s/key.pem -i %s %s\n",
		verb, host, c->port, at, at, at, id, what, verb, host, c->port, at, at, at, id, what) == -1)
		return NULL;
	return text;
}

bool
site_commands(const char *dir, const char *folder, const char *name, enum authz_role role, char **ret,
    struct err *err)
{
	char path[PKI_PATH_MAX];
	struct site_facts c;
	char *text;

	site_facts(dir, &c);
	text = site_command_text(&c, folder, name, role);
	if (text == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	if (!path_join(path, sizeof path, folder, "commands.txt") ||
	    !file_write(path, slice_str(text), 0644, FILE_REPLACE, err)) {
		free(text);
		return false;
	}
	*ret = text;
	return true;
}
