/* From a request target to the name of a file, so that nothing outside of the directory has a name at all. */
#include "ws/internal.h"

#include <strings.h>

#include "base/num.h"
#include "base/text.h"

static int
hex(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* One decoded byte. An escaped slash would be a second way to write a path: there is none. */
static bool
decode(struct slice *s, char *ret)
{
	uint8_t c = s->p[0];

	*s = slice_from(*s, 1);
	if (c == '%') {
		int high = s->n >= 2 ? hex(s->p[0]) : -1, low = s->n >= 2 ? hex(s->p[1]) : -1;

		if (high < 0 || low < 0)
			return false;
		c = (uint8_t)(high << 4 | low);
		*s = slice_from(*s, 2);
		if (c == '/')
			return false;
	}
	*ret = (char)c;
	return c >= 0x20 && c != 0x7f && c != '\\';
}

bool
path_of_target(struct slice target, char out[static WS_PATH_MAX])
{
	static const char index[] = "index.html";
	bool more;
	size_t n = 0;

	target = slice_cut(&target, '?', &more);
	if (target.n == 0 || target.p[0] != '/')
		return false;
	target = slice_from(target, 1);
	while (target.n > 0) {
		if (n >= WS_PATH_MAX - sizeof(index) || !decode(&target, &out[n]))
			return false;
		/* "", ".", ".." and hidden files: .git, .htpasswd */
		if ((n == 0 || out[n - 1] == '/') && (out[n] == '/' || out[n] == '.'))
			return false;
		n++;
	}
	if (n == 0 || out[n - 1] == '/')
		memcpy(out + n, index, sizeof(index));
	else
		out[n] = '\0';
	return utf8_ok(slice_of(out, n));
}

const char *
path_type(const char *path)
{
	static const struct {
		const char *end, *type;
	} types[] = {
		{ ".html", "text/html; charset=utf-8" },
		{ ".htm", "text/html; charset=utf-8" },
		{ ".css", "text/css; charset=utf-8" },
		{ ".js", "text/javascript; charset=utf-8" },
		{ ".mjs", "text/javascript; charset=utf-8" },
		{ ".txt", "text/plain; charset=utf-8" },
		{ ".json", "application/json" },
		{ ".map", "application/json" },
		{ ".wasm", "application/wasm" },
		{ ".svg", "image/svg+xml" },
		{ ".png", "image/png" },
		{ ".jpg", "image/jpeg" },
		{ ".jpeg", "image/jpeg" },
		{ ".gif", "image/gif" },
		{ ".webp", "image/webp" },
		{ ".ico", "image/x-icon" },
		{ ".woff2", "font/woff2" },
	};
	size_t n = strlen(path), i;

	for (i = 0; i < ARRAY_LEN(types); i++) {
		size_t k = strlen(types[i].end);

		if (n > k && strcasecmp(path + n - k, types[i].end) == 0)
			return types[i].type;
	}
	return "application/octet-stream";
}
