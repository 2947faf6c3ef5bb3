/* Files, commands with their answers, logins, and what the state lets people do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "base/num.h"
#include "base/secret.h"
#include "dynsec/dynsec.h"

/* As `mosquitto_ctrl dynsec init` writes it; the password is "adminpw". */
#define HASH "\"password\":\"YezUEe72ugBzoXmUv4Ls3hd4Ahi2kWmIpdOc0m5wdlxxgr14cdtFk//O0amZ4St4IPI8qV5abrb4HVNR47ISsw==\"," \
	     "\"salt\":\"c2FsdHNhbHRzYWx0\",\"iterations\":101"
#define EMPTY_HASH "YGccB43UySWesQJ6JtSy5YCRyaItXPvSxOnYziYKc8edCSw0kU8ujzY1AkaMSPvVpx1gAHnXKFT0bI1Txql1SA=="
static const char fresh[] =
    "{\"clients\":[{\"username\":\"admin\",\"textName\":\"Dynsec admin user\"," HASH ",\"roles\":[{\"rolename\":\"admin\"}]}],"
    "\"roles\":[{\"rolename\":\"admin\",\"acls\":["
    "{\"acltype\":\"publishClientSend\",\"topic\":\"$CONTROL/dynamic-security/#\",\"allow\":true},"
    "{\"acltype\":\"subscribePattern\",\"topic\":\"#\",\"allow\":true}]}],"
    "\"defaultACLAccess\":{\"publishClientSend\":false,\"publishClientReceive\":true,\"subscribe\":false,\"unsubscribe\":true}}";

struct test {
	struct dynsec *d;
	unsigned saved, said;
	bool broken; /* saving fails */
	char kicks[256];
};

static struct dynsec *
parse(const char *text)
{
	struct err err = { 0 };
	struct dynsec *d = dynsec_parse(slice_str(text), "file", &err);

	if (d == NULL)
		fail_msg("%s", err.text);
	return d;
}

static void
say(void *ctx, const char *line)
{
	assert_null(strstr(line, "s3cret"));
	((struct test *)ctx)->said++;
}

static bool
save(void *ctx, struct slice text)
{
	struct test *t = ctx;
	struct dynsec *d = dynsec_parse(text, "kept", NULL);
	size_t n;
	char *again;

	assert_non_null(d);
	again = dynsec_dump(d, &n);
	assert_true(slice_eq(text, slice_of(again, n)));
	secret_free(again, n);
	dynsec_free(d);
	t->saved += !t->broken;
	return !t->broken;
}

/* The answer to <batch>; free(). */
static char *
execute(struct test *t, const char *batch)
{
	struct dynsec_admin admin = { .client_id = SL("c"), .username = SL("admin"), .say = say, .save = save, .ctx = t };
	struct dynsec_outcome out;
	char *copy;

	assert_true(dynsec_execute(t->d, slice_str(batch), &admin, &out));
	copy = strdup(out.response);
	assert_non_null(copy);
	t->kicks[0] = '\0';
	for (size_t i = 0; i < out.n_kicked; i++) {
		(void)snprintf(t->kicks + strlen(t->kicks), sizeof(t->kicks) - strlen(t->kicks), "%s%s", i > 0 ? " " : "",
		    out.kicked[i]);
	}
	if (out.kick_anonymous)
		(void)snprintf(t->kicks + strlen(t->kicks), sizeof(t->kicks) - strlen(t->kicks), "*");
	dynsec_outcome_done(&out);
	return copy;
}

/* One command, and what is answered behind "responses":[{"command":"NAME" */
static void
expect(struct test *t, const char *name, const char *members, const char *answer)
{
	char batch[1024], wanted[2048], *got;

	(void)snprintf(batch, sizeof(batch), "{\"commands\":[{\"command\":\"%s\"%s%s}]}", name, members[0] != '\0' ? "," : "", members);
	(void)snprintf(wanted, sizeof(wanted), "{\"responses\":[{\"command\":\"%s\"%s}]}", name, answer);
	got = execute(t, batch);
	if (strcmp(got, wanted) != 0)
		fail_msg("%s\n  got      %s\n  expected %s", batch, got, wanted);
	free(got);
}

#define ERROR(text) ",\"error\":\"" text "\""

