/* signet-bench: load a broker, check what it delivers, report what it cost. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "bench.h"

/* As many descriptors as are allowed, and sleeps as short as asked for. */
static void
raise_limits(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) == 0) {
		r.rlim_cur = r.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &r); /* socket() will tell */
	}
	(void)prctl(PR_SET_TIMERSLACK, 1000, 0, 0, 0); /* only precision */
}

int
main(int argc, char **argv)
{
	struct err err = { 0 };
	struct bench *b = calloc(1, sizeof *b);
	int code = EXIT_USAGE;

	if (b == NULL) {
		(void)fputs("signet-bench: out of memory\n", stderr);
		return EXIT_USAGE;
	}
	if (!options_read(&b->o, argc, argv, &code)) {
		free(b);
		return code;
	}
	raise_limits();
	(void)signal(SIGPIPE, SIG_IGN); /* such writes fail instead */
	if (!bench_run(b, &err)) {
		(void)fprintf(stderr, "signet-bench: %s\n", err.text);
	} else {
		code = report_ok(b) ? 0 : EXIT_CHECK;
		if (!report(b, &err)) {
			(void)fprintf(stderr, "signet-bench: %s\n", err.text);
			code = EXIT_USAGE;
		}
	}
	free(b);
	return code;
}
