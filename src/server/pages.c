/* `console true`: a listener's own web console, for browsers that come to it. There is no API behind it: the page is an MQTT client with
 * the rights of who signs in there. */
#include "server/pages.h"

#include <stdio.h>

#include "console/console.h"
#include "server/internal.h"

/* How somebody may come who sits at a browser. */
enum { BY_PASSWORD = 1, BY_NOTHING = 2, BY_CERTIFICATE = 4 };

#define MODE(password, anonymous, certificate) \
	"{\"on\":\"broker\",\"password\":" password ",\"anonymous\":" anonymous ",\"certificate\":" certificate "}"
static const char *const modes[] = {
	MODE("false", "false", "false"), MODE("true", "false", "false"), MODE("false", "true", "false"), MODE("true", "true", "false"),
	MODE("false", "false", "true"), MODE("true", "false", "true"), MODE("false", "true", "true"), MODE("true", "true", "true"),
};

static const char *
mode_of(const struct listener *l)
{
	const struct config_listener *c = l->config;
	unsigned rules = atomic_load(&l->rules), mode = 0;

	if ((rules & RULE_PASSWORDS) != 0 && (rules & RULE_ONLY_SCRAM) == 0)
		mode |= BY_PASSWORD;
	if ((rules & RULE_ANONYMOUS) != 0)
		mode |= BY_NOTHING;
	if ((rules & RULE_CERT_IS_IDENTITY) != 0 && (c->cafile != NULL || c->capath != NULL))
		mode |= BY_CERTIFICATE;
	return modes[mode];
}

static bool
on_find(void *ctx, const struct ws_ask *ask, struct ws_page *ret)
{
	struct listener *l = ctx;
	struct slice target = ask->target;
	struct console_ask q = { .accept = ask->accept, .none_match = ask->none_match, .mode = slice_str(mode_of(l)) };
	struct console_reply r;
	bool more;

	q.path = slice_cut(&target, '?', &more);
	/* The way in is http_dir's where there is one. */
	if ((l->config->http_dir != NULL && slice_eq(q.path, SL("/"))) || !console_answer(&q, &r))
		return false;
	if (r.status == 404)
		r = (struct console_reply){ .status = 404, .type = "text/plain", .body = SL("the console has no such file; open /console/\n") };
	ret->status = r.status;
	ret->body = r.body;
	(void)snprintf(ret->fields, sizeof(ret->fields), "%s%s%s%s%s%s", console_security,
	    config_is_tls(l->config) ? "Strict-Transport-Security: max-age=31536000\r\n" : "", r.fields, r.type != NULL ? "Content-Type: " : "",
	    r.type != NULL ? r.type : "", r.type != NULL ? "\r\n" : "");
	return true;
}

struct ws_pages
pages_of(struct listener *l)
{
	return (struct ws_pages){ .ctx = l, .find = on_find };
}