/* In this order, each upon what those before it have left. <kicks>: names, '*' for the anonymous. */
static const struct {
	const char *name, *members, *answer, *kicks;
} steps[] = {
	{ "createRole", "", ERROR("Invalid/missing rolename"), "" },
	{ "createRole", "'rolename':5", ERROR("Invalid/missing rolename"), "" },
	{ "createRole", "'rolename':'\\uffffLO'", ERROR("Role name not valid UTF-8"), "" },
	{ "createRole", "'rolename':'r','textname':5", ERROR("Invalid/missing textname"), "" },
	{ "createRole", "'rolename':'r','textdescription':5", ERROR("Invalid/missing textdescription"), "" },
	{ "createRole", "'rolename':'r','acls':[{'acltype':'x','topic':'a'}]", ERROR("Unknown acltype"), "" },
	{ "createRole", "'rolename':'r','correlationData':'7'", ",\"correlationData\":\"7\"", "" },
	{ "createRole", "'rolename':'r'", ERROR("Role already exists"), "" },
	{ "CREATEROLE", "'rolename':'q','textname':'Q','acls':[{'acltype':'publishClientSend','topic':'a','allow':true,'priority':3},"
			"{'acltype':'publishClientSend','topic':'b','priority':9}]", NULL, "" },
	{ "getRole", "'rolename':'q'",
	    ",\"data\":{\"role\":{\"rolename\":\"q\",\"textname\":\"Q\",\"acls\":[{\"acltype\":\"publishClientSend\",\"topic\":\"b\","
	    "\"priority\":9,\"allow\":false},{\"acltype\":\"publishClientSend\",\"topic\":\"a\",\"priority\":3,\"allow\":true}]}}", "" },
	{ "getRole", "'rolename':'x'", ERROR("Role not found"), "" },
	{ "getRole", "", ERROR("Invalid/missing rolename"), "" },
	{ "modifyRole", "'rolename':'x'", ERROR("Role does not exist"), "" },
	{ "modifyRole", "'rolename':'q','textname':'R','acls':[]", "", "" },
	{ "getRole", "'rolename':'q'", ",\"data\":{\"role\":{\"rolename\":\"q\",\"textname\":\"R\",\"acls\":[]}}", "" },
	{ "addRoleACL", "'rolename':'x'", ERROR("Role not found"), "" },
	{ "addRoleACL", "'rolename':'q'", ERROR("Invalid/missing acltype"), "" },
	{ "addRoleACL", "'rolename':'q','acltype':'no'", ERROR("Unknown acltype"), "" },
	{ "addRoleACL", "'rolename':'q','acltype':'publishClientSend'", ERROR("Invalid/missing topic"), "" },
	{ "addRoleACL", "'rolename':'q','acltype':'publishClientSend','topic':5", ERROR("Invalid/missing topic"), "" },
	{ "addRoleACL", "'rolename':'q','acltype':'publishClientSend','topic':'\\uffff'", ERROR("Topic not valid UTF-8"), "" },
	{ "addRoleACL", "'rolename':'q','acltype':'publishClientSend','topic':'a/#/b'", ERROR("Invalid ACL topic"), "" },
	{ "addRoleACL", "'rolename':'q','acltype':'publishClientSend','topic':'a','allow':true", "", "" },
	{ "addRoleACL", "'rolename':'q','acltype':'publishClientSend','topic':'a'", ERROR("ACL with this topic already exists"), "" },
	{ "removeRoleACL", "'rolename':'q','acltype':'publishClientSend','topic':'b'", ERROR("ACL not found"), "" },

	{ "createClient", "", ERROR("Invalid/missing username"), "" },
	{ "createClient", "'username':''", ERROR("Invalid/missing username"), "" },
	{ "createClient", "'username':'a\\u0001'", ERROR("Username not valid UTF-8"), "" },
	{ "createClient", "'username':'ann','password':5", ERROR("Invalid/missing password"), "" },
	{ "createClient", "'username':'ann','clientid':5", ERROR("Invalid/missing client id"), "" },
	{ "createClient", "'username':'ann','clientid':'\\uffff'", ERROR("Client ID not valid UTF-8"), "" },
	{ "createClient", "'username':'ann','textname':5", ERROR("Invalid/missing textname"), "" },
	{ "createClient", "'username':'ann','textdescription':5", ERROR("Invalid/missing textdescription"), "" },
	{ "createClient", "'username':'ann','roles':5", ERROR("'roles' not an array or missing/invalid rolename"), "" },
	{ "createClient", "'username':'ann','roles':[{'rolename':5}]", ERROR("'roles' not an array or missing/invalid rolename"), "" },
	{ "createClient", "'username':'ann','roles':[{'rolename':'x'}]", ERROR("Role not found"), "" },
	{ "createClient", "'username':'ann','groups':[{'groupname':'x'}]", ERROR("Group not found"), "" },
	{ "createClient", "'username':'ann','password':''", ERROR("Empty password is not allowed"), "" },
	{ "createClient", "'username':'ann','password':'s3cret','clientid':'anns','textname':'Ann','textdescription':'D',"
			  "'roles':[{'rolename':'r'},{'rolename':'q','priority':5}]", "", "" },
	{ "createClient", "'username':'ann'", ERROR("Client already exists"), "" },
	{ "getClient", "'username':'ann'",
	    ",\"data\":{\"client\":{\"username\":\"ann\",\"clientid\":\"anns\",\"textname\":\"Ann\",\"textdescription\":\"D\","
	    "\"roles\":[{\"rolename\":\"q\",\"priority\":5},{\"rolename\":\"r\"}],\"groups\":[]}}", "" },
	{ "getClient", "'username':'x'", ERROR("Client not found"), "" },
	{ "getClient", "'username':5", ERROR("Invalid/missing username"), "" },
	{ "createClient", "'username':'bob'", "", "" },
	{ "setClientPassword", "'username':'bob'", ERROR("Invalid/missing password"), "" },
	{ "setClientPassword", "'username':'bob','password':''", ERROR("Empty password is not allowed"), "" },
	{ "setClientPassword", "'username':'x','password':'s3cret'", ERROR("Client not found"), "" },
	{ "setClientPassword", "'username':'bob','password':'s3cret'", "", "bob" },
	{ "setClientId", "'username':'bob','clientid':5", ERROR("Invalid/missing client ID"), "" },
	{ "setClientId", "'username':'x'", ERROR("Client not found"), "" },
	{ "setClientId", "'username':'bob','clientid':'b'", "", "bob" },
	{ "setClientId", "'username':'bob','clientid':''", "", "bob" },
	{ "disableClient", "'username':'x'", ERROR("Client not found"), "" },
	{ "disableClient", "'username':'bob'", "", "bob" },
	{ "getClient", "'username':'bob'",
	    ",\"data\":{\"client\":{\"username\":\"bob\",\"disabled\":true,\"roles\":[],\"groups\":[]}}", "" },
	{ "enableClient", "'username':'bob'", "", "" },
	{ "enableClient", "'username':'x'", ERROR("Client not found"), "" },
	{ "addClientRole", "'username':'bob'", ERROR("Invalid/missing rolename"), "" },
	{ "addClientRole", "'username':'x','rolename':'r'", ERROR("Client not found"), "" },
	{ "addClientRole", "'username':'bob','rolename':'x'", ERROR("Role not found"), "" },
	{ "addClientRole", "'username':'bob','rolename':'r','priority':2", "", "bob" },
	{ "addClientRole", "'username':'bob','rolename':'r'", ERROR("Internal error"), "" },
	{ "removeClientRole", "'username':'bob','rolename':'x'", ERROR("Role not found"), "" },
	{ "removeClientRole", "'username':'bob','rolename':'r'", "", "bob" },
	{ "modifyClient", "'username':'x'", ERROR("Client not found"), "" },
	{ "modifyClient", "'username':'bob','roles':[{'rolename':'x'}]", ERROR("Role not found"), "" },
	{ "modifyClient", "'username':'bob','textname':'Bob','roles':[{'rolename':'r'}]", "", "bob" },

	{ "createGroup", "", ERROR("Invalid/missing groupname"), "" },
	{ "createGroup", "'groupname':'\\uffff'", ERROR("Group name not valid UTF-8"), "" },
	{ "createGroup", "'groupname':'g','roles':[{'rolename':'x'}]", ERROR("Role not found"), "" },
	{ "createGroup", "'groupname':'g','textname':'G','roles':[{'rolename':'q','priority':1}]", "", "" },
	{ "createGroup", "'groupname':'g'", ERROR("Group already exists"), "" },
	{ "createGroup", "'groupname':'h'", "", "" },
	{ "addGroupClient", "'groupname':'g','username':'x'", ERROR("Client not found"), "" },
	{ "addGroupClient", "'groupname':'x','username':'ann'", ERROR("Group not found"), "" },
	{ "addGroupClient", "'groupname':'g','username':'bob'", "", "bob" },
	{ "addGroupClient", "'groupname':'g','username':'ann','priority':4", "", "ann" },
	{ "addGroupClient", "'groupname':'g','username':'ann'", ERROR("Client is already in this group"), "" },
	{ "addGroupClient", "'groupname':'h','username':'ann','priority':7", "", "ann" },
	{ "getGroup", "'groupname':'g'",
	    ",\"data\":{\"group\":{\"groupname\":\"g\",\"textname\":\"G\",\"clients\":[{\"username\":\"ann\"},{\"username\":\"bob\"}],"
	    "\"roles\":[{\"rolename\":\"q\",\"priority\":1}]}}", "" },
	{ "getGroup", "'groupname':'x'", ERROR("Group not found"), "" },
	{ "getClient", "'username':'ann'",
	    ",\"data\":{\"client\":{\"username\":\"ann\",\"clientid\":\"anns\",\"textname\":\"Ann\",\"textdescription\":\"D\","
	    "\"roles\":[{\"rolename\":\"q\",\"priority\":5},{\"rolename\":\"r\"}],"
	    "\"groups\":[{\"groupname\":\"h\",\"priority\":7},{\"groupname\":\"g\",\"priority\":4}]}}", "" },
	{ "addGroupRole", "'groupname':'x','rolename':'r'", ERROR("Group not found"), "" },
	{ "addGroupRole", "'groupname':'g','rolename':'x'", ERROR("Role not found"), "" },
	{ "addGroupRole", "'groupname':'g','rolename':'r'", "", "ann bob" },
	{ "addGroupRole", "'groupname':'g','rolename':'r'", ERROR("Group is already in this role"), "" },
	{ "removeGroupRole", "'groupname':'g','rolename':'x'", ERROR("Role not found"), "" },
	{ "removeGroupRole", "'groupname':'g','rolename':'r'", "", "ann bob" },
	{ "modifyGroup", "'groupname':'x'", ERROR("Group not found"), "" },
	{ "modifyGroup", "'groupname':'g','roles':[5]", ERROR("'roles' not an array or missing/invalid rolename"), "" },
	{ "modifyGroup", "'groupname':'g','clients':[{'username':'x'}]", ERROR("Client not found"), "" },
	{ "modifyGroup", "'groupname':'g','clients':[{'username':'bob'}]", "", "ann bob bob" },
	{ "removeGroupClient", "'groupname':'x','username':'ann'", ERROR("Group not found"), "" },
	{ "removeGroupClient", "'groupname':'h','username':'ann'", "", "ann" },
	{ "getAnonymousGroup", "", ",\"data\":{\"group\":{\"groupname\":\"\"}}", "" },
	{ "setAnonymousGroup", "'groupname':'x'", ERROR("Group not found"), "" },
	{ "setAnonymousGroup", "'groupname':'h'", "", "*" },
	{ "getAnonymousGroup", "", ",\"data\":{\"group\":{\"groupname\":\"h\"}}", "" },
	{ "addGroupRole", "'groupname':'h','rolename':'q'", "", "*" },
	{ "deleteGroup", "'groupname':'h'", ERROR("Deleting the anonymous group is forbidden"), "" },
	{ "setAnonymousGroup", "'groupname':'g'", "", "*" },
	{ "deleteGroup", "'groupname':'h'", "", "" },
	{ "deleteGroup", "'groupname':'h'", ERROR("Group not found"), "" },

	/* 'q': ann, and by group g bob and the anonymous; 'r': ann and bob */
	{ "addRoleACL", "'rolename':'r','acltype':'subscribeLiteral','topic':'a'", "", "ann bob" },
	{ "removeRoleACL", "'rolename':'r','acltype':'subscribeLiteral','topic':'a'", "", "ann bob" },
	{ "listRoles", "", ",\"data\":{\"totalCount\":3,\"roles\":[\"admin\",\"q\",\"r\"]}", "" },
	{ "listRoles", "'count':1,'offset':1", ",\"data\":{\"totalCount\":3,\"roles\":[\"q\"]}", "" },
	{ "listClients", "'count':2", ",\"data\":{\"totalCount\":3,\"clients\":[\"admin\",\"ann\"]}", "" },
	{ "listClients", "'offset':5", ",\"data\":{\"totalCount\":3,\"clients\":[]}", "" },
	{ "listClients", "'offset':2,'verbose':true",
	    ",\"data\":{\"totalCount\":3,\"clients\":[{\"username\":\"bob\",\"textname\":\"Bob\",\"roles\":[{\"rolename\":\"r\"}],"
	    "\"groups\":[{\"groupname\":\"g\"}]}]}", "" },
	{ "listGroups", "", ",\"data\":{\"totalCount\":1,\"groups\":[\"g\"]}", "" },
	{ "listGroups", "'verbose':true",
	    ",\"data\":{\"totalCount\":1,\"groups\":[{\"groupname\":\"g\",\"textname\":\"G\",\"clients\":[{\"username\":\"bob\"}],"
	    "\"roles\":[{\"rolename\":\"q\",\"priority\":1}]}]}", "" },
	{ "deleteRole", "'rolename':'x'", ERROR("Role not found"), "" },
	{ "deleteRole", "'rolename':'q'", "", "ann bob*" },
	{ "deleteClient", "'username':'x'", ERROR("Client not found"), "" },
	{ "deleteClient", "'username':'ann'", "", "ann" },
	{ "setDefaultACLAccess", "", ERROR("Missing/invalid actions array"), "" },
	{ "setDefaultACLAccess", "'acls':[{'acltype':'subscribe','allow':true},{'acltype':'publishClientReceive','allow':false}]", "", "" },
	{ "getDefaultACLAccess", "",
	    ",\"data\":{\"acls\":[{\"acltype\":\"publishClientSend\",\"allow\":false},{\"acltype\":\"publishClientReceive\",\"allow\":false},"
	    "{\"acltype\":\"subscribe\",\"allow\":true},{\"acltype\":\"unsubscribe\",\"allow\":true}]}", "" },
	{ "fly", "'correlationData':'8'", ERROR("Unknown command") ",\"correlationData\":\"8\"", "" },
	{ "listRoles", "'correlationData':8", ERROR("Invalid correlationData data type."), "" },
};

