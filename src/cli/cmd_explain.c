/* signet explain: the rule that decides what a client may do. */
#include "cli/ctl.h"
#include "cli/internal.h"

#include <string.h>
#include <unistd.h>
#include "base/file.h"
#include "base/num.h"
#include "server/server.h"

enum { EXIT_UNKNOWN = 3 };

struct explain {
	struct ctl ctl;
	struct server_question q;
	char conf[PKI_PATH_MAX], cert[PKI_PATH_MAX];
	bool live, offline, json;
};

static json_t *
text_or_null(const char *s)
{
	return s[0] != '\0' ? json_string(s) : json_null();
}

static void
show_name(const char *label, const json_t *name)
{
	if (json_is_string(name))
		(void)printf(", %s %s", label, json_string_value(name));
}

/* Only the running broker says it. */
static void
show_change(const json_t *o)
{
	const char *remedy = json_string_value(json_object_get(o, "remedy")), *fix = json_string_value(json_object_get(o, "fix"));

	if (remedy != NULL)
		(void)printf("  %s\n", remedy);
	if (fix != NULL)
		(void)printf("%s\n", fix);
}

static int
show(const struct explain *x, json_t *o)
{
	bool allowed = json_is_true(json_object_get(o, "allowed"));
	const json_t *connected = json_object_get(o, "connected");

	(void)json_object_set_new(o, "client_id", json_string(x->q.client_id));
	(void)json_object_set_new(o, "action", json_string(x->q.action));
	if (x->json) {
		(void)json_dumpf(o, stdout, JSON_INDENT(1));
		(void)printf("\n");
	} else {
		(void)printf("%s\n  %s", json_string_value(json_object_get(o, "text")), x->q.client_id);
		(void)printf(" on listener %s: ", json_string_value(json_object_get(o, "listener")));
		if (json_is_string(json_object_get(o, "role")))
			(void)printf("role %s", json_string_value(json_object_get(o, "role")));
		else
			(void)printf("not let in");
		show_name("common name", json_object_get(o, "cn"));
		show_name("user name", json_object_get(o, "user"));
		if (connected != NULL)
			(void)printf(json_is_true(connected) ? "; connected now" : "; a kept session");
		(void)printf("; judged %s\n", connected != NULL ? "by the running broker" : "by the files");
		show_change(o);
	}
	json_decref(o);
	return allowed ? EXIT_OK : EXIT_FAILED;
}

static int
give_up(const struct err *e)
{
	int code = fail(e);

	return code == EXIT_USAGE ? code : EXIT_UNKNOWN;
}

/* True: answered, with *ret_out, or it cannot be said, <err>, and *ret_out is NULL. False: ask the files. Who names a socket wants
 * that broker's answer. */
static bool
ask_broker(struct explain *x, json_t **ret_out, struct err *err)
{
	json_t *in = json_pack("{s:s,s:s,s:s}", "client_id", x->q.client_id, "action", x->q.action, "topic", x->q.topic), *out = NULL;
	bool asked;

	*ret_out = NULL;
	if (in == NULL)
		return err_set(err, ERR_USAGE, "the client id or the topic is not UTF-8") || true;
	asked = ctl_ask(&x->ctl, "explain", in, &out, err);
	json_decref(in);
	if (!asked)
		return x->live || x->ctl.socket != NULL;
	if (json_is_true(json_object_get(out, "found"))) {
		*ret_out = out;
		return true;
	}
	json_decref(out);
	(void)err_set(err, ERR_MISSING, "the broker knows no session of %s, connected or kept; without --live the files are asked", x->q.client_id);
	return x->live;
}

/* The certificate of the installation's client of that name, unless something else was said. */
static void
find_cert(struct explain *x, const char *dir)
{
	const char *id = x->q.client_id;
	char name[300];

	if (x->q.cert_file != NULL || x->q.role != NULL || x->q.cn != NULL || x->q.user != NULL)
		return;
	if (id[0] == '\0' || id[0] == '.' || strchr(id, '/') != NULL || strlen(id) > 255)
		return;
	(void)snprintf(name, sizeof name, "clients/%s/cert.pem", id);
	if (path_join(x->cert, sizeof x->cert, dir, name) && access(x->cert, R_OK) == 0)
		x->q.cert_file = x->cert;
}

