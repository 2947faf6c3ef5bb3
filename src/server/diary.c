/* The latest refusals, whole, for those who ask why: a ring of fixed size, so that a flood costs no memory. */
#include "server/internal.h"

#include <stdlib.h>
#include <strings.h>

#include "base/text.h"

enum { DIARY_NOTES = 512 };

struct diary {
	pthread_mutex_t lock;
	uint64_t n; /* written since the start */
	struct diary_note v[DIARY_NOTES];
};

struct diary *
diary_new(void)
{
	struct diary *d = calloc(1, sizeof(*d));

	if (d != NULL && pthread_mutex_init(&d->lock, NULL) != 0) {
		free(d);
		return NULL;
	}
	return d;
}

void
diary_free(struct diary *d)
{
	if (d == NULL)
		return;
	(void)pthread_mutex_destroy(&d->lock);
	free(d);
}

void
diary_write(struct diary *d, const struct diary_note *note)
{
	(void)pthread_mutex_lock(&d->lock);
	d->v[d->n++ % DIARY_NOTES] = *note;
	(void)pthread_mutex_unlock(&d->lock);
}

/* "192.0.2.1" finds "192.0.2.1:50000", and "[::1]:50000" is found by "::1". */
static bool
is_address(const char *peer, const char *key)
{
	size_t n = strlen(key);

	if (strcmp(peer, key) == 0)
		return true;
	if (*peer == '[')
		return strncmp(peer + 1, key, n) == 0 && peer[n + 1] == ']';
	return strncmp(peer, key, n) == 0 && peer[n] == ':' && strchr(peer + n + 1, ':') == NULL;
}

/* Is <key> the CN in a subject of RFC 2253? */
static bool
is_name(const char *subject, const char *key)
{
	size_t n = strlen(key);

	for (const char *at = subject; (at = strstr(at, "CN=")) != NULL; at += 3)
		if (strncmp(at + 3, key, n) == 0 && (at[3 + n] == '\0' || at[3 + n] == ',' || at[3 + n] == '+'))
			return true;
	return strcmp(subject, key) == 0;
}

static bool
is_about(const struct diary_note *x, const char *key)
{
	return key[0] == '\0' || is_address(x->peer, key) || strcmp(x->client_id, key) == 0 || is_name(x->subject, key) ||
	       strcasecmp(x->serial, key) == 0 || strcmp(x->cause, key) == 0;
}

void
diary_read(struct diary *d, const char *key, unsigned max, void (*each)(void *ctx, const struct diary_note *x), void *ctx)
{
	uint64_t at, end;

	(void)pthread_mutex_lock(&d->lock);
	end = d->n > DIARY_NOTES ? d->n - DIARY_NOTES : 0;
	for (at = d->n; at > end && max > 0; at--) {
		const struct diary_note *x = &d->v[(at - 1) % DIARY_NOTES];

		if (!is_about(x, key))
			continue;
		max--;
		each(ctx, x);
	}
	(void)pthread_mutex_unlock(&d->lock);
}