/* For short: quotes of JSON are written as single ones. */
static const char *
quoted(const char *text, char *out, size_t cap)
{
	(void)snprintf(out, cap, "%s", text);
	for (char *p = out; *p != '\0'; p++)
		if (*p == '\'')
			*p = '"';
	return out;
}

static void
answers_every_command(void **state)
{
	struct test t = { .d = parse(fresh) };
	char members[1024];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		if (steps[i].answer == NULL)
			free(execute(&t, "{\"commands\":[{\"command\":\"CREATEROLE\",\"rolename\":\"q\",\"textname\":\"Q\",\"acls\":["
					 "{\"acltype\":\"publishClientSend\",\"topic\":\"a\",\"allow\":true,\"priority\":3},"
					 "{\"acltype\":\"publishclientsend\",\"topic\":\"b\",\"priority\":9}]}]}"));
		else
			expect(&t, steps[i].name, quoted(steps[i].members, members, sizeof(members)), steps[i].answer);
		if (strcmp(t.kicks, steps[i].kicks) != 0)
			fail_msg("%s %s: kicked \"%s\" instead of \"%s\"", steps[i].name, steps[i].members, t.kicks, steps[i].kicks);
	}
	assert_true(t.saved > 30);
	assert_true(t.said > t.saved);
	dynsec_free(t.d);
}

