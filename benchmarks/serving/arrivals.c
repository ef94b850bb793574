/* The open loop of arrivals.py: one thread around one epoll, which sleeps while nothing is due.

       arrivals IP PORT CONNECTIONS PATIENCE_S

   in a folder with these files:

       times      float64, seconds from the start, increasing
       lengths    int64, bytes of each question, at least one
       questions  the questions, one after the other

   It writes beside them sent and answered (float64, NaN where never), status (int64), and begun,
   one float64: the start in seconds since 1970. Of an answer it reads the status and
   Content-Length, no more; without a Content-Length an answer has no body.

   A wake-up costs as much as a request, so nothing wakes for an answer while a request can be sent
   on time without it. The kernel notes when each answer came, and that is what counts. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/queue.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define NICE -10    /* before the server, where allowed: a late clock would blame the server */
#define TICK 0.0002 /* seconds between two wake-ups, at least */
#define BURST 16    /* requests sent before answers are looked for again */
#define READ 64     /* answers read before what is due is sent */
#define HEAD 8192   /* bytes of the head of an answer, with what comes of the body along with it */
#define BROKEN -1   /* the status of a request whose connection was closed instead of an answer */
#define IDLE -1     /* in place of a request */
#define OPENING -2

struct connection { /* one request at a time */
    TAILQ_ENTRY(connection) queue;
    long request;       /* or IDLE, or OPENING */
    const char *unsent; /* the rest of its question */
    int64_t left;       /* bytes of that rest */
    int64_t missing;    /* bytes of the body of the answer that is coming */
    int status;         /* of that answer; 0 until its head is whole */
    int have;           /* bytes of head */
    int fd;
    char head[HEAD + 1];
};

static TAILQ_HEAD(, connection) idle = TAILQ_HEAD_INITIALIZER(idle); /* in turn: none is spared */
static struct sockaddr_in address = {.sin_family = AF_INET};
static int epoll;
static long opening, in_flight; /* connections */
static double begin;            /* on the monotonic clock */
static double *times, *sent, *answered;
static int64_t *status, *lengths;
static long count, kinds; /* of requests, and of questions */
static const char **questions;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static double seconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec + 1e-9 * now.tv_nsec;
}

static struct timespec span(double seconds, double least) {
    if (seconds < least) seconds = least;
    return (struct timespec){seconds, 1e9 * (seconds - (long)seconds)};
}

static double elapsed(void) { return seconds(CLOCK_MONOTONIC) - begin; }

static void set(struct connection *c, int level, int option) {
    int yes = 1;
    if (setsockopt(c->fd, level, option, &yes, sizeof yes) < 0) fail("setsockopt");
}

static void watch(struct connection *c, int how, uint32_t events) {
    struct epoll_event wanted = {.events = events, .data.ptr = c};
    if (epoll_ctl(epoll, how, c->fd, &wanted) < 0) fail("epoll_ctl");
}

/* Begin to connect, anew where it was; with a full backlog the others go on meanwhile. */
static void open_one(struct connection *c) {
    if (c->fd) close(c->fd);
    if ((c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0)) < 0) fail("socket");
    set(c, IPPROTO_TCP, TCP_NODELAY);
    set(c, SOL_SOCKET, SO_TIMESTAMPNS);
    if (connect(c->fd, (void *)&address, sizeof address) < 0 && errno != EINPROGRESS)
        fail("connect");
    c->request = OPENING;
    c->left = 0;
    opening++;
    watch(c, EPOLL_CTL_ADD, EPOLLOUT);
}

static void rest(struct connection *c) {
    c->request = IDLE;
    c->status = c->have = 0;
    TAILQ_INSERT_TAIL(&idle, c, queue);
}

static void opened(struct connection *c) {
    socklen_t size = sizeof errno;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &errno, &size);
    if (errno) fail("connect");
    opening--;
    watch(c, EPOLL_CTL_MOD, EPOLLIN);
    rest(c);
}

static void finish(struct connection *c, int how, double age) {
    answered[c->request] = elapsed() - age;
    status[c->request] = how;
    in_flight--;
    /* Where the answer came before the end of its question, no other can follow. */
    if (how == BROKEN || c->left)
        open_one(c);
    else
        rest(c);
}

