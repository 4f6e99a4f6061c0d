// Log pumps: from a container's FIFO (or terminal) to its log file, in the CRI format
// "2006-01-02T15:04:05.000000000Z stdout F line".
//
// The pipe is the only state. What is read is a copy (tee), what was written is then taken out of
// the pipe: killed at any moment, the supervisor loses nothing; at worst its successor writes the
// lines of one chunk again. An unfinished line stays in the pipe until its newline comes, or
// PV_PARTIAL_MS have passed, and is then written with the tag P.
#include "visor.h"
#include <poll.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <time.h>

struct pv_source *pv_pumps;
static int pump_count;
static int scratch[2] = {-1, -1}; // the pipe that tee copies into
static int nowhere = -1;          // /dev/null

#define STAMP_MAX 64
static char input[PV_CHUNK];
// The worst case is a chunk of empty lines, each with its own stamp; output is flushed when full.
static char output[PV_CHUNK * 2 + STAMP_MAX];

static int open_scratch(void) {
	if (scratch[0] >= 0)
		return 0;
	nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
	if (nowhere < 0 || pipe2(scratch, O_CLOEXEC | O_NONBLOCK))
		return -1;
	fcntl(scratch[1], F_SETPIPE_SZ, 1 << 20); // more slots than any stream has; else tee takes less
	return 0;
}

static int open_log(const char *path) {
	return open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
}

struct pv_pump *pv_pump_add(const char *id, char stream, int tty, const char *path, int fd) {
	struct pv_pump *p = calloc(1, sizeof *p);
	if (!p || pump_count == PV_PUMPS_MAX || open_scratch())
		goto fail;
	p->id = strdup(id);
	p->path = strdup(path);
	p->out = open_log(path);
	if (!p->id || !p->path || p->out < 0)
		goto fail;
	p->stream = stream;
	p->tty = tty;
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	// Edge-triggered, because an unfinished line is left in the pipe.
	if (pv_watch(&p->source, PV_PUMP, fd, EPOLLIN | EPOLLET))
		goto fail;
	p->source.next = pv_pumps;
	pv_pumps = &p->source;
	pump_count++;
	return p;
fail:
	if (p) {
		if (p->out > 0)
			close(p->out);
		free(p->id);
		free(p->path);
		free(p);
	}
	return NULL;
}

void pv_pump_close(struct pv_pump *p) {
	if (p->source.dead)
		return;
	pv_unwatch(&p->source);
	close(p->out);
	free(p->id);
	free(p->path);
	p->id = p->path = NULL;
	pump_count--;
}

int pv_pump_reopen(struct pv_pump *p) {
	int out = open_log(p->path);
	if (out < 0)
		return -1;
	close(p->out);
	p->out = out;
	return 0;
}

static size_t stamp(char *to, char stream, char tag) {
	static time_t second = -1;
	static char text[32];
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	if (t.tv_sec != second) {
		struct tm m;
		gmtime_r(&t.tv_sec, &m);
		strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &m);
		second = t.tv_sec;
	}
	return (size_t)snprintf(to, STAMP_MAX, "%s.%09ldZ std%s %c ", text, t.tv_nsec, stream == 'o' ? "out" : "err", tag);
}