static bool
ask_files(struct explain *x, json_t **ret_out, struct err *err)
{
	struct server_answer a;
	const char *dir;

	if (x->q.config_file == NULL) {
		if (!site_dir(x->ctl.dir, &dir, err))
			return false;
		if (!path_join(x->conf, sizeof x->conf, dir, "signet.conf"))
			return err_set(err, ERR_LIMIT, "%s: the path is too long", dir);
		x->q.config_file = x->conf;
		find_cert(x, dir);
	}
	if (!server_explain(&x->q, &a, err))
		return false;
	*ret_out = json_pack("{s:b,s:s,s:s,s:s,s:o,s:o,s:o}", "allowed", a.allowed, "topic", x->q.topic, "text", a.text, "listener", a.listener,
	    "role", text_or_null(a.role), "cn", text_or_null(a.cn), "user", text_or_null(a.user));
	return *ret_out != NULL || err_set(err, ERR_INPUT, "a name is not UTF-8");
}

static bool
check_words(struct explain *x, int words, char *argv[], struct err *err)
{
	const char *action = argv[2];
	bool connect = strcmp(action, "connect") == 0;

	x->q.client_id = argv[1];
	x->q.action = action;
	x->q.topic = words > 2 ? argv[3] : "";
	if (x->live && x->offline)
		return err_set(err, ERR_USAGE, "--live and --offline: one of them");
	if (connect && words > 2)
		return err_set(err, ERR_USAGE, "connect needs no topic");
	if (!connect && words < 3 && (strcmp(action, "will") != 0 || x->offline))
		return err_set(err, ERR_USAGE, "%s of which topic?", action);
	if (x->q.config_file != NULL || x->q.listener != NULL || x->q.cert_file != NULL || x->q.role != NULL || x->q.cn != NULL || x->q.user != NULL)
		x->offline = true;
	if (x->live && x->offline)
		return err_set(err, ERR_USAGE, "--live asks about a session as it is: no --conf, --listener, --cert, --role, --cn or --user with it");
	return true;
}

int
cmd_explain(int argc, char *argv[])
{
	struct explain x = { .live = false };
	json_t *out = NULL;
	int words, code;
	struct err err = { 0 };
	const struct arg table[] = {
		{ "dir", "DIR", ARG_TEXT, &x.ctl.dir, 0, 0, "the installation; default: . or ./run", NULL, 0 },
		{ "conf", "FILE", ARG_TEXT, &x.q.config_file, 0, 0, "by this configuration, not the broker", NULL, 'c' },
		{ "live", NULL, ARG_FLAG, &x.live, 0, 0, "by the running broker alone: about a session that is connected or kept", NULL, 0 },
		{ "offline", NULL, ARG_FLAG, &x.offline, 0, 0, "by the files alone", NULL, 0 },
		{ "socket", "PATH", ARG_TEXT, &x.ctl.socket, 0, 0, "the broker's control socket; default: as signet.conf says", NULL, 0 },
		{ "listener", "NAME", ARG_TEXT, &x.q.listener, 0, 0, "on the listener of this name or port; default: the first", NULL, 0 },
		{ "cert", "FILE", ARG_TEXT, &x.q.cert_file, 0, 0, "whose certificate; default: DIR/clients/ID/cert.pem", NULL, 0 },
		{ "role", "ROLE", ARG_TEXT, &x.q.role, 0, 0, "without a certificate at hand: its role", "client watch control cloud none", 0 },
		{ "cn", "NAME", ARG_TEXT, &x.q.cn, 0, 0, "and its common name; default: ID", NULL, 0 },
		{ "user", "NAME", ARG_TEXT, &x.q.user, 0, 0, "the user name of CONNECT, as if its password had been right", NULL, 0 },
		{ "json", NULL, ARG_FLAG, &x.json, 0, 0, "an object", NULL, 0 },
	};
	const struct args args = { "signet explain ID publish|subscribe|receive|connect|will [TOPIC] [options]",
		"Says whether the client ID may do that, and names the rule that decides, with its line in the policy or ACL file, or its role\n"
		"and group in dynamic security. It asks the running broker about the session as it is; where none answers, or it knows no such\n"
		"session, it reads the configuration and judges as the broker would.",
		table, ARRAY_LEN(table),
		"Examples:\n  signet explain sensor01 publish springcard/springcore/sensor01/status\n  signet explain panel subscribe '#' --role control\n"
		"  signet explain ann receive a/b -c /etc/signet/signet.conf --user ann\n  signet explain sensor01 will --live\n\n"
		"Exit codes: 0 allowed, 1 refused, 2 wrong usage, 3 it cannot be said.\n", 2, 3 };

	if (!args_parse(&args, argc, argv, &words, &code))
		return code;
	if (!check_words(&x, words, argv, &err))
		return fail(&err);
	if (x.offline || !ask_broker(&x, &out, &err)) {
		if (x.q.topic[0] == '\0' && strcmp(x.q.action, "connect") != 0)
			return fail(&(struct err){ ERR_USAGE, "will of which topic? Only the running broker knows a client's will" });
		(void)ask_files(&x, &out, &err);
	}
	return out != NULL ? show(&x, out) : give_up(&err);
}
