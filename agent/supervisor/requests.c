// What a connection may ask for: DESIGN.md has the messages.
#include "visor.h"

static void do_hello(struct pv_conn *c) {
	struct pv_buffer b = {0};
	pv_put(&b, "OK");
	pv_put(&b, "3"); // the protocol's version: limits.go has the same
	pv_put_long(&b, getpid());
	pv_put_long(&b, pv_agent.pid);
	if (pv_send(c->source.fd, &b, NULL, 0))
		pv_drop_conn(c);
}

static void do_log(struct pv_conn *c, struct pv_message *m) {
	const char *id = pv_get_string(m), *stream = pv_get_string(m), *path = pv_get_string(m);
	int fd = m->failed || m->nfds != 1 ? -1 : pv_take_fd(m);
	if (fd < 0 || !strchr("oet", stream[0]) || strlen(stream) != 1) {
		if (fd >= 0)
			close(fd);
		pv_reply_error(c, EINVAL, "LOG wants an id, o, e or t, a path and one descriptor");
		return;
	}
	struct pv_pump *p = pv_pump_add(id, stream[0] == 'e' ? 'e' : 'o', stream[0] == 't', path, fd);
	if (!p) {
		int err = errno;
		close(fd);
		pv_reply_error(c, err, "opening the log");
		return;
	}
	pv_reply_ok(c);
	pv_pump_run(p);
}

enum pump_verb { FLUSH, REOPEN, CLOSE };

static void do_pumps(struct pv_conn *c, struct pv_message *m, enum pump_verb verb) {
	const char *id = pv_get_string(m);
	int err = 0;
	for (struct pv_source *s = pv_pumps; s; s = s->next) {
		struct pv_pump *p = (struct pv_pump *)s;
		if (s->dead || strcmp(p->id, id))
			continue;
		if (verb == REOPEN && pv_pump_reopen(p))
			err = errno;
		if (verb != REOPEN)
			pv_pump_flush(p);
		if (verb == CLOSE)
			pv_pump_close(p);
	}
	if (err)
		pv_reply_error(c, err, "opening the log again");
	else
		pv_reply_ok(c);
}

// do_pumps_of counts the pumps of an id, for an agent that wants to know whether it must hand them over.
static void do_pumps_of(struct pv_conn *c, struct pv_message *m) {
	const char *id = pv_get_string(m);
	struct pv_buffer b = {0};
	int n = 0;
	for (struct pv_source *s = pv_pumps; s; s = s->next)
		n += !s->dead && !strcmp(((struct pv_pump *)s)->id, id);
	pv_put(&b, "OK");
	pv_put_long(&b, n);
	if (pv_send(c->source.fd, &b, NULL, 0))
		pv_drop_conn(c);
}

static void do_hold(struct pv_conn *c, struct pv_message *m) {
	const char *id = pv_get_string(m);
	if (m->failed || m->nfds == 0)
		pv_reply_error(c, EINVAL, "HOLD wants an id and descriptors");
	else if (pv_hold_add(id, m))
		pv_reply_error(c, ENOMEM, "holding descriptors");
	else
		pv_reply_ok(c);
}

static void do_attach(struct pv_conn *c, struct pv_message *m) {
	struct pv_hold *h = pv_hold_find(pv_get_string(m));
	struct pv_buffer b = {0};
	if (!h) {
		pv_reply_error(c, ENOENT, "nothing is held under this id");
		return;
	}
	pv_put(&b, "OK");
	if (pv_send(c->source.fd, &b, h->fds, h->nfds))
		pv_drop_conn(c);
}

// do_kill signals a command started by EXEC. It is our child and not reaped, so its pid is its own.
static void do_kill(struct pv_conn *c, struct pv_message *m) {
	int pid = (int)pv_get_long(m, 1, 1 << 30), sig = (int)pv_get_long(m, 1, 64);
	if (m->failed)
		pv_reply_error(c, EINVAL, "KILL wants a pid and a signal");
	else if (!pv_exec_running(pid))
		pv_reply_error(c, ESRCH, "no such command");
	else if (kill(pid, sig))
		pv_reply_error(c, errno, "killing the command");
	else
		pv_reply_ok(c);
}