// write_out appends whole lines to the log. If the disk refuses, the file is cut back to where it
// was, so that it stays well formed, and the lines are counted as dropped: a full disk must not
// stop the containers.
static void write_out(struct pv_pump *p, const char *data, size_t size) {
	struct stat st;
	size_t done = 0;
	if (!size || p->out < 0)
		return;
	while (done < size) {
		ssize_t n = write(p->out, data + done, size - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			break;
		done += (size_t)n;
	}
	if (done == size)
		return;
	pv_note(p->path, errno);
	p->dropped += size - done;
	if (!fstat(p->out, &st) && st.st_size >= (off_t)done && ftruncate(p->out, st.st_size - (off_t)done))
		pv_note("cutting a torn log line", errno);
}

struct lines {
	struct pv_pump *pump;
	size_t size; // bytes in output
};

static void put_line(struct lines *l, const char *text, size_t size, char tag) {
	if (l->size + STAMP_MAX + size + 1 > sizeof output) {
		write_out(l->pump, output, l->size);
		l->size = 0;
	}
	l->size += stamp(output + l->size, l->pump->stream, tag);
	memcpy(output + l->size, text, size);
	l->size += size;
	output[l->size++] = '\n';
}

// write_lines writes what is complete in input[0..size) and returns how many bytes that was. With
// `all`, an unfinished last line is written too.
static size_t write_lines(struct pv_pump *p, size_t size, int all) {
	struct lines l = {.pump = p};
	size_t at = 0;
	while (at < size) {
		size_t rest = size - at, look = rest < PV_LINE_MAX ? rest : PV_LINE_MAX;
		char *newline = memchr(input + at, '\n', look);
		if (newline) {
			size_t len = (size_t)(newline - (input + at));
			put_line(&l, input + at, len, 'F');
			at += len + 1;
		} else if (rest >= PV_LINE_MAX || all) {
			put_line(&l, input + at, look, 'P');
			at += look;
		} else {
			break;
		}
	}
	write_out(p, output, l.size);
	return at;
}

// consume takes the bytes that are in the log out of the stream.
static void consume(int fd, size_t size) {
	while (size > 0) {
		ssize_t n = splice(fd, NULL, nowhere, NULL, size, SPLICE_F_NONBLOCK);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return;
		size -= (size_t)n;
	}
}

// peek copies what the stream holds into input. It returns the bytes, 0 at the end, -1 for nothing now.
static ssize_t peek(struct pv_pump *p) {
	ssize_t n = tee(p->source.fd, scratch[1], sizeof input, SPLICE_F_NONBLOCK);
	if (n <= 0)
		return n;
	size_t have = 0;
	while (have < (size_t)n) {
		ssize_t r = read(scratch[0], input + have, (size_t)n - have);
		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			break;
		have += (size_t)r;
	}
	return (ssize_t)have;
}

// ended tells whether the stream has no writer left, so that an unfinished line never gets its newline.
static int ended(int fd) {
	struct pollfd p = {.fd = fd};
	return poll(&p, 1, 0) == 1 && (p.revents & POLLHUP);
}

static void run_fifo(struct pv_pump *p, int all) {
	for (;;) {
		int last = ended(p->source.fd);
		ssize_t n = peek(p);
		if (n == 0) {
			pv_pump_close(p);
			return;
		}
		if (n < 0)
			break;
		size_t used = write_lines(p, (size_t)n, last || all);
		consume(p->source.fd, used);
		if (used == 0) {
			if (!p->partial_ms)
				p->partial_ms = pv_clock_ms();
			return;
		}
	}
	p->partial_ms = 0;
}

// run_tty reads a terminal's master. An error means that no process has the terminal open just
// now, which may change: the agent closes this pump when the container is gone.
static void run_tty(struct pv_pump *p) {
	// Asked first, because a holder of the same terminal may have made reading block.
	struct pollfd ready = {.fd = p->source.fd, .events = POLLIN};
	while (poll(&ready, 1, 0) == 1 && (ready.revents & POLLIN)) {
		ssize_t n = read(p->source.fd, input, sizeof input);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return;
		write_lines(p, (size_t)n, 1);
	}
}

void pv_pump_run(struct pv_pump *p) {
	if (p->tty)
		run_tty(p);
	else
		run_fifo(p, 0);
}

// pv_pump_flush writes an unfinished line too. A program that is being started elsewhere may hold a copy
// of the stream until it execs, so a container's end is not always the stream's.
void pv_pump_flush(struct pv_pump *p) {
	if (p->tty)
		run_tty(p);
	else
		run_fifo(p, 1);
}

void pv_pump_tick(int64_t now) {
	for (struct pv_source *s = pv_pumps; s; s = s->next) {
		struct pv_pump *p = (struct pv_pump *)s;
		if (s->dead || !p->partial_ms || now - p->partial_ms < PV_PARTIAL_MS)
			continue;
		p->partial_ms = 0;
		run_fifo(p, 1);
	}
}

int64_t pv_pump_deadline(void) {
	int64_t first = INT64_MAX;
	for (struct pv_source *s = pv_pumps; s; s = s->next) {
		struct pv_pump *p = (struct pv_pump *)s;
		if (!s->dead && p->partial_ms && p->partial_ms + PV_PARTIAL_MS < first)
			first = p->partial_ms + PV_PARTIAL_MS;
	}
	return first;
}
