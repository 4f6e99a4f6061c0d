// UPGRADE: the supervisor becomes another program in place. Its pid, children and descriptors stay; what it
// knows goes through a memfd as one message, written by save and read by pv_restore.
#include "visor.h"
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

static void keep_fd(int fd, int keep) {
	if (fd >= 0)
		fcntl(fd, F_SETFD, keep ? 0 : FD_CLOEXEC);
}

// keep_all decides whether the descriptors of the state survive an execve.
static void keep_all(int keep) {
	keep_fd(pv_listener.fd, keep);
	keep_fd(pv_lock, keep);
	for (int i = 0; i < 3; i++)
		keep_fd(pv_agent.stdio[i], keep);
	for (struct pv_source *s = pv_conns; s; s = s->next)
		if (!s->dead)
			keep_fd(s->fd, keep);
	for (struct pv_source *s = pv_pumps; s; s = s->next)
		if (!s->dead)
			keep_fd(s->fd, keep);
	for (struct pv_source *s = pv_execs; s; s = s->next)
		if (!s->dead) {
			keep_fd(s->fd, keep);
			keep_fd(((struct pv_exec *)s)->writer, keep);
		}
	for (struct pv_hold *h = pv_holds; h; h = h->next)
		for (int i = 0; i < h->nfds; i++)
			keep_fd(h->fds[i], keep);
}

static void put_list(struct pv_buffer *b, char **list) {
	size_t n = 0;
	while (list && list[n])
		n++;
	pv_put_long(b, (long long)n);
	for (size_t i = 0; i < n; i++)
		pv_put(b, list[i]);
}

static void put_agent(struct pv_buffer *b) {
	pv_put_long(b, pv_agent.pid);
	put_list(b, pv_agent.argv);
	put_list(b, pv_agent.env);
	pv_put(b, pv_agent.cwd ? pv_agent.cwd : "/");
	for (int i = 0; i < 3; i++)
		pv_put_long(b, pv_agent.stdio[i]);
	pv_put_long(b, pv_agent.ready_once);
	pv_put_long(b, pv_agent.ending);
	pv_put_long(b, pv_agent.stop);
	pv_put_long(b, pv_agent.started_ms);
	pv_put_long(b, pv_agent.respawn_ms);
	pv_put_long(b, pv_agent.kill_ms);
	pv_put_long(b, pv_agent.backoff_ms);
}

static void put_pump(struct pv_buffer *b, struct pv_pump *p) {
	char stream[2] = {p->stream, 0};
	pv_put(b, "pump");
	pv_put(b, p->id);
	pv_put(b, stream);
	pv_put_long(b, p->tty);
	pv_put(b, p->path);
	pv_put_long(b, p->source.fd);
}

static void put_hold(struct pv_buffer *b, struct pv_hold *h) {
	pv_put(b, "hold");
	pv_put(b, h->id);
	pv_put_long(b, h->nfds);
	for (int i = 0; i < h->nfds; i++)
		pv_put_long(b, h->fds[i]);
}

// put_exec leaves out what a RUN has written so far: only the message of a failed probe would have it.
static void put_exec(struct pv_buffer *b, struct pv_exec *e) {
	pv_put(b, e->run ? "run" : "exec");
	pv_put_long(b, e->pid);
	pv_put_long(b, e->conn ? e->conn->source.fd : -1);
	if (!e->run)
		return;
	pv_put_long(b, e->source.fd);
	pv_put_long(b, e->writer);
	pv_put_long(b, (long)e->max);
	pv_put_long(b, e->ended);
	pv_put_long(b, e->code);
	pv_put_long(b, e->cancelled);
}

static void save(struct pv_buffer *b) {
	pv_put(b, "state");
	pv_put_long(b, pv_listener.fd);
	pv_put_long(b, pv_lock);
	pv_put_long(b, (long long)pv_nofile.rlim_cur);
	pv_put_long(b, (long long)pv_nofile.rlim_max);
	put_agent(b);
	for (struct pv_source *s = pv_conns; s; s = s->next) {
		if (s->dead)
			continue;
		pv_put(b, "conn");
		pv_put_long(b, s->fd);
		pv_put_long(b, ((struct pv_conn *)s)->launcher);
	}
	for (struct pv_source *s = pv_pumps; s; s = s->next)
		if (!s->dead)
			put_pump(b, (struct pv_pump *)s);
	for (struct pv_hold *h = pv_holds; h; h = h->next)
		put_hold(b, h);
	for (struct pv_source *s = pv_execs; s; s = s->next)
		if (!s->dead)
			put_exec(b, (struct pv_exec *)s);
}

static int save_to_memfd(void) {
	struct pv_buffer b = {0};
	int fd = memfd_create("supervisor-state", 0);
	save(&b);
	int bad = fd < 0 || b.size > PV_BODY_MAX || write(fd, b.data, b.size) != (ssize_t)b.size;
	free(b.data);
	if (bad && fd >= 0)
		close(fd);
	return bad ? -1 : fd;
}

// pv_upgrade returns only if it failed, and then nothing has changed.
int pv_upgrade(const char *path) {
	char number[16];
	if (pv_agent.next_conn) { // a launcher waits for the old agent's end: not now
		errno = EBUSY;
		return -1;
	}
	int fd = save_to_memfd();
	if (fd < 0)
		return -1;
	snprintf(number, sizeof number, "%d", fd);
	keep_all(1);
	char *argv[] = {"peapod-supervisor", pv_dir, "restore", number, NULL};
	char *env[] = {NULL};
	execve(path, argv, env);
	int err = errno;
	keep_all(0);
	close(fd);
	errno = err;
	return -1;
}

