/*
 * A client of a fleet with NATS' own library for C: asks a robot, watches a topic that it mirrors, keeps a job with a dead man
 * alive by sending ticks back, falls silent, and stops the robot. Prints a line for each. Arguments: the hub's URL, the robot.
 */
#include <nats/nats.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int64_t patience_ms = 30000;
static natsConnection *hub;
static natsSubscription *replies;
static const char *robot;

static void check(natsStatus status, const char *what) {
    if (status == NATS_OK) return;
    fprintf(stderr, "%s: %s\n", what, natsStatus_GetText(status));
    exit(1);
}

/* An empty text where there is no such header. */
static const char *header(natsMsg *message, const char *name) {
    const char *value = "";
    return natsMsgHeader_Get(message, name, &value) == NATS_OK ? value : "";
}

static const char *subject(const char *end) {
    static char text[256];
    snprintf(text, sizeof text, "te.%s.%s", robot, end);
    return text;
}

static void ask(const char *end, const char *body, const char *id) {
    natsMsg *request = NULL;
    check(natsMsg_Create(&request, subject(end), "_INBOX.c", body, (int)strlen(body)), "create");
    if (id != NULL) {
        check(natsMsgHeader_Set(request, "Task-Engine-Request", id), "header");
        check(natsMsgHeader_Set(request, "Task-Engine-Alive", "1"), "header");
    }
    check(natsConnection_PublishMsg(hub, request), "publish");
    natsMsg_Destroy(request);
}

static natsMsg *next(natsSubscription *from) {
    natsMsg *message = NULL;
    check(natsSubscription_NextMsg(&message, from, patience_ms), "next");
    return message;
}

static void print(const char *label, natsMsg *message) {
    const char *code = header(message, "Nats-Service-Error-Code");
    if (*code != '\0') printf("%s %s\n", label, code);
    else printf("%s %.*s\n", label, natsMsg_GetDataLength(message), natsMsg_GetData(message));
    natsMsg_Destroy(message);
}

int main(int count, char **arguments) {
    if (count != 3) return 2;
    robot = arguments[2];
    check(natsConnection_ConnectTo(&hub, arguments[1]), "connect");
    check(natsConnection_SubscribeSync(&replies, hub, "_INBOX.c"), "subscribe");
    natsSubscription *poses = NULL;
    check(natsConnection_SubscribeSync(&poses, hub, subject("data.pose")), "subscribe");

    ask("tasks.echo", "{\"args\": [\"from C\"]}", NULL);
    print("asked", next(replies));
    ask("tasks.tell", "{\"args\": [5]}", NULL);
    print("told", next(replies));
    print("pose", next(poses));

    ask("tasks.drive", "{}", "c-1");
    for (int ticks = 1;; ticks++) {
        natsMsg *message = next(replies);
        const char *tick = header(message, "Task-Engine-Tick");
        if (*tick == '\0') {
            print("then", message);
            break;
        }
        char alive[128];
        snprintf(alive, sizeof alive, "{\"request\": \"c-1\", \"tick\": %s}", tick);
        if (ticks == 1) printf("drives\n");
        if (ticks <= 10) check(natsConnection_PublishString(hub, subject("alive"), alive), "alive");
        natsMsg_Destroy(message);
    }

    ask("tasks.secret", "{}", NULL);
    print("refused", next(replies));
    ask("estop", "{\"reason\": \"by C\"}", NULL);
    natsMsg *stop = next(replies);
    bool is_durable = strstr(natsMsg_GetData(stop), "\"durable\":true") != NULL;
    printf("stopped %s %s\n", header(stop, "Task-Engine-Robot"), is_durable ? "durably" : "not durably");
    natsMsg_Destroy(stop);
    ask("control", "{\"command\": \"reset\"}", NULL);
    print("reset", next(replies));

    natsSubscription_Destroy(poses);
    natsSubscription_Destroy(replies);
    natsConnection_Destroy(hub);
    nats_Close();
    return 0;
}
