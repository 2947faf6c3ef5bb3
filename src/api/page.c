/* The web console's files over HTTP. They are the same for everybody and hold no secret, so nobody needs to be signed in for them. */
#include "api/internal.h"

#include <stdio.h>

#include "base/text.h"
#include "console/console.h"

/* A weight of zero is a no (RFC 9110 12.4.2). */
static bool
is_refused(struct slice weight)
{
	weight = text_trim(weight);
	if (weight.n < 3 || (weight.p[0] != 'q' && weight.p[0] != 'Q') || weight.p[1] != '=')
		return false;
	for (size_t i = 2; i < weight.n; i++)
		if (weight.p[i] != '0' && weight.p[i] != '.')
			return false;
	return true;
}

bool
page_takes_gzip(struct slice accept)
{
	bool more = accept.p != NULL, parameters;

	while (more) {
		struct slice one = slice_cut(&accept, ',', &more), name = slice_cut(&one, ';', &parameters);

		name = text_trim(name);
		if (text_same_word(name, "gzip") || text_same_word(name, "x-gzip"))
			return !is_refused(one);
	}
	return false;
}

static bool
knows(const struct call *c, const char *etag)
{
	struct slice list;
	bool more = true;

	if (!http_header(&c->head, "If-None-Match", &list) || list.p == NULL)
		return false;
	while (more) {
		struct slice one = text_trim(slice_cut(&list, ',', &more));

		if (slice_starts(one, SL("W/")))
			one = slice_from(one, 2);
		if (slice_eq(one, SL("*")) || slice_eq(one, slice_str(etag)))
			return true;
	}
	return false;
}

static void
send_file(struct call *c, const struct console_file *f)
{
	struct slice accept;
	bool packed = http_header(&c->head, "Accept-Encoding", &accept) && page_takes_gzip(accept);
	const char *etag = packed ? f->etag_gzip : f->etag;

	c->page = true;
	call_header(c, "ETag", "%s", etag);
	/* Kept, but asked for: another version of the program brings another page at once. */
	call_header(c, "Cache-Control", "no-cache");
	call_header(c, "Vary", "Accept-Encoding");
	if (knows(c, etag)) {
		call_bytes(c, 304, NULL, (struct slice){ 0 });
		return;
	}
	if (packed)
		call_header(c, "Content-Encoding", "gzip");
	call_bytes(c, 200, f->type, packed ? f->gzip : f->plain);
}

static void
send_redirect(struct call *c)
{
	call_header(c, "Location", "/console/");
	call_bytes(c, 302, NULL, (struct slice){ 0 });
}

bool
api_has_console(void)
{
	return console_files_n > 0;
}

bool
page_serve(struct call *c)
{
	static const struct slice folder = { (const uint8_t *)"/console/", 9 };
	struct slice path = c->head.target;
	const struct console_file *f;
	bool more;

	path = slice_cut(&path, '?', &more);
	if (console_files_n == 0 || (!slice_eq(path, SL("/")) && !slice_eq(path, SL("/console")) && !slice_starts(path, folder)))
		return false;
	if (c->head.method > HTTP_HEAD) {
		call_header(c, "Allow", "GET, HEAD");
		call_problem(c, 405, "method", NULL, "%s is not for the console's files", http_method_name(c->head.method));
		return true;
	}
	f = path.n >= folder.n ? console_find(slice_from(path, folder.n)) : NULL;
	if (path.n < folder.n)
		send_redirect(c);
	else if (f != NULL)
		send_file(c, f);
	else
		call_problem(c, 404, "not-found", "open /console/", "the console has no such file");
	return true;
}