static char **own_list(struct pv_message *m) {
	char **list = pv_get_list(m);
	for (size_t i = 0; list && list[i]; i++)
		list[i] = strdup(list[i]);
	return list;
}

static void get_agent(struct pv_message *m) {
	const long big = INT64_MAX;
	pv_agent.pid = (int)pv_get_long(m, 0, INT32_MAX);
	pv_agent.argv = own_list(m);
	pv_agent.env = own_list(m);
	pv_agent.cwd = strdup(pv_get_string(m));
	for (int i = 0; i < 3; i++)
		pv_agent.stdio[i] = (int)pv_get_long(m, -1, INT32_MAX);
	pv_agent.ready_once = (int)pv_get_long(m, 0, 1);
	pv_agent.ending = (int)pv_get_long(m, 0, 1);
	pv_agent.stop = (int)pv_get_long(m, 0, 1);
	pv_agent.started_ms = pv_get_long(m, 0, big);
	pv_agent.respawn_ms = pv_get_long(m, 0, big);
	pv_agent.kill_ms = pv_get_long(m, 0, big);
	pv_agent.backoff_ms = pv_get_long(m, 0, big);
}

static struct pv_conn *conn_of(int fd) {
	for (struct pv_source *s = pv_conns; s; s = s->next)
		if (s->fd == fd)
			return (struct pv_conn *)s;
	return NULL;
}

static void get_pump(struct pv_message *m) {
	const char *id = pv_get_string(m), *stream = pv_get_string(m);
	int tty = (int)pv_get_long(m, 0, 1);
	const char *path = pv_get_string(m);
	int fd = (int)pv_get_long(m, 0, INT32_MAX);
	if (m->failed)
		return;
	struct pv_pump *p = pv_pump_add(id, stream[0], tty, path, fd);
	if (p)
		pv_pump_run(p);
	else
		pv_note(path, errno);
}

static void get_hold(struct pv_message *m) {
	struct pv_message fds = {0};
	const char *id = pv_get_string(m);
	long n = pv_get_long(m, 0, PV_FDS_MAX);
	for (long i = 0; i < n; i++)
		fds.fds[fds.nfds++] = (int)pv_get_long(m, 0, INT32_MAX);
	if (!m->failed && pv_hold_add(id, &fds))
		pv_note("restoring a hold", ENOMEM);
}

static void get_exec(struct pv_message *m, int run) {
	int pid = (int)pv_get_long(m, 1, INT32_MAX), conn = (int)pv_get_long(m, -1, INT32_MAX);
	int reader = -1, writer = -1, ended = 0, code = 0, cancelled = 0;
	long max = 0;
	if (run) {
		reader = (int)pv_get_long(m, -1, INT32_MAX);
		writer = (int)pv_get_long(m, -1, INT32_MAX);
		max = pv_get_long(m, 0, PV_OUTPUT_MAX);
		ended = (int)pv_get_long(m, 0, 1);
		code = (int)pv_get_long(m, 0, 255);
		cancelled = (int)pv_get_long(m, 0, 1);
	}
	struct pv_exec *e = m->failed ? NULL : pv_exec_add(pid, conn_of(conn));
	if (!e || (reader >= 0 && pv_exec_pipe(e, reader, writer, (size_t)max))) {
		pv_note("restoring a command", ENOMEM);
		return;
	}
	e->run = run, e->ended = ended, e->code = code, e->cancelled = cancelled;
}

static void get_record(struct pv_message *m) {
	const char *kind = pv_get_string(m);
	if (!strcmp(kind, "conn")) {
		int fd = (int)pv_get_long(m, 0, INT32_MAX), launcher = (int)pv_get_long(m, 0, 1);
		if (!m->failed)
			pv_add_conn(fd, launcher);
	} else if (!strcmp(kind, "pump")) {
		get_pump(m);
	} else if (!strcmp(kind, "hold")) {
		get_hold(m);
	} else if (!strcmp(kind, "exec") || !strcmp(kind, "run")) {
		get_exec(m, kind[0] == 'r');
	} else {
		m->failed = 1;
	}
}

int pv_restore(int fd) {
	struct pv_message m = {0};
	struct stat st;
	if (fstat(fd, &st) || st.st_size <= 0 || st.st_size > PV_BODY_MAX)
		return -1;
	char *body = malloc((size_t)st.st_size);
	if (!body || pread(fd, body, (size_t)st.st_size, 0) != st.st_size || pv_parse(&m, body, (size_t)st.st_size))
		return -1;
	close(fd);
	pv_get_string(&m);
	pv_listener.fd = (int)pv_get_long(&m, 0, INT32_MAX);
	pv_lock = (int)pv_get_long(&m, 0, INT32_MAX);
	pv_nofile.rlim_cur = strtoull(pv_get_string(&m), NULL, 10);
	pv_nofile.rlim_max = strtoull(pv_get_string(&m), NULL, 10);
	get_agent(&m);
	while (!m.failed && m.next < m.count)
		get_record(&m);
	int failed = m.failed;
	pv_free_message(&m);
	keep_all(0);
	return failed ? -1 : 0;
}