static void do_signal(struct pv_conn *c, struct pv_message *m) {
	int sig = (int)pv_get_long(m, 1, 64);
	if (m->failed) {
		pv_reply_error(c, EINVAL, "SIGNAL wants a signal");
		return;
	}
	pv_agent_signal(sig); // a launcher is answered by AGENTEXIT alone
	if (!c->launcher)
		pv_reply_ok(c);
}

static void do_status(struct pv_conn *c) {
	struct pv_buffer b = {0};
	int pumps = 0, holds = 0, execs = 0;
	unsigned long long dropped = 0;
	for (struct pv_source *s = pv_pumps; s; s = s->next)
		if (!s->dead) {
			pumps++;
			dropped += ((struct pv_pump *)s)->dropped;
		}
	for (struct pv_hold *h = pv_holds; h; h = h->next)
		holds++;
	for (struct pv_source *s = pv_execs; s; s = s->next)
		execs += !s->dead;
	pv_put(&b, "OK");
	pv_put_long(&b, pumps);
	pv_put_long(&b, holds);
	pv_put_long(&b, execs);
	pv_put_long(&b, pv_conn_count);
	pv_put_long(&b, (long long)dropped);
	if (pv_send(c->source.fd, &b, NULL, 0))
		pv_drop_conn(c);
}

static void do_upgrade(struct pv_conn *c, struct pv_message *m) {
	const char *path = pv_get_string(m);
	if (m->failed) {
		pv_reply_error(c, EINVAL, "UPGRADE wants a path");
		return;
	}
	if (access(path, X_OK)) {
		pv_reply_error(c, errno, "the new program cannot be run");
		return;
	}
	pv_reply_ok(c); // before: the successor does not know who asked
	if (pv_upgrade(path))
		pv_note("upgrading in place", errno);
}

// pv_handle answers one message of a connection.
void pv_handle(struct pv_conn *c, struct pv_message *m) {
	const char *verb = pv_get_string(m);
	if (!strcmp(verb, "RUN"))
		pv_exec_start(c, m, 1);
	else if (!strcmp(verb, "EXEC"))
		pv_exec_start(c, m, 0);
	else if (!strcmp(verb, "CANCEL"))
		pv_exec_cancel(c); // the command's own answer is the answer
	else if (!strcmp(verb, "KILL"))
		do_kill(c, m);
	else if (!strcmp(verb, "LOG"))
		do_log(c, m);
	else if (!strcmp(verb, "FLUSH"))
		do_pumps(c, m, FLUSH);
	else if (!strcmp(verb, "REOPEN"))
		do_pumps(c, m, REOPEN);
	else if (!strcmp(verb, "CLOSE"))
		do_pumps(c, m, CLOSE);
	else if (!strcmp(verb, "PUMPS"))
		do_pumps_of(c, m);
	else if (!strcmp(verb, "HOLD"))
		do_hold(c, m);
	else if (!strcmp(verb, "ATTACH"))
		do_attach(c, m);
	else if (!strcmp(verb, "DROP"))
		pv_hold_drop(pv_get_string(m)), pv_reply_ok(c);
	else if (!strcmp(verb, "GUARD"))
		pv_guard(c, m);
	else if (!strcmp(verb, "UNGUARD"))
		pv_unguard(c, m);
	else if (!strcmp(verb, "LEASE"))
		pv_lease(c, m);
	else if (!strcmp(verb, "OPEN"))
		pv_open(c, m);
	else if (!strcmp(verb, "SYNC"))
		pv_reap(), pv_reply_ok(c);
	else if (!strcmp(verb, "HELLO"))
		do_hello(c);
	else if (!strcmp(verb, "STATUS"))
		do_status(c);
	else if (!strcmp(verb, "LAUNCH"))
		pv_agent_launch(c, m);
	else if (!strcmp(verb, "READY"))
		pv_agent.ready_once = 1, pv_reply_ok(c);
	else if (!strcmp(verb, "SIGNAL"))
		do_signal(c, m);
	else if (!strcmp(verb, "STOP"))
		pv_agent_stop(c);
	else if (!strcmp(verb, "UPGRADE"))
		do_upgrade(c, m);
	else
		pv_reply_error(c, ENOSYS, "unknown request");
}
