// Messages: how they are cut into fields, received and sent.
#include "visor.h"
#include <limits.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

static uint32_t little32(const char *p) {
	const unsigned char *u = (const unsigned char *)p;
	return (uint32_t)u[0] | (uint32_t)u[1] << 8 | (uint32_t)u[2] << 16 | (uint32_t)u[3] << 24;
}

// count_fields checks every length against what is there, and that each field is one whole C
// string: a NUL at its end and none inside. It returns the number of fields or -1.
static long count_fields(const char *body, size_t size) {
	long n = 0;
	for (size_t at = 0; at < size; n++) {
		if (size - at < 5 || n == PV_FIELDS_MAX)
			return -1;
		size_t len = little32(body + at);
		at += 4;
		if (len >= size - at || body[at + len] != 0 || memchr(body + at, 0, len))
			return -1;
		at += len + 1;
	}
	return n;
}

// pv_parse takes the body (allocated with malloc) whether or not it succeeds.
int pv_parse(struct pv_message *m, char *body, size_t size) {
	long n = count_fields(body, size);
	m->body = body;
	m->size = size;
	if (n <= 0)
		return -1;
	m->field = calloc((size_t)n, sizeof *m->field);
	if (!m->field)
		return -1;
	m->count = (size_t)n;
	size_t at = 0;
	for (long i = 0; i < n; i++) {
		m->field[i] = body + at + 4;
		at += 4 + (size_t)little32(body + at) + 1;
	}
	return 0;
}

void pv_free_message(struct pv_message *m) {
	for (int i = 0; i < m->nfds; i++)
		if (m->fds[i] >= 0)
			close(m->fds[i]);
	free(m->field);
	free(m->body);
	memset(m, 0, sizeof *m);
}

const char *pv_get_string(struct pv_message *m) {
	if (m->next >= m->count) {
		m->failed = 1;
		return "";
	}
	return m->field[m->next++];
}

long pv_get_long(struct pv_message *m, long min, long max) {
	const char *s = pv_get_string(m);
	char *end;
	errno = 0;
	long v = strtol(s, &end, 10);
	if (m->failed || end == s || *end || errno || v < min || v > max) {
		m->failed = 1;
		return min;
	}
	return v;
}

char **pv_get_list(struct pv_message *m) {
	long n = pv_get_long(m, 0, PV_FIELDS_MAX);
	if (m->failed || (size_t)n > m->count - m->next) {
		m->failed = 1;
		n = 0;
	}
	char **list = calloc((size_t)n + 1, sizeof *list);
	if (!list) {
		m->failed = 1;
		return NULL;
	}
	for (long i = 0; i < n; i++)
		list[i] = m->field[m->next++];
	return list;
}

int pv_take_fd(struct pv_message *m) {
	for (int i = 0; i < m->nfds; i++)
		if (m->fds[i] >= 0) {
			int fd = m->fds[i];
			m->fds[i] = -1;
			return fd;
		}
	return -1;
}

static int reserve(struct pv_buffer *b, size_t more) {
	if (b->room - b->size >= more)
		return 0;
	size_t room = (b->size + more) * 2;
	char *data = realloc(b->data, room);
	if (!data)
		return -1;
	b->data = data;
	b->room = room;
	return 0;
}

void pv_put(struct pv_buffer *b, const char *s) {
	size_t len = strlen(s);
	if (len > PV_BODY_MAX || reserve(b, len + 5))
		return;
	unsigned char *p = (unsigned char *)b->data + b->size;
	p[0] = len & 255, p[1] = len >> 8 & 255, p[2] = len >> 16 & 255, p[3] = len >> 24 & 255;
	memcpy(p + 4, s, len + 1);
	b->size += len + 5;
}

// pv_put_bytes puts what is no string. It has no length, so it comes last.
void pv_put_bytes(struct pv_buffer *b, const char *data, size_t size) {
	if (size == 0 || reserve(b, size))
		return;
	memcpy(b->data + b->size, data, size);
	b->size += size;
}

