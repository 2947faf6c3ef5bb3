/* -L mqtt[s]://[user[:password]@]host[:port]/topic */
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/secret.h"
#include "base/text.h"
#include "cli/client_opts.h"

static int
hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* %HH in place (RFC 3986 2.1); false when malformed or a NUL. */
static bool
percent_decode(char *s)
{
	char *out = s;

	for (; *s != '\0'; s++) {
		int high = 0, low = 0;

		if (*s != '%') {
			*out++ = *s;
			continue;
		}
		high = hex(s[1]);
		low = high >= 0 ? hex(s[2]) : -1;
		if (low < 0 || (high | low) == 0)
			return false;
		*out++ = (char)(high << 4 | low);
		s += 2;
	}
	*out = '\0';
	return true;
}

static bool
take_user(struct client_opts *o, char *user, struct err *err)
{
	char *pw = strchr(user, ':');
	size_t n;

	if (pw != NULL)
		*pw++ = '\0';
	if (!percent_decode(user) || (pw != NULL && !percent_decode(pw)))
		return err_set(err, ERR_USAGE, "-L: a %% in user or password must be written %%25");
	o->username = user;
	if (pw == NULL)
		return true;
	n = strlen(pw);
	secret_free(o->password, o->password_n);
	o->password = malloc(n + 1);
	if (o->password == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	memcpy(o->password, pw, n + 1);
	o->password_n = n;
	secret_wipe(pw, n);
	return true;
}

static bool
take_host(struct client_opts *o, char *host, struct err *err)
{
	char *port = NULL, *end;
	uint64_t n;

	if (host[0] == '[') { /* an IPv6 address */
		end = strchr(++host, ']');
		if (end == NULL || (end[1] != '\0' && end[1] != ':'))
			return err_set(
			    err, ERR_USAGE, "-L: the address in [brackets] does not end well");
		*end = '\0';
		port = end[1] == ':' ? end + 2 : NULL;
	} else if ((port = strchr(host, ':')) != NULL) {
		*port++ = '\0';
	}
	if (host[0] == '\0')
		return err_set(err, ERR_USAGE, "-L: the URL has no host");
	o->host = host;
	if (port == NULL)
		return true;
	if (!text_u64(slice_str(port), 1, UINT16_MAX, &n))
		return err_set(err, ERR_USAGE, "-L: the port is a number from 1 to 65535");
	o->port = (uint32_t)n;
	return true;
}

bool
client_url_parse(struct client_opts *o, const char *url, struct err *err)
{
	bool tls = strncmp(url, "mqtts://", 8) == 0;
	char *rest, *topic, *at;
	const char **grown;

	if (!tls && strncmp(url, "mqtt://", 7) != 0)
		return err_set(err, ERR_USAGE, "-L: the URL begins with mqtt:// or mqtts://");
	if (o->url != NULL)
		return err_set(err, ERR_USAGE, "-L is given twice");
	o->url = rest = strdup(url + (tls ? 8 : 7));
	grown = realloc(o->topics.v, (o->topics.n + 1) * sizeof *grown);
	if (grown != NULL)
		o->topics.v = grown;
	if (rest == NULL || grown == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	topic = strchr(rest, '/');
	if (topic == NULL || topic[1] == '\0')
		return err_set(err, ERR_USAGE, "-L: the URL has no topic; it ends in /TOPIC");
	*topic++ = '\0';
	o->topics.v[o->topics.n++] = topic;
	/* The last '@': a password may hold others, a host may not. */
	at = strrchr(rest, '@');
	if (at != NULL) {
		*at++ = '\0';
		if (!take_user(o, rest, err))
			return false;
	}
	o->use_tls = o->use_tls || tls;
	return take_host(o, at != NULL ? at : rest, err);
}
