// The agent: started for a launcher, started again after a crash, ended when asked.
#include "visor.h"
#include <sys/resource.h>

struct pv_agent pv_agent = {.stdio = {-1, -1, -1}};

// tell_launchers says how the agent ended to everybody who waits for it.
static void tell_launchers(int code) {
	for (struct pv_source *s = pv_conns; s; s = s->next) {
		struct pv_conn *c = (struct pv_conn *)s;
		struct pv_buffer b = {0};
		if (s->dead || !c->launcher)
			continue;
		c->launcher = 0;
		pv_put(&b, "AGENTEXIT");
		pv_put_long(&b, code);
		if (pv_send(s->fd, &b, NULL, 0))
			pv_drop_conn(c);
	}
}

// give_stdio makes the launcher's descriptors the child's. Without a launcher the agent writes to
// DIR/agent.log: a broken pipe would kill it.
static void give_stdio(void) {
	char path[4096];
	int log = -1;
	if (pv_agent.stdio[0] < 0) {
		int n = snprintf(path, sizeof path, "%s/agent.log", pv_dir);
		if (n > 0 && (size_t)n < sizeof path)
			log = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	}
	for (int i = 0; i < 3; i++) {
		int from = pv_agent.stdio[i] >= 0 ? pv_agent.stdio[i] : i > 0 ? log : open("/dev/null", O_RDONLY | O_CLOEXEC);
		if (from >= 0)
			dup2(from, i);
	}
}

static void spawn(void) {
	int64_t now = pv_clock_ms();
	pv_agent.respawn_ms = 0;
	pid_t pid = fork();
	if (pid == 0) {
		give_stdio();
		pv_child_defaults();
		if (chdir(pv_agent.cwd))
			pv_note(pv_agent.cwd, errno);
		else
			execve(pv_agent.argv[0], pv_agent.argv + 1, pv_agent.env);
		pv_note("starting the agent", errno);
		_exit(127);
	}
	if (pid < 0) {
		pv_note("starting the agent", errno);
		pv_agent.respawn_ms = now + PV_BACKOFF_MAX_MS;
		return;
	}
	pv_agent.pid = pid;
	pv_agent.started_ms = now;
}

// copy_list makes one allocation's worth of strings independent of the message.
static char **copy_list(char **from) {
	size_t n = 0;
	while (from && from[n])
		n++;
	char **to = calloc(n + 1, sizeof *to);
	for (size_t i = 0; to && i < n; i++)
		if (!(to[i] = strdup(from[i])))
			return NULL;
	return to;
}

static void free_list(char **list) {
	for (char **p = list; p && *p; p++)
		free(*p);
	free(list);
}

static void close_stdio(void) {
	for (int i = 0; i < 3; i++) {
		if (pv_agent.stdio[i] >= 0)
			close(pv_agent.stdio[i]);
		pv_agent.stdio[i] = -1;
	}
}

// begin runs what a LAUNCH asked: path, argv, environment, working directory, stdio.
static void begin(struct pv_conn *c, struct pv_message *m) {
	const char *cwd = pv_get_string(m);
	char **argv = pv_get_list(m), **env = pv_get_list(m);
	if (m->failed || !argv[0] || !argv[1] || m->nfds != 3) {
		pv_reply_error(c, EINVAL, "LAUNCH wants a directory, path and arguments, environment and three descriptors");
		free(argv);
		free(env);
		return;
	}
	free_list(pv_agent.argv);
	free_list(pv_agent.env);
	free(pv_agent.cwd);
	close_stdio();
	pv_agent.argv = copy_list(argv);
	pv_agent.env = copy_list(env);
	pv_agent.cwd = strdup(cwd);
	for (int i = 0; i < 3; i++)
		pv_agent.stdio[i] = pv_take_fd(m);
	free(argv);
	free(env);
	pv_agent.ready_once = pv_agent.ending = pv_agent.stop = 0;
	pv_agent.kill_ms = pv_agent.backoff_ms = 0;
	c->launcher = 1;
	pv_reply_ok(c);
	spawn();
}

