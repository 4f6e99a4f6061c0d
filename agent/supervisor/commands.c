// The commands of EXEC and RUN after their start: what they write, how they end, who hears of it.
#include "visor.h"
#include <sys/epoll.h>

struct pv_source *pv_execs;

struct pv_exec *pv_exec_add(int pid, struct pv_conn *c) {
	struct pv_exec *e = calloc(1, sizeof *e);
	if (!e)
		return NULL;
	e->source.kind = PV_EXEC;
	e->source.fd = e->writer = -1;
	e->pid = pid;
	e->conn = c;
	e->source.next = pv_execs;
	pv_execs = &e->source;
	return e;
}

// pv_exec_pipe makes the command a RUN with this pipe for its output, which is closed if that fails.
int pv_exec_pipe(struct pv_exec *e, int reader, int writer, size_t max) {
	e->run = 1;
	e->max = max;
	e->writer = writer;
	if (!pv_watch(&e->source, PV_EXEC, reader, EPOLLIN))
		return 0;
	close(reader);
	e->source.fd = -1;
	return -1;
}

static void close_writer(struct pv_exec *e) {
	if (e->writer >= 0)
		close(e->writer);
	e->writer = -1;
}

// close_output leaves the source itself alive: the command's end may still come.
static void close_output(struct pv_exec *e) {
	close_writer(e);
	if (e->source.fd >= 0)
		pv_unwatch(&e->source);
	e->source.fd = -1;
	e->source.dead = 0;
}

void pv_exec_drop(struct pv_exec *e) {
	close_output(e);
	free(e->output);
	e->output = NULL;
	e->source.dead = 1;
}

// finish answers: nothing more will come of the command.
static void finish(struct pv_exec *e) {
	struct pv_buffer b = {0};
	pv_put(&b, e->run ? "RAN" : "EXIT");
	pv_put_long(&b, e->code);
	if (e->run)
		pv_put_bytes(&b, e->output, e->size);
	struct pv_conn *c = e->conn;
	pv_exec_drop(e);
	if (!c)
		free(b.data);
	else if (pv_send(c->source.fd, &b, NULL, 0))
		pv_drop_conn(c);
}

// keep takes the beginning of the output; the rest is read and forgotten, so that the command need not wait.
static void keep(struct pv_exec *e, const char *data, size_t n) {
	if (!e->output && !(e->output = malloc(e->max + 1)))
		return;
	if (n > e->max - e->size)
		n = e->max - e->size;
	memcpy(e->output + e->size, data, n);
	e->size += n;
}

// pv_exec_read reads what there is, and answers if that was all and the command has ended.
void pv_exec_read(struct pv_exec *e) {
	static char chunk[PV_CHUNK];
	while (e->source.fd >= 0) {
		ssize_t n = read(e->source.fd, chunk, sizeof chunk);
		if (n > 0)
			keep(e, chunk, (size_t)n);
		else if (n < 0 && errno == EINTR)
			continue;
		else if (n < 0 && errno == EAGAIN)
			break;
		else
			close_output(e);
		if (n > 0 && (size_t)n < sizeof chunk && !e->ended)
			break; // others wait for us too; epoll says if there is more
	}
	if (e->ended && (e->source.fd < 0 || e->cancelled))
		finish(e);
}

static struct pv_exec *find(int pid) {
	for (struct pv_source *s = pv_execs; s; s = s->next) {
		struct pv_exec *e = (struct pv_exec *)s;
		if (!s->dead && !e->ended && e->pid == pid)
			return e;
	}
	return NULL;
}

int pv_exec_running(int pid) { return find(pid) != NULL; }

int pv_exec_exited(int pid, int code) {
	struct pv_exec *e = find(pid);
	if (!e)
		return 0;
	e->ended = 1;
	e->code = code;
	close_writer(e);
	pv_exec_read(e);
	return 1;
}

// pv_exec_cancel kills the command of a connection. What that has left behind may write on, to nobody.
int pv_exec_cancel(struct pv_conn *c) {
	for (struct pv_source *s = pv_execs; s; s = s->next) {
		struct pv_exec *e = (struct pv_exec *)s;
		if (s->dead || e->conn != c)
			continue;
		e->cancelled = 1;
		if (e->ended)
			pv_exec_read(e);
		else
			kill(e->pid, SIGKILL);
		return 1;
	}
	return 0;
}

void pv_exec_forget_conn(struct pv_conn *c) {
	for (struct pv_source *s = pv_execs; s; s = s->next)
		if (((struct pv_exec *)s)->conn == c)
			((struct pv_exec *)s)->conn = NULL;
}
