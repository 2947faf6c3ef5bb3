/* Fuzz target: a configuration of several files. The input is cut at bytes 0x01: the first piece
 * is the main file, the others are what include_dir finds, one after the other. */
#include <stdlib.h>

#include "server/config.h"
#include "server/server.h"

struct input {
	struct slice rest;
	bool more;
};

static bool
input_read(void *ctx, const char *path, uint8_t **ret, size_t *ret_n, struct err *err)
{
	struct input *in = ctx;
	struct slice piece;

	(void)path;
	if (!in->more)
		return err_set(err, ERR_MISSING, "no more input");
	piece = slice_cut(&in->rest, 1, &in->more);
	*ret = malloc(piece.n + 1);
	if (*ret == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	if (piece.n > 0)
		memcpy(*ret, piece.p, piece.n);
	*ret_n = piece.n;
	return true;
}

static bool
input_list(void *ctx, const char *dir, char ***ret, size_t *ret_n, struct err *err)
{
	char **names = calloc(2, sizeof(*names));

	(void)ctx;
	(void)dir;
	if (names != NULL && (names[0] = strdup("b.conf")) != NULL &&
	    (names[1] = strdup("a.conf")) != NULL) {
		*ret = names;
		*ret_n = 2;
		return true;
	}
	if (names != NULL)
		free(names[0]);
	free(names);
	return err_set(err, ERR_MEMORY, "out of memory");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct input in = { { data, n }, true };
	struct config_reader r = { &in, input_read, input_list };
	struct err err = { 0 };
	struct config *c = config_read("m.conf", &r, &err);

	if (c != NULL && !config_finish(c, 0, &err) && err.text[0] == '\0')
		abort();
	if (c == NULL && err.text[0] == '\0')
		abort();
	config_free(c);
	return 0;
}
