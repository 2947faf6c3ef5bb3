/* Addresses as text, and who may bind what. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include "net/net.h"

static void
test_text(void **state)
{
	static const struct {
		const char *host;
		uint16_t port;
		const char *text;
	} cases[] = {
		{ "192.0.2.1", 50000, "192.0.2.1:50000" },
		{ "0.0.0.0", 1, "0.0.0.0:1" },
		{ "2001:db8::1", 65535, "[2001:db8::1]:65535" },
		{ "::", 1883, "[::]:1883" },
		{ "fe80::1%1", 1883, "[fe80::1%1]:1883" },
	};
	struct sockaddr_storage a[2];
	socklen_t len[2];
	struct err err;
	char text[80];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(
		    net_resolve(cases[i].host, cases[i].port, AF_UNSPEC, a, len, 2, &err), 1);
		assert_string_equal(net_addr_text(&a[0], text, sizeof(text)), cases[i].text);
	}
	a[0] = (struct sockaddr_storage){ .ss_family = AF_UNIX };
	assert_string_equal(net_addr_text(&a[0], text, sizeof(text)), "unix");
	a[0] = (struct sockaddr_storage){ 0 };
	assert_string_equal(net_addr_text(&a[0], text, sizeof(text)), "unknown");
}

static void
test_resolve(void **state)
{
	struct sockaddr_storage a[4];
	socklen_t len[4];
	struct err err;
	int n;

	(void)state;
	n = net_resolve(NULL, 1883, AF_UNSPEC, a, len, 4, &err);
	assert_in_range(n, 1, 2);
	n = net_resolve(NULL, 1883, AF_INET, a, len, 4, &err);
	assert_int_equal(n, 1);
	assert_int_equal(a[0].ss_family, AF_INET);
	assert_int_equal(len[0], sizeof(struct sockaddr_in));
	assert_int_equal(net_resolve("192.0.2.1", 1, AF_INET6, a, len, 4, &err), -1);
	assert_non_null(strstr(err.text, "192.0.2.1"));
}

static struct sockaddr_in
bound(int fd)
{
	struct sockaddr_in a;
	socklen_t n = sizeof(a);

	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &n), 0);
	return a;
}

static int
bind_to(const struct sockaddr_in *a, struct err *err)
{
	return net_bind((const struct sockaddr *)a, sizeof(*a), 16, NULL, err);
}

/* What another process gets that asks for the same port: false when it was told that the port is
 * taken. */
static bool
other_process_binds(const struct sockaddr_in *a, const int *ours, int n)
{
	pid_t pid = fork();
	int status;

	assert_int_not_equal(pid, -1);
	if (pid == 0) {
		struct err err = { 0 };
		int fd;

		for (int i = 0; i < n; i++)
			close(ours[i]);
		fd = bind_to(a, &err);
		_exit(fd != -1                                                               ? 1
		      : err.code == ERR_EXISTS && strstr(err.text, "in use already") != NULL ? 0
											     : 2);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) < 2);
	return WEXITSTATUS(status) == 1;
}

/* One socket a loop for us, and nothing for another broker, however many of ours are left. */
static void
test_one_owner(void **state)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct err err;
	int fd[3];

	(void)state;
	fd[0] = bind_to(&a, &err);
	assert_int_not_equal(fd[0], -1);
	a = bound(fd[0]);
	assert_false(other_process_binds(&a, fd, 1));
	for (int i = 1; i < 3; i++) {
		fd[i] = bind_to(&a, &err);
		assert_int_not_equal(fd[i], -1);
		assert_int_equal(bound(fd[i]).sin_port, a.sin_port);
		assert_false(other_process_binds(&a, fd, i + 1));
	}
	close(fd[0]);
	assert_false(other_process_binds(&a, fd + 1, 2));
	close(fd[1]);
	close(fd[2]);
	assert_true(other_process_binds(&a, NULL, 0));
}

/* The kernel spreads connections over all of ours. */
static void
test_shared_queue(void **state)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd[2], got[2] = { 0, 0 };
	struct err err;

	(void)state;
	fd[0] = bind_to(&a, &err);
	a = bound(fd[0]);
	fd[1] = bind_to(&a, &err);
	for (int i = 0; i < 400 && (got[0] == 0 || got[1] == 0); i++) {
		int c = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), s;

		assert_int_equal(connect(c, (const struct sockaddr *)&a, sizeof(a)), 0);
		for (int k = 0; k < 2; k++) {
			s = accept(fd[k], NULL, NULL);
			if (s != -1) {
				got[k]++;
				close(s);
			}
		}
		close(c);
	}
	assert_true(got[0] > 0 && got[1] > 0);
	close(fd[0]);
	close(fd[1]);
}

/* IPv6 takes no IPv4 port away. */
static void
test_both_families(void **state)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_in6 b = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_ANY_INIT };
	struct err err;
	int v6, v4;

	(void)state;
	v4 = bind_to(&a, &err);
	assert_int_not_equal(v4, -1);
	b.sin6_port = bound(v4).sin_port;
	v6 = net_bind((const struct sockaddr *)&b, sizeof(b), 16, NULL, &err);
	close(v4);
	if (v6 == -1 && err.code != ERR_EXISTS)
		skip(); /* a machine without IPv6 */
	assert_int_not_equal(v6, -1);
	close(v6);
}

static void
test_unix(void **state)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	char dir[] = "/tmp/net-addr-XXXXXX";
	struct err err;
	int fd;

	(void)state;
	assert_non_null(mkdtemp(dir));
	(void)snprintf(a.sun_path, sizeof(a.sun_path), "%s/socket", dir);
	fd = net_bind((const struct sockaddr *)&a, sizeof(a), 16, NULL, &err);
	assert_int_not_equal(fd, -1);
	assert_int_equal(net_bind((const struct sockaddr *)&a, sizeof(a), 16, NULL, &err), -1);
	assert_int_equal(err.code, ERR_EXISTS);
	assert_non_null(strstr(err.text, a.sun_path));
	close(fd);
	unlink(a.sun_path);
	rmdir(dir);
}

/* Options that are set once on a listening socket, and that each connection must have. */
static void
test_inherited_options(void **state)
{
	static const struct net_handler none = { 0 };
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct loop *l;
	struct err err;
	socklen_t n = sizeof(int);
	int fd, c, s, on = 0, ms = 0;

	(void)state;
	l = loop_new(0, &none, NULL, NULL, &err);
	fd = bind_to(&a, &err);
	a = bound(fd);
	assert_true(loop_listen(l, fd, NULL, NULL, &err));
	c = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(c, (const struct sockaddr *)&a, sizeof(a)), 0);
	s = accept(fd, NULL, NULL);
	assert_int_not_equal(s, -1);
	assert_int_equal(getsockopt(s, IPPROTO_TCP, TCP_NODELAY, &on, &n), 0);
	assert_int_equal(getsockopt(s, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, &n), 0);
	assert_true(on);
	assert_int_equal(ms, 30000);
	close(s);
	close(c);
	loop_free(l);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_resolve),
		cmocka_unit_test(test_one_owner),
		cmocka_unit_test(test_shared_queue),
		cmocka_unit_test(test_both_families),
		cmocka_unit_test(test_unix),
		cmocka_unit_test(test_inherited_options),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
