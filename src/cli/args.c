/* Flags by a table: one reading, one help, the same words for every mistake. */
#include "cli/internal.h"

#include <string.h>
#include "base/text.h"
#include "cli/describe.h"

int
fail(const struct err *e)
{
	(void)fprintf(stderr, "signet: %s\n", e->text);
	return e->code == ERR_USAGE ? EXIT_USAGE : EXIT_FAILED;
}

static void
show_help(const struct args *a)
{
	char left[64];

	(void)printf("Usage: %s\n\n%s\n", a->usage, a->about);
	if (a->n > 0)
		(void)printf("\nOptions:\n");
	for (size_t i = 0; i < a->n; i++) {
		const struct arg *f = &a->table[i];

		char letter[8] = "";

		if (f->letter != '\0')
			(void)snprintf(letter, sizeof letter, "-%c, ", f->letter);
		(void)snprintf(left, sizeof left, "%s--%s%s%s", letter, f->name, f->value != NULL ? " " : "",
		    f->value != NULL ? f->value : "");
		(void)printf("  %-24s  %s\n", left, f->help);
	}
	if (a->more != NULL)
		(void)printf("\n%s", a->more);
}

static void
show_table(const struct args *a)
{
	describe("usage", a->usage);
	describe("about", a->about);
	for (size_t i = 0; i < a->n; i++) {
		const struct arg *f = &a->table[i];

		describe_option(&(struct described){ f->letter, f->name, f->value, f->choices, f->help });
	}
	describe("more", a->more);
}

static bool
add_hosts(struct host_list *l, char *text)
{
	for (char *next; text != NULL; text = next) {
		next = strchr(text, ',');
		if (next != NULL)
			*next++ = '\0';
		if (l->n == HOSTS_MAX || text[0] == '\0')
			return false;
		l->v[l->n++] = text;
	}
	return true;
}

static bool
take_value(const struct arg *f, char *value)
{
	uint64_t n;

	switch (f->kind) {
	case ARG_TEXT:
		*(const char **)f->to = value;
		return true;
	case ARG_NUMBER:
		if (!text_u64(slice_str(value), f->min, f->max, &n))
			return false;
		*(unsigned *)f->to = (unsigned)n;
		return true;
	case ARG_HOSTS:
		return add_hosts(f->to, value);
	case ARG_FLAG:
	default:
		return false;
	}
}

static const struct arg *
find(const struct args *a, const char *name, size_t n)
{
	for (size_t i = 0; i < a->n; i++) {
		if (strlen(a->table[i].name) == n && strncmp(a->table[i].name, name, n) == 0)
			return &a->table[i];
	}
	return NULL;
}

static const struct arg *
find_letter(const struct args *a, const char *word)
{
	for (size_t i = 0; i < a->n; i++) {
		if (a->table[i].letter != '\0' && a->table[i].letter == word[1] && word[2] == '\0')
			return &a->table[i];
	}
	return NULL;
}

static void
complain(const struct args *a, const char *what, const char *word)
{
	char shown[256];

	(void)fprintf(stderr, "signet: %s: \"%s\"\nUsage: %s (--help explains)\n", what,
	    text_show(slice_str(word), shown, sizeof shown), a->usage);
}

/* at[0] begins with "-". Returns how many words it took; 0: a mistake, which was named. */
static int
take_flag(const struct args *a, int left, char **at)
{
	bool is_long = at[0][1] == '-';
	char *name = at[0] + 2, *eq = is_long ? strchr(name, '=') : NULL;
	const struct arg *f = is_long ? find(a, name, eq != NULL ? (size_t)(eq - name) : strlen(name)) : find_letter(a, at[0]);

	if (f == NULL) {
		complain(a, "unknown option", at[0]);
		return 0;
	}
	if (f->kind == ARG_FLAG) {
		if (eq != NULL)
			complain(a, "this option takes no value", at[0]);
		*(bool *)f->to = true;
		return eq == NULL;
	}
	if (eq == NULL && left < 2) {
		complain(a, "this option needs a value", at[0]);
		return 0;
	}
	if (!take_value(f, eq != NULL ? eq + 1 : at[1])) {
		char what[128] = "this value cannot be used";

		if (f->kind == ARG_NUMBER)
			(void)snprintf(what, sizeof what, "--%s takes a number from %u to %u", f->name, f->min, f->max);
		complain(a, what, eq != NULL ? at[0] : at[1]);
		return 0;
	}
	return eq != NULL ? 1 : 2;
}

bool
args_parse(const struct args *a, int argc, char *argv[], int *ret_words, int *ret_exit)
{
	int words = 0;
	bool flags = true;

	*ret_exit = EXIT_OK;
	if (describe_asked(argc, argv)) {
		show_table(a);
		return false;
	}
	*ret_exit = EXIT_USAGE;
	for (int i = 1, took = 1; i < argc; i += took) {
		took = 1;
		if (flags && (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)) {
			show_help(a);
			*ret_exit = EXIT_OK;
			return false;
		}
		if (flags && strcmp(argv[i], "--") == 0) {
			flags = false;
		} else if (flags && argv[i][0] == '-' && argv[i][1] != '\0') {
			took = take_flag(a, argc - i, argv + i);
			if (took == 0)
				return false;
		} else {
			argv[++words] = argv[i];
		}
	}
	if (words < a->words_min || words > a->words_max) {
		(void)fprintf(stderr, "signet: %s\nUsage: %s (--help explains)\n",
		    words < a->words_min ? "something is missing" : "too many words", a->usage);
		return false;
	}
	*ret_words = words;
	return true;
}
