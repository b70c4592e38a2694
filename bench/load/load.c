/* A load generator that costs next to nothing: HTTP/1.1 with keep-alive, or WebSocket, over epoll.
 *
 * load MODE PORT DEPTH SECONDS ANSWER < PLAN
 *
 * MODE is http or ws. PLAN is made beforehand and holds, for each connection, the bytes that open it
 * (none for HTTP), how many frames its peer greets it with, and the messages that it sends in turn, as
 * they go on the wire. Each connection keeps DEPTH messages open until SECONDS have passed, and then
 * waits for what is open. Answers come in the order of the messages. An answer is right if its status
 * is 2xx, or, over WebSocket, if its payload begins with the hexadecimal ANSWER, where ".." is any byte
 * and "-" any answer; one that is wrong ends the run. It is for peers that are well: it knows answers of
 * a Content-Length and chunked ones, and data frames that are whole, and everything else is an error.
 *
 * One line of JSON says what was measured: calls, seconds, CPU seconds of this process, and the
 * latencies' percentiles in microseconds.
 *
 * PLAN, all numbers little-endian and of 32 bits: connections; then for each: bytes and opening,
 * greetings, messages, then for each: bytes and message.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { INPUT_BYTES = 1 << 16, EVENTS = 256, PATIENCE_MS = 30000, MARKS = 5 };

typedef struct {
    const char *at;
    uint32_t bytes;
} Piece;

typedef struct {
    int socket;
    Piece opening;
    Piece *messages;
    uint32_t count, next, greetings;
    /* A ring of when the open messages were sent. */
    double *sent;
    uint32_t oldest, open;
    char input[INPUT_BYTES];
    uint32_t have;
    char *output;
    size_t output_bytes, output_room;
} Connection;

static double *latencies;
static size_t calls, room;
static uint32_t depth;
static int over_websocket;
static unsigned char answer[64], answer_mask[64];
static size_t answer_bytes;

static void fail(const char *what) {
    fprintf(stderr, "load: %s\n", what);
    exit(1);
}