/* Send what the socket takes, and watch for room as long as that is not all. */
static void push(struct connection *c, int watched) {
    ssize_t taken = send(c->fd, c->unsent, c->left, MSG_NOSIGNAL);
    if (taken < 0 && errno != EAGAIN) {
        finish(c, BROKEN, 0);
        return;
    }
    if (taken < 0) taken = 0;
    c->unsent += taken;
    c->left -= taken;
    if (watched != (c->left > 0)) watch(c, EPOLL_CTL_MOD, c->left ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

static void ask(long request) {
    struct connection *c = TAILQ_FIRST(&idle);
    TAILQ_REMOVE(&idle, c, queue);
    c->request = request;
    c->unsent = questions[request % kinds];
    c->left = lengths[request % kinds];
    in_flight++;
    sent[request] = elapsed();
    push(c, 0);
}

/* Seconds since the last bytes of a message came; the kernel notes that on the other clock. */
static double age(struct msghdr *message) {
    struct timespec came;
    struct cmsghdr *note = CMSG_FIRSTHDR(message);
    if (!note || note->cmsg_type != SO_TIMESTAMPNS) return 0;
    memcpy(&came, CMSG_DATA(note), sizeof came);
    return seconds(CLOCK_REALTIME) - came.tv_sec - 1e-9 * came.tv_nsec;
}

static int64_t body_length(const char *head) {
    for (const char *line = head; (line = strstr(line, "\r\n")); line += 2)
        if (!strncasecmp(line + 2, "content-length:", 15)) return atoll(line + 17);
    return 0;
}

/* Take note of so many more bytes: the status of a whole answer, BROKEN, or 0 for not yet. */
static int read_on(struct connection *c, ssize_t got) {
    if (got <= 0) return got < 0 && errno == EAGAIN ? 0 : BROKEN;
    if (c->status) {
        c->missing -= got;
    } else {
        c->have += got;
        char *end = memmem(c->head, c->have, "\r\n\r\n", 4);
        if (!end) return 0;
        *end = 0;
        c->status = strncmp(c->head, "HTTP/1.", 7) ? BROKEN : atoi(c->head + 9);
        c->missing = end + 4 - c->head + body_length(c->head) - c->have;
    }
    if (c->status < 100 || c->missing < 0) return BROKEN; /* no answer to this question */
    return c->missing ? 0 : c->status;
}

static void receive(struct connection *c) {
    /* The rest of a body is thrown away within the kernel. A head that does not end fills its room,
       and the next read, of no bytes, then looks like the end of the connection. */
    struct iovec room = {c->head + c->have, HEAD - c->have}, nowhere = {NULL, c->missing};
    char notes[CMSG_SPACE(sizeof(struct timespec))];
    struct msghdr message = {.msg_iov = c->status ? &nowhere : &room, .msg_iovlen = 1,
                             .msg_control = notes, .msg_controllen = sizeof notes};
    int how = read_on(c, recvmsg(c->fd, &message, c->status ? MSG_TRUNC : 0));
    if (how) finish(c, how, how == BROKEN ? 0 : age(&message));
}

static void react(struct connection *c, uint32_t events) {
    if (c->request == OPENING) {
        opened(c);
    } else if (c->request == IDLE) { /* closed, or told what nobody asked */
        TAILQ_REMOVE(&idle, c, queue);
        open_one(c);
    } else if (events & EPOLLOUT) {
        push(c, 1);
    } else {
        receive(c);
    }
}

static void react_within(double most) {
    struct epoll_event events[READ];
    struct timespec time = span(most, 0);
    int found = epoll_pwait2(epoll, events, READ, &time, NULL);
    if (found < 0 && errno != EINTR) fail("epoll_pwait2");
    for (int i = 0; i < found; i++) react(events[i].data.ptr, events[i].events);
}

static void play(double patience) {
    double now, end = count ? times[count - 1] + patience : 0;
    for (long next = 0; (next < count || in_flight) && (now = elapsed()) < end;) {
        int burst = 0, can = 0;
        while ((can = next < count && !TAILQ_EMPTY(&idle)) && times[next] <= now && burst < BURST) {
            ask(next++);
            now = elapsed();
            burst++;
        }
        struct timespec pause = span(can ? times[next] - now : 0, TICK);
        if (burst < BURST) nanosleep(&pause, NULL);
        react_within(can || burst == BURST ? 0 : end - now);
    }
}

static void *room_for(long numbers, size_t size) {
    void *found = calloc(numbers + 1, size); /* one more, because none would be NULL */
    if (!found) fail("memory");
    return found;
}

static void *load(const char *name, long *numbers, size_t size) {
    FILE *file = fopen(name, "rb");
    if (!file || fseek(file, 0, SEEK_END)) fail(name);
    *numbers = ftell(file) / size;
    rewind(file);
    void *found = room_for(*numbers, size);
    if (fread(found, size, *numbers, file) != (size_t)*numbers || fclose(file)) fail(name);
    return found;
}

static void save(const char *name, const void *numbers, long how_many) {
    FILE *file = fopen(name, "wb");
    size_t wanted = how_many;
    if (!file || fwrite(numbers, 8, wanted, file) != wanted || fclose(file)) fail(name);
}

static void load_all(void) {
    long bytes;
    times = load("times", &count, 8);
    lengths = load("lengths", &kinds, 8);
    const char *next = load("questions", &bytes, 1);
    questions = room_for(kinds, sizeof *questions);
    for (long i = 0; i < kinds; next += lengths[i++]) questions[i] = next;
    sent = room_for(count, 8);
    answered = room_for(count, 8);
    status = room_for(count, 8);
    for (long i = 0; i < count; i++) sent[i] = answered[i] = NAN;
}

/* By default a process has too few descriptors for that, and its sleep ends 50 us too late. */
static void prepare(void) {
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    prctl(PR_SET_TIMERSLACK, 1UL);
    nice(NICE);
}

int main(int argc, char **argv) {
    if (argc != 5 || !inet_pton(AF_INET, argv[1], &address.sin_addr)) return 2;
    address.sin_port = htons(atoi(argv[2]));
    long connections = atol(argv[3]);
    prepare();
    load_all();
    if ((epoll = epoll_create1(0)) < 0) fail("epoll");
    struct connection *all = room_for(connections, sizeof *all);
    for (long i = 0; i < connections; i++) open_one(all + i);
    while (opening) react_within(1);
    double begun = seconds(CLOCK_REALTIME);
    begin = seconds(CLOCK_MONOTONIC);
    play(atof(argv[4]));
    save("begun", &begun, 1);
    save("sent", sent, count);
    save("answered", answered, count);
    save("status", status, count);
}