static const struct {
	const char *batch, *answer;
} batches[] = {
	{ "", "{\"responses\":[{\"command\":\"Unknown command\",\"error\":\"Payload not valid JSON\"}]}" },
	{ "{", "{\"responses\":[{\"command\":\"Unknown command\",\"error\":\"Payload not valid JSON\"}]}" },
	{ "[]", "{\"responses\":[{\"command\":\"Unknown command\",\"error\":\"Invalid/missing commands\"}]}" },
	{ "{\"commands\":5}", "{\"responses\":[{\"command\":\"Unknown command\",\"error\":\"Invalid/missing commands\"}]}" },
	{ "{\"commands\":[]}", "{\"responses\":[]}" },
	{ "{\"commands\":[5,{}]}", "{\"responses\":[{\"command\":\"Unknown command\",\"error\":\"Command not an object\"},"
				   "{\"command\":\"Unknown command\",\"error\":\"Missing command\"}]}" },
	{ "{\"commands\":[{\"command\":\"createRole\",\"rolename\":\"a\"},{\"command\":\"createRole\",\"rolename\":\"a\"},"
	  "{\"command\":\"listRoles\",\"correlationData\":1},{\"command\":\"createRole\",\"rolename\":\"b\"}]}",
	    "{\"responses\":[{\"command\":\"createRole\"},{\"command\":\"createRole\",\"error\":\"Role already exists\"},"
	    "{\"command\":\"listRoles\",\"error\":\"Invalid correlationData data type.\"}]}" },
};