static void end_agent(void) {
	pv_agent.ending = 1;
	pv_agent.kill_ms = pv_clock_ms() + PV_TERM_MS;
	kill(pv_agent.pid, SIGTERM);
}

// pv_agent_launch begins at once if no agent runs. Else the old one is asked to end, and its end begins
// the new one: two agents never look after the same node.
void pv_agent_launch(struct pv_conn *c, struct pv_message *m) {
	if (!pv_agent.pid) {
		begin(c, m);
		return;
	}
	if (pv_agent.next_conn)
		pv_reply_error(pv_agent.next_conn, EBUSY, "another launcher came");
	pv_free_message(&pv_agent.next);
	pv_agent.next = *m;
	pv_agent.next_conn = c;
	memset(m, 0, sizeof *m);
	end_agent();
}

void pv_agent_signal(int sig) {
	if (!pv_agent.pid) {
		if (pv_agent.respawn_ms) { // it waits to be started again: do not
			pv_agent.respawn_ms = 0;
			tell_launchers(0);
		}
		return;
	}
	if (sig == SIGTERM || sig == SIGINT)
		pv_agent.ending = 1;
	kill(pv_agent.pid, sig);
}

// crashed tells whether the end is one to recover from. A fresh agent that ends with a status of
// its own, before it was ever READY, had a reason to say (a taken port, a bad flag): that goes to the
// launcher. Killed by a signal, or failed after it had been READY, it is started again.
static int crashed(int code, int signalled) {
	return !pv_agent.ending && (signalled || (code != 0 && pv_agent.ready_once));
}

static void plan_respawn(void) {
	int64_t now = pv_clock_ms(), next = pv_agent.backoff_ms * 2;
	if (now - pv_agent.started_ms >= PV_STEADY_MS || next < PV_BACKOFF_MIN_MS)
		next = PV_BACKOFF_MIN_MS;
	pv_agent.backoff_ms = next > PV_BACKOFF_MAX_MS ? PV_BACKOFF_MAX_MS : next;
	pv_agent.respawn_ms = now + pv_agent.backoff_ms;
}

void pv_agent_exited(int code, int signalled) {
	pv_agent.pid = 0;
	pv_agent.kill_ms = 0;
	if (crashed(code, signalled)) {
		plan_respawn();
		return;
	}
	tell_launchers(code);
	if (pv_agent.next_conn) {
		struct pv_conn *c = pv_agent.next_conn;
		struct pv_message m = pv_agent.next;
		memset(&pv_agent.next, 0, sizeof pv_agent.next);
		pv_agent.next_conn = NULL;
		begin(c, &m);
		pv_free_message(&m);
	} else if (pv_agent.stop) {
		pv_quit_soon();
	}
}

// pv_agent_stop ends the supervisor once the agent has ended. The agent itself may ask, as its last deed.
void pv_agent_stop(struct pv_conn *c) {
	pv_agent.stop = 1;
	pv_agent.respawn_ms = 0;
	pv_reply_ok(c);
	if (pv_agent.pid) {
		pv_agent.ending = 1;
		return;
	}
	tell_launchers(0);
	pv_quit_soon();
}

void pv_agent_tick(int64_t now) {
	if (pv_agent.kill_ms && now >= pv_agent.kill_ms && pv_agent.pid) {
		pv_agent.kill_ms = 0;
		kill(pv_agent.pid, SIGKILL);
	}
	if (pv_agent.respawn_ms && now >= pv_agent.respawn_ms)
		spawn();
}

// pv_agent_forget_conn notes that a launcher has gone. Its agent goes on; only later ones use the log file.
void pv_agent_forget_conn(struct pv_conn *c) {
	if (pv_agent.next_conn == c) {
		pv_agent.next_conn = NULL;
		pv_free_message(&pv_agent.next);
	}
	if (c->launcher) {
		c->launcher = 0;
		close_stdio();
	}
}

int64_t pv_agent_deadline(void) {
	int64_t first = INT64_MAX;
	if (pv_agent.kill_ms)
		first = pv_agent.kill_ms;
	if (pv_agent.respawn_ms && pv_agent.respawn_ms < first)
		first = pv_agent.respawn_ms;
	return first;
}
