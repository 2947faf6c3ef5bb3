/* The web console over HTTP: what src/console/ answers. Nobody needs to be signed in for its files. */
#include "api/internal.h"

#include "console/console.h"

bool
api_has_console(void)
{
	return console_files_n > 0;
}

static struct slice
header_of(const struct call *c, const char *name)
{
	struct slice value;

	return http_header(&c->head, name, &value) ? value : (struct slice){ 0 };
}

bool
page_serve(struct call *c)
{
	struct console_ask ask = { .accept = header_of(c, "Accept-Encoding"), .none_match = header_of(c, "If-None-Match"), .mode = SL("{\"on\":\"control\"}") };
	struct console_reply r;
	struct slice target = c->head.target;
	bool more;

	ask.path = slice_cut(&target, '?', &more);
	if (!console_answer(&ask, &r))
		return false;
	if (c->head.method > HTTP_HEAD) {
		call_header(c, "Allow", "GET, HEAD");
		call_problem(c, 405, "method", NULL, "%s is not for the console's files", http_method_name(c->head.method));
	} else if (r.status == 404) {
		call_problem(c, 404, "not-found", "open /console/", "the console has no such file");
	} else {
		c->page = true;
		call_header_lines(c, r.fields);
		call_bytes(c, r.status, r.type, r.body);
	}
	return true;
}