static void
answers_batches(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(batches); i++) {
		struct test t = { .d = parse(fresh) };
		char *got = execute(&t, batches[i].batch);

		assert_string_equal(got, batches[i].answer);
		free(got);
		dynsec_free(t.d);
	}
}

/* What cannot be kept has not happened. */
static void
takes_back_what_cannot_be_kept(void **state)
{
	struct test t = { .d = parse(fresh), .broken = true };
	size_t before_n, after_n;
	char *before = dynsec_dump(t.d, &before_n), *after, *got;

	(void)state;
	got = execute(&t, "{\"commands\":[{\"command\":\"deleteClient\",\"username\":\"admin\"},{\"command\":\"listRoles\"}]}");
	assert_string_equal(got, "{\"responses\":[{\"command\":\"deleteClient\",\"error\":\"Internal error: the file cannot be written\"},"
				 "{\"command\":\"listRoles\",\"data\":{\"totalCount\":1,\"roles\":[\"admin\"]}}]}");
	assert_string_equal(t.kicks, "");
	free(got);
	after = dynsec_dump(t.d, &after_n);
	assert_string_equal(before, after);
	secret_free(before, before_n);
	secret_free(after, after_n);
	dynsec_free(t.d);
}

static const struct {
	const char *text, *error;
} broken[] = {
	{ "", "file: is empty; make it with `mosquitto_ctrl dynsec init FILE ADMIN`" },
	{ "{\n  x", "file:2:3: not JSON" },
	{ "[]", "file: is not an object" },
	{ "{\"clients\":5}", "file: \"clients\" is not an array" },
	{ "{\"clients\":[5]}", "file: clients[0]: is not an object" },
	{ "{\"clients\":[{}]}", "file: clients[0]: has no \"username\"" },
	{ "{\"clients\":[{\"username\":\"a\"},{\"username\":\"a\"}]}", "file: clients[1]: there is a client of this name" },
	{ "{\"clients\":[{\"username\":\"a\",\"disabled\":1}]}", "file: clients[0]: \"disabled\" is neither" },
	{ "{\"clients\":[{\"username\":\"a\",\"clientid\":1}]}", "file: clients[0]: \"clientid\" is not a text" },
	{ "{\"clients\":[{\"username\":\"a\",\"password\":\"x\"}]}", "file: clients[0]: the password needs \"salt\"" },
	{ "{\"clients\":[{\"username\":\"a\",\"password\":\"x\",\"salt\":\"c2FsdHNhbHQ=\",\"iterations\":1}]}", "file: clients[0]: the hash" },
	{ "{\"clients\":[{\"username\":\"a\",\"encoded_password\":\"x\"}]}", "file: clients[0]: the password stands there in plain" },
	{ "{\"clients\":[{\"username\":\"a\",\"roles\":[{}]}]}", "file: clients[0].roles[0]: has no \"rolename\"" },
	{ "{\"groups\":[{}]}", "file: groups[0]: has no \"groupname\"" },
	{ "{\"groups\":[{\"groupname\":\"g\",\"clients\":{}}]}", "file: groups[0]: \"clients\" is not an array" },
	{ "{\"roles\":[{\"rolename\":\"r\",\"acls\":[{}]}]}", "file: roles[0].acls[0]: \"acltype\" is none that is known" },
	{ "{\"roles\":[{\"rolename\":\"r\",\"acls\":[{\"acltype\":\"subscribePattern\",\"topic\":\"#a\"}]}]}", "file: roles[0].acls[0]: \"topic\"" },
	{ "{\"roles\":[{\"rolename\":\"r\",\"acls\":[{\"acltype\":\"subscribePattern\",\"topic\":\"a\",\"allow\":1}]}]}",
	    "file: roles[0].acls[0]: \"allow\" is neither" },
	{ "{\"roles\":[{\"rolename\":\"r\",\"allowwildcardsubs\":false}]}", "file: roles[0]: \"allowwildcardsubs\": false is not known" },
	{ "{\"defaultACLAccess\":{\"subscribe\":1}}", "file: defaultACLAccess: \"subscribe\" is neither" },
	{ "{\"anonymousGroup\":\"g\"}", "file: \"anonymousGroup\" names a group that is not there" },
};