static void *need(void *memory) {
    if (memory == NULL) fail("out of memory");
    return memory;
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static double cpu(void) {
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* The plan. */

static char *plan;
static size_t plan_at, plan_end;

static void read_plan(void) {
    size_t room_of_plan = 1 << 20;
    plan = need(malloc(room_of_plan));
    for (;;) {
        size_t read_now = fread(plan + plan_end, 1, room_of_plan - plan_end, stdin);
        if (read_now == 0) return;
        plan_end += read_now;
        if (plan_end == room_of_plan) plan = need(realloc(plan, room_of_plan *= 2));
    }
}

static uint32_t plan_number(void) {
    const unsigned char *at = (const unsigned char *)plan + plan_at;
    if (plan_end - plan_at < 4) fail("the plan is cut off");
    plan_at += 4;
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static Piece plan_piece(void) {
    Piece piece = {.bytes = plan_number()};
    if (plan_end - plan_at < piece.bytes) fail("the plan is cut off");
    piece.at = plan + plan_at;
    plan_at += piece.bytes;
    return piece;
}

static void read_answer(const char *text) {
    if (strcmp(text, "-") == 0) return;
    for (; text[0] != '\0' && text[1] != '\0' && answer_bytes < sizeof answer; text += 2) {
        unsigned byte = 0;
        if (strncmp(text, "..", 2) != 0) {
            if (sscanf(text, "%2x", &byte) != 1) fail("ANSWER is not hexadecimal");
            answer_mask[answer_bytes] = 0xff;
        }
        answer[answer_bytes++] = (unsigned char)byte;
    }
}

/* Sending. */

static void flush(Connection *connection) {
    size_t done = 0;
    while (done < connection->output_bytes) {
        ssize_t sent = send(connection->socket, connection->output + done,
                            connection->output_bytes - done, MSG_NOSIGNAL);
        if (sent < 0) fail("the peer takes nothing, or has closed the connection");
        done += (size_t)sent;
    }
    connection->output_bytes = 0;
}

static void put(Connection *connection, Piece piece) {
    size_t wanted = connection->output_bytes + piece.bytes;
    if (wanted > connection->output_room) {
        connection->output = need(realloc(connection->output, wanted * 2));
        connection->output_room = wanted * 2;
    }
    memcpy(connection->output + connection->output_bytes, piece.at, piece.bytes);
    connection->output_bytes = wanted;
}

static void put_message(Connection *connection, double at) {
    put(connection, connection->messages[connection->next]);
    connection->next = (connection->next + 1) % connection->count;
    connection->sent[(connection->oldest + connection->open++) % depth] = at;
}

static void answered(Connection *connection, double at) {
    if (connection->open == 0) fail("an answer to nothing");
    if (calls == room) {
        room = room ? 2 * room : 1 << 16;
        latencies = need(realloc(latencies, room * sizeof *latencies));
    }
    latencies[calls++] = at - connection->sent[connection->oldest];
    connection->oldest = (connection->oldest + 1) % depth;
    connection->open--;
}

/* Receiving. Each of these gives the bytes of a whole answer or frame at `at`, or 0 for not yet. */

static const char *header(const char *at, const char *end, const char *name) {
    size_t length = strlen(name);
    for (const char *line = at; line < end;) {
        if (strncasecmp(line, name, length) == 0 && line[length] == ':') return line + length + 1;
        line = memchr(line, '\n', (size_t)(end - line));
        if (line == NULL) return NULL;
        line++;
    }
    return NULL;
}

static size_t http_head(const char *at, size_t have) {
    const char *end = memmem(at, have, "\r\n\r\n", 4);
    return end == NULL ? 0 : (size_t)(end - at) + 4;
}

static size_t chunks(const char *at, size_t from, size_t have) {
    for (;;) {
        const char *line = memmem(at + from, have - from, "\r\n", 2);
        if (line == NULL) return 0;
        size_t size = strtoul(at + from, NULL, 16);
        from = (size_t)(line - at) + 2 + size + 2;
        if (from > have) return 0;
        if (size == 0) return from;
    }
}

static size_t http_answer(const char *at, size_t have) {
    size_t head = http_head(at, have);
    if (head == 0) return 0;
    if (strncmp(at, "HTTP/1.1 2", 10) != 0) {
        fprintf(stderr, "load: answered %.*s\n", (int)(have < 400 ? have : 400), at);
        exit(1);
    }
    const char *length = header(at, at + head, "content-length");
    if (length != NULL) {
        size_t whole = head + strtoul(length, NULL, 10);
        return whole > have ? 0 : whole;
    }
    if (header(at, at + head, "transfer-encoding") == NULL) fail("an answer of no known length");
    return chunks(at, head, have);
}

static size_t websocket_frame(const unsigned char *at, size_t have, int *data) {
    if (have < 2) return 0;
    size_t head = 2, size = at[1] & 0x7f;
    if (size == 127) fail("a frame is too large");
    if (size == 126) {
        head = 4;
        if (have < head) return 0;
        size = (size_t)at[2] << 8 | at[3];
    }
    if (have < head + size) return 0;
    int code = at[0] & 0x0f;
    if (code == 8) {
        fprintf(stderr, "load: closed with %.*s\n", (int)size, at + head);
        exit(1);
    }
    *data = code == 1 || code == 2;
    if (*data && !(at[0] & 0x80)) fail("a frame in parts");
    return head + size;
}

static void check_frame(const unsigned char *at, size_t bytes) {
    size_t head = (at[1] & 0x7f) == 126 ? 4 : 2;
    int right = bytes - head >= answer_bytes;
    for (size_t i = 0; right && i < answer_bytes; i++)
        right = (at[head + i] & answer_mask[i]) == (answer[i] & answer_mask[i]);
    if (!right) {
        fprintf(stderr, "load: answered ");
        for (size_t i = head; i < bytes && i < head + 200; i++) fprintf(stderr, "%02x", at[i]);
        fprintf(stderr, "\n");
        exit(1);
    }
}

/* Take in what has arrived; the calls that it answers are told from `at` on. */
static uint32_t receive(Connection *connection) {
    ssize_t got = recv(connection->socket, connection->input + connection->have,
                       INPUT_BYTES - connection->have, 0);
    if (got <= 0) fail(got == 0 ? "the peer closed a connection" : "the peer does not answer");
    connection->have += (uint32_t)got;
    double at = now();
    uint32_t from = 0, ended = 0;
    for (;;) {
        char *next = connection->input + from;
        size_t have = connection->have - from, bytes;
        if (!over_websocket) {
            if ((bytes = http_answer(next, have)) == 0) break;
            answered(connection, at);
            ended++;
        } else if (connection->opening.bytes) {
            if ((bytes = http_head(next, have)) == 0) break;
            if (strncmp(next, "HTTP/1.1 101", 12) != 0) fail("the peer refuses WebSockets");
            connection->opening.bytes = 0;
        } else {
            int data = 0;
            if ((bytes = websocket_frame((unsigned char *)next, have, &data)) == 0) break;
            if (data && connection->greetings) {
                connection->greetings--;
            } else if (data) {
                check_frame((unsigned char *)next, bytes);
                answered(connection, at);
                ended++;
            }
        }
        from += (uint32_t)bytes;
    }
    connection->have -= from;
    memmove(connection->input, connection->input + from, connection->have);
    if (connection->have == INPUT_BYTES) fail("an answer is too large");
    return ended;
}

static void open_connection(Connection *connection, int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct timeval patience = {.tv_sec = PATIENCE_MS / 1000};
    int on = 1;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connection->socket = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connection->socket < 0) fail("no socket");
    setsockopt(connection->socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(connection->socket, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(connection->socket, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (connect(connection->socket, (struct sockaddr *)&address, sizeof address) != 0)
        fail("the peer does not listen");
    put(connection, connection->opening);
    flush(connection);
    while (connection->opening.bytes || connection->greetings) receive(connection);
}

static int by_size(const void *left, const void *right) {
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static void report(double seconds, double cpu_seconds) {
    static const double marks[MARKS] = {50, 90, 99, 99.9, 100};
    qsort(latencies, calls, sizeof *latencies, by_size);
    printf("{\"calls\": %zu, \"seconds\": %.6f, \"cpu_seconds\": %.6f, \"percentiles\": {", calls,
           seconds, cpu_seconds);
    for (int i = 0; i < MARKS; i++) {
        size_t rank = (size_t)(marks[i] / 100 * (double)(calls - 1) + 0.5);
        printf("%s\"%g\": %.1f", i ? ", " : "", marks[i], latencies[rank] * 1e6);
    }
    printf("}}\n");
}

int main(int count, char **words) {
    if (count != 6) fail("usage: load MODE PORT DEPTH SECONDS ANSWER < PLAN");
    over_websocket = strcmp(words[1], "ws") == 0;
    int port = atoi(words[2]);
    depth = (uint32_t)atoi(words[3]);
    double seconds = atof(words[4]);
    read_answer(words[5]);
    read_plan();
    uint32_t connections = plan_number();
    Connection *all = need(calloc(connections, sizeof *all));
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    for (uint32_t i = 0; i < connections; i++) {
        Connection *connection = &all[i];
        connection->opening = plan_piece();
        connection->greetings = plan_number();
        connection->count = plan_number();
        connection->messages = need(calloc(connection->count, sizeof(Piece)));
        for (uint32_t j = 0; j < connection->count; j++) connection->messages[j] = plan_piece();
        connection->sent = need(calloc(depth, sizeof(double)));
        open_connection(connection, port);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, connection->socket, &event) != 0) fail("no epoll");
    }
    double began = now(), began_cpu = cpu(), ends = began + seconds, last = began;
    uint64_t open = 0;
    for (uint32_t i = 0; i < connections; i++) {
        for (uint32_t j = 0; j < depth; j++) put_message(&all[i], now());
        flush(&all[i]);
        open += depth;
    }
    struct epoll_event events[EVENTS];
    while (open > 0) {
        int ready = epoll_wait(epoll, events, EVENTS, PATIENCE_MS);
        if (ready <= 0) fail("the peer does not answer");
        for (int i = 0; i < ready; i++) {
            Connection *connection = events[i].data.ptr;
            uint32_t ended = receive(connection);
            last = now();
            if (last >= ends) {
                open -= ended;
            } else if (ended) {
                while (ended--) put_message(connection, last);
                flush(connection);
            }
        }
    }
    report(last - began, cpu() - began_cpu);
    return 0;
}
