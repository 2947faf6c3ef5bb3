/* QR codes, of libqrencode's squares. */
#include "enrol/enrol.h"

#include <errno.h>
#include <qrencode.h>
#include <stdio.h>
#include <stdlib.h>

enum { QUIET = 4 };

static QRcode *
encode(const char *text, struct err *err)
{
	QRcode *q = strlen(text) <= QR_TEXT_MAX ? QRcode_encodeString8bit(text, 0, QR_ECLEVEL_M) : NULL;

	if (q == NULL && (strlen(text) > QR_TEXT_MAX || errno == ERANGE))
		(void)err_set(err, ERR_LIMIT, "%zu bytes are too many for a QR code", strlen(text));
	else if (q == NULL)
		(void)err_set(err, ERR_MEMORY, "out of memory");
	return q;
}

/* Around it, all is light. */
static bool
is_dark(const QRcode *q, int x, int y)
{
	return x >= 0 && y >= 0 && x < q->width && y < q->width && (q->data[y * q->width + x] & 1) != 0;
}

/* Upper and lower square of one character, dark or light. */
static const char *
half(bool upper, bool lower)
{
	return upper ? lower ? "\xe2\x96\x88" : "\xe2\x96\x80" : lower ? "\xe2\x96\x84" : " ";
}

static void
put_text(FILE *out, const QRcode *q, bool colours)
{
	for (int y = -QUIET; y < q->width + QUIET; y += 2) {
		if (colours)
			(void)fputs("\033[30;107m", out);
		for (int x = -QUIET; x < q->width + QUIET; x++) {
			bool upper = is_dark(q, x, y), lower = is_dark(q, x, y + 1);

			(void)fputs(colours ? half(upper, lower) : half(!upper, !lower), out);
		}
		(void)fputs(colours ? "\033[0m\n" : "\n", out);
	}
}

/* A run of dark squares is one rectangle. */
static void
put_svg(FILE *out, const QRcode *q)
{
	int side = q->width + 2 * QUIET;

	(void)fprintf(out, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" shape-rendering=\"crispEdges\"><path fill=\"#fff\" d=\"M0 0h%dv%dH0z\"/>"
	    "<path d=\"", side, side, side, side);
	for (int y = 0; y < q->width; y++) {
		for (int x = 0, n; x < q->width; x += n + 1) {
			for (n = 0; is_dark(q, x + n, y);)
				n++;
			if (n > 0)
				(void)fprintf(out, "M%d %dh%dv1h-%dz", x + QUIET, y + QUIET, n, n);
		}
	}
	(void)fputs("\"/></svg>\n", out);
}

static char *
draw(const char *text, bool svg, bool colours, struct err *err)
{
	QRcode *q = encode(text, err);
	char *drawn = NULL;
	size_t n;
	FILE *out = q != NULL ? open_memstream(&drawn, &n) : NULL;

	if (out != NULL && svg)
		put_svg(out, q);
	else if (out != NULL)
		put_text(out, q, colours);
	if (q != NULL && (out == NULL || fclose(out) != 0)) {
		(void)err_set(err, ERR_MEMORY, "out of memory");
		free(drawn);
		drawn = NULL;
	}
	QRcode_free(q);
	return drawn;
}

char *
qr_text(const char *text, bool colours, struct err *err)
{
	return draw(text, false, colours, err);
}

char *
qr_svg(const char *text, struct err *err)
{
	return draw(text, true, false, err);
}