static void
names_what_is_broken(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(broken); i++) {
		struct err err = { 0 };

		assert_null(dynsec_parse(slice_str(broken[i].text), "file", &err));
		if (strncmp(err.text, broken[i].error, strlen(broken[i].error)) != 0)
			fail_msg("%s\n  got %s", broken[i].text, err.text);
	}
	/* Every piece of a good file is a broken one. */
	for (size_t n = 0; n + 1 < sizeof(fresh) - 1; n++) {
		struct err err = { 0 };

		assert_null(dynsec_parse(slice_of(fresh, n), "file", &err));
		assert_true(err.text[0] != '\0');
	}
}

static void
warns_of_what_is_not_there(void **state)
{
	struct dynsec *d = parse("{\"clients\":[{\"username\":\"a\",\"roles\":[{\"rolename\":\"gone\"}]}]}");

	(void)state;
	assert_string_equal(dynsec_warning(d), "clients[0] names a role \"gone\", which is not there; it is left out");
	dynsec_free(d);
	d = parse(fresh);
	assert_string_equal(dynsec_warning(d), "");
	dynsec_free(d);
}

static void
judges_passwords(void **state)
{
	struct test t = { .d = parse(fresh) };
	struct dynsec_logins *before = dynsec_logins_new(t.d), *after;

	(void)state;
	assert_int_equal(dynsec_login(before, SL("admin"), SL("adminpw")), PASSWD_RIGHT);
	assert_int_equal(dynsec_login(before, SL("ann"), SL("s3cret")), PASSWD_UNKNOWN);
	free(execute(&t, "{\"commands\":[{\"command\":\"createClient\",\"username\":\"ann\",\"password\":\"s3cret\"},"
			 "{\"command\":\"createClient\",\"username\":\"bare\"}]}"));
	after = dynsec_logins_new(t.d);
	assert_int_equal(dynsec_login(after, SL("ann"), SL("s3cret")), PASSWD_RIGHT);
	assert_int_equal(dynsec_login(after, SL("ann"), SL("S3cret")), PASSWD_WRONG);
	assert_int_equal(dynsec_login(after, SL("ann"), SL("")), PASSWD_WRONG);
	assert_int_equal(dynsec_login(after, SL("bare"), SL("s3cret")), PASSWD_WRONG);
	assert_int_equal(dynsec_login(after, SL("bare"), SL("")), PASSWD_WRONG);
	assert_int_equal(dynsec_login(after, SL("nobody"), SL("s3cret")), PASSWD_UNKNOWN);
	assert_true(dynsec_tag(before, SL("admin")) == dynsec_tag(after, SL("admin")));
	assert_true(dynsec_tag(before, SL("admin")) != 0);
	assert_true(dynsec_tag(before, SL("ann")) == 0);
	assert_true(dynsec_tag(after, SL("bare")) == 0);
	dynsec_logins_unref(before);
	before = dynsec_logins_ref(after);
	dynsec_logins_unref(after);
	free(execute(&t, "{\"commands\":[{\"command\":\"setClientPassword\",\"username\":\"ann\",\"password\":\"s3cret2\"}]}"));
	after = dynsec_logins_new(t.d);
	assert_true(dynsec_tag(before, SL("ann")) != dynsec_tag(after, SL("ann")));
	dynsec_logins_unref(before);
	dynsec_logins_unref(after);
	dynsec_free(t.d);
}