void pv_put_long(struct pv_buffer *b, long long v) {
	char s[32];
	snprintf(s, sizeof s, "%lld", v);
	pv_put(b, s);
}

// collect_fds keeps every descriptor that arrived, or closes those that have no room.
static int collect_fds(struct msghdr *h, struct pv_message *m) {
	int bad = 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			int fd;
			memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
			if (m->nfds < PV_FDS_MAX) {
				m->fds[m->nfds++] = fd;
			} else {
				close(fd);
				bad = 1;
			}
		}
	}
	return bad ? -1 : 0;
}

// read_body replaces a message that only says BODY with what its memfd, the last descriptor, holds.
static int read_body(struct pv_message *m) {
	struct stat st;
	int fd = m->nfds > 0 ? m->fds[m->nfds - 1] : -1;
	if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_size <= 0 || st.st_size > PV_BODY_MAX)
		return -1;
	size_t size = (size_t)st.st_size;
	char *body = malloc(size);
	if (!body)
		return -1;
	if (pread(fd, body, size, 0) != (ssize_t)size) {
		free(body);
		return -1;
	}
	close(fd);
	m->nfds--;
	free(m->field);
	free(m->body);
	m->field = NULL;
	m->count = 0;
	return pv_parse(m, body, size);
}

int pv_receive(int fd, struct pv_message *m) {
	static char packet[PV_PACKET_MAX];
	union {
		char data[CMSG_SPACE(PV_FDS_MAX * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec io = {.iov_base = packet, .iov_len = sizeof packet};
	struct msghdr h = {.msg_iov = &io, .msg_iovlen = 1, .msg_control = control.data, .msg_controllen = sizeof control.data};
	memset(m, 0, sizeof *m);
	ssize_t n = recvmsg(fd, &h, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	int bad = collect_fds(&h, m);
	char *body = n > 0 && !bad && !(h.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) ? malloc((size_t)n) : NULL;
	if (body)
		memcpy(body, packet, (size_t)n);
	if (!body || pv_parse(m, body, (size_t)n) || (!strcmp(m->field[0], "BODY") && read_body(m))) {
		pv_free_message(m);
		return -1;
	}
	return 1;
}

int pv_send(int fd, struct pv_buffer *b, const int *fds, int nfds) {
	union {
		char data[CMSG_SPACE(PV_FDS_MAX * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec io = {.iov_base = b->data, .iov_len = b->size};
	struct msghdr h = {.msg_iov = &io, .msg_iovlen = 1};
	if (nfds > 0 && nfds <= PV_FDS_MAX) {
		memset(&control, 0, sizeof control);
		h.msg_control = control.data;
		h.msg_controllen = CMSG_SPACE((size_t)nfds * sizeof(int));
		struct cmsghdr *c = CMSG_FIRSTHDR(&h);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN((size_t)nfds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, (size_t)nfds * sizeof(int));
	}
	ssize_t n = sendmsg(fd, &h, MSG_NOSIGNAL | MSG_DONTWAIT);
	free(b->data);
	memset(b, 0, sizeof *b);
	return n < 0 ? -1 : 0;
}

// A client that does not read its answers is cut off: nothing here may block.
static void send_or_drop(struct pv_conn *c, struct pv_buffer *b) {
	if (pv_send(c->source.fd, b, NULL, 0))
		pv_drop_conn(c);
}

void pv_reply_ok(struct pv_conn *c) {
	struct pv_buffer b = {0};
	pv_put(&b, "OK");
	send_or_drop(c, &b);
}

void pv_reply_error(struct pv_conn *c, int err, const char *what) {
	struct pv_buffer b = {0};
	pv_put(&b, "ERR");
	pv_put_long(&b, err);
	pv_put(&b, what);
	send_or_drop(c, &b);
}