/* mosquitto makes hashes of empty passwords, and lets nobody in who sends none. */
static void
nobody_comes_in_without_a_password(void **state)
{
	struct dynsec *d = parse("{\"clients\":[{\"username\":\"ann\",\"password\":\"" EMPTY_HASH "\",\"salt\":\"c2FsdHNhbHRzYWx0\",\"iterations\":101}]}");
	struct dynsec_logins *l = dynsec_logins_new(d);

	(void)state;
	assert_non_null(l);
	assert_int_equal(dynsec_login(l, SL("ann"), SL("")), PASSWD_WRONG);
	dynsec_logins_unref(l);
	dynsec_free(d);
}

static bool
may(struct dynsec *d, const char *user, enum authz_action action, const char *topic)
{
	struct authz_facts f = { .username = slice_str(user) };
	struct authz_principal *who = authz_principal_new(&f);
	struct authz_policy *p = dynsec_policy(d);
	struct authz_verdict v;
	bool ok;

	assert_non_null(who);
	assert_non_null(p);
	ok = authz_allowed(p, who, SL("c"), action, slice_str(topic), &v);
	authz_policy_unref(p);
	authz_principal_unref(who);
	return ok;
}

/* Client roles go before groups, each by its priority; the anonymous have their group. */
static void
ranks_roles(void **state)
{
	struct test t = { .d = parse(fresh) };

	(void)state;
	assert_true(may(t.d, "admin", AUTHZ_PUBLISH, "$CONTROL/dynamic-security/v1"));
	assert_false(may(t.d, "ann", AUTHZ_PUBLISH, "$CONTROL/dynamic-security/v1"));
	free(execute(&t,
	    "{\"commands\":[{\"command\":\"createRole\",\"rolename\":\"yes\",\"acls\":[{\"acltype\":\"publishClientSend\",\"topic\":\"t\",\"allow\":true}]},"
	    "{\"command\":\"createRole\",\"rolename\":\"no\",\"acls\":[{\"acltype\":\"publishClientSend\",\"topic\":\"t\"}]},"
	    "{\"command\":\"createGroup\",\"groupname\":\"yes\",\"roles\":[{\"rolename\":\"yes\"}]},"
	    "{\"command\":\"createGroup\",\"groupname\":\"no\",\"roles\":[{\"rolename\":\"no\"}]},"
	    "{\"command\":\"createClient\",\"username\":\"ann\",\"groups\":[{\"groupname\":\"no\",\"priority\":1},{\"groupname\":\"yes\",\"priority\":2}]},"
	    "{\"command\":\"createClient\",\"username\":\"bob\",\"roles\":[{\"rolename\":\"no\",\"priority\":1},{\"rolename\":\"yes\"}],"
	    "\"groups\":[{\"groupname\":\"yes\",\"priority\":9}]}]}"));
	assert_true(may(t.d, "ann", AUTHZ_PUBLISH, "t"));
	assert_false(may(t.d, "bob", AUTHZ_PUBLISH, "t"));
	assert_false(may(t.d, NULL, AUTHZ_PUBLISH, "t"));
	free(execute(&t, "{\"commands\":[{\"command\":\"setAnonymousGroup\",\"groupname\":\"yes\"},"
			 "{\"command\":\"addClientRole\",\"username\":\"ann\",\"rolename\":\"no\"},"
			 "{\"command\":\"removeRoleACL\",\"rolename\":\"no\",\"acltype\":\"publishClientSend\",\"topic\":\"t\"}]}"));
	assert_true(may(t.d, NULL, AUTHZ_PUBLISH, "t"));
	assert_true(may(t.d, "ann", AUTHZ_PUBLISH, "t"));
	assert_true(may(t.d, "bob", AUTHZ_PUBLISH, "t"));
	free(execute(&t, "{\"commands\":[{\"command\":\"disableClient\",\"username\":\"ann\"}]}"));
	assert_false(may(t.d, "ann", AUTHZ_CONNECT, "c"));
	dynsec_free(t.d);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_every_command),
		cmocka_unit_test(answers_batches),
		cmocka_unit_test(takes_back_what_cannot_be_kept),
		cmocka_unit_test(names_what_is_broken),
		cmocka_unit_test(warns_of_what_is_not_there),
		cmocka_unit_test(judges_passwords),
		cmocka_unit_test(nobody_comes_in_without_a_password),
		cmocka_unit_test(ranks_roles),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
