/**
 * Every bound of the engine, with its unit and its reason. `memoryBytesMax` at the end adds up what they allow.
 * Words: noun first, unit and qualifier last.
 */

/* ── What may travel ─────────────────────────────────────────────────────────────────────────────────────────────── */

/** bytes. One frame: an argument of 1 MB with room for its escapes; a camera picture fits. More is answered TOO_LARGE. */
export const frameBytesMax = 2 * 1024 * 1024;

/** bytes. libzmq cuts the connection above it, before it takes the memory; above `frameBytesMax`, so that an honest mistake gets an answer. */
export const frameBytesHardMax = 16 * 1024 * 1024;

/** TASK frames of one batch. */
export const batchTasksMax = 1000;

/** frames of one message without its envelope: META and a whole batch. */
export const messageFramesMax = 1 + batchTasksMax;

/** bytes of those frames: a batch's parts are as large as one argument each, or few. Decoding it blocks the router for seconds at worst. */
export const messageBytesMax = 16 * 1024 * 1024;

/** frames of an envelope: the peer's routing id and some proxies on the way. */
export const envelopeFramesMax = 8;

/** bytes of an envelope: two routing ids of the longest kind. It is kept with every job that waits, a part of `jobBytes`. */
export const envelopeBytesMax = 512;

/** nested lists and objects of one frame. Deeper than any argument, far from the depth that overflows a stack. */
export const jsonDepthMax = 64;

/** characters of META's `serial`, a task's name and a topic. */
export const serialLengthMax = 64;
export const nameLengthMax = 128;

/** characters of a message to a person in an ERR, a log line of a stranger's making. */
export const errorMessageLengthMax = 1000;

/* ── What may wait ───────────────────────────────────────────────────────────────────────────────────────────────── */

/** jobs that wait in the router. A robot that is 16,000 commands behind is not helped by more. */
export const queueJobsMax = 16_384;

/** bytes of the TASK frames that wait in the router. */
export const queueBytesMax = 64 * 1024 * 1024;

/** jobs that a worker may hold, the running one included: enough that its next job is there before the last one's reply is out. */
export const workerCreditMax = 64;

/** ms of expected work that a worker may hold beyond the running job; what takes longer is handed over one at a time. */
export const workerCreditMs = 2;

/** jobs that wait in a worker, those of its own port included. */
export const workerQueueJobsMax = 2048;

/** jobs that a worker has from its own port: what the router hands it always fits beside them. */
export const directJobsMax = workerQueueJobsMax - workerCreditMax;

/** bytes of the TASK frames of all of those. */
export const directBytesMax = 64 * 1024 * 1024;

/** jobs of one client at a worker's own port that have not ended, and their bytes: a whole batch fits, and another client's beside it. */
export const directJobsPerClientMax = 1024;
export const directBytesPerClientMax = directBytesMax / 2;

/** file descriptors of one process, connections above all: beyond, new ones wait. Some 4,000 connections cost it 140 MB. */
export const descriptorsMax = 4096;

/** descriptors that are kept free of it, for what comes in until the next look and for files; no more than a quarter of what there are. */
export const descriptorsReserve = 64;

/**
 * connections that may wait in the kernel to be taken in: whoever comes when there are as many tries again a second later, and then
 * after three. All the clients of a restarted router come at once.
 */
export const backlogConnectionsMax = 1024;

/** ms that a connection may take to say who it is; then it is closed. A Pi's CURVE handshake takes less than a tenth of one second. */
export const handshakeMs = 5_000;

/** ms between two looks at how many descriptors are left, where more than half of them are in use; else there is one a beat. */
export const connectionLookMs = 500;

/** bytes without the end of a message, of a connection that is cut for it: twice what the largest message has. */
export const endlessBytesMin = 2 * messageBytesMax;

/**
 * bytes of all unfinished messages of requestors past libzmq, over all of their connections, beyond 64 KiB that each has anyway: one of
 * the longest kind finds room beside others. The connection whose message finds none is ended.
 */
export const unfinishedBytesMax = 2 * endlessBytesMin;

/** ms that such a message may take from its first byte to its last: memory carries the longest in a tenth of a second. */
export const unfinishedMsMax = 10_000;

/** bytes of replies to all requestors past libzmq that have not read what they were sent before; what is beyond is dropped and counted. */
export const unsentBytesMax = 64 * 1024 * 1024;

/**
 * messages of one connection that libzmq takes in before they are read; the rest waits in the kernel's buffers and at the sender. They
 * are counted, not their bytes: each may have the largest size. Fewer would be better for that, but what waits behind a full queue is
 * not seen by a router that catches up after a halt: it must not begin a job of which the cancellation is there already.
 */
export const arrivalsMax = 1024;

/** bytes by which a process grows before it gives back what it has no more use for. */
export const freedBytesMax = 32 * 1024 * 1024;

/** messages that wait in libzmq for one peer that does not read: a requestor with 10,000 replies to come fits. */
export const peerQueueMessagesMax = 16_384;

/** bytes of one message past libzmq, unless less is said, and of what one peer has not read yet: all that a worker of the engine's own may hold. */
export const localBytesMax = (workerCreditMax + 1) * frameBytesMax;

/** bytes of one direction of a connection past libzmq that its reader has not taken: what is more waits at the writer's. A power of two. */
export const localRingBytes = 256 * 1024;

/** bytes that a character of a string (as its length counts them) takes in UTF-8 at the most. */
export const charBytesMax = 3;

/** reads of one connection past libzmq for one message, before others have their turn. */
export const localReadsMax = 16;

/** connections to a port from its own machine past libzmq: beyond, whoever comes goes the other way. */
export const localRequestorsMax = 256;

/** bytes of one message of a subscriber: a topic of the longest name, and what encryption adds. */
export const subscriberFrameBytesMax = 1024;

/**
 * messages of one subscriber that libzmq takes in before they are read, and bytes that it takes from its connection at a time. It
 * reads them all at one stroke, into a queue and a tree without a bound, for as long as more come: with more than these, who
 * sends them fast enough has it never come back. (With 1, nothing arrives over CURVE.)
 */
export const subscriberArrivalsMax = 2;
export const subscriberBatchBytes = 64;

/** messages that wait in libzmq for one subscriber that does not read; then the newest are dropped for it alone. */
export const subscriberQueueMessagesMax = 256;

/** bytes of one message of a client's batch; more parts go into the next one. One frame of the largest size fits. */
export const clientBatchBytesMax = 4 * 1024 * 1024;

/** messages of one batch of a client that are in flight, or answered and not read yet: enough that no worker waits for the next. */
export const clientBatchesMax = 4;

/** ms that parts of a batch are gathered before they go out, where they come slowly. */
export const clientBatchGatherMs = 20;

/** jobs of one client that the router has and has not answered, and their bytes: a quarter of what may wait is left to the others. */
export const jobsPerClientMax = (queueJobsMax / 4) * 3;
export const bytesPerClientMax = (queueBytesMax / 4) * 3;

/** requests of one client that wait for their answers, and the bytes of those: as much as the router takes from one. */
export const clientRequestsMax = jobsPerClientMax;
export const clientBytesMax = bytesPerClientMax;

/** values that wait in a client's subscription for a program that reads too slowly; then the oldest go. */
export const subscriptionValuesMax = 1024;
export const subscriptionBytesMax = 16 * 1024 * 1024;

/** last values that a subscription has asked for and not got: a part of what waits for one subscriber in the data worker. */
export const subscriptionAwaitedMax = 64;

/** subscriptions of one client to one data port, over all of its connections: every topic by its name, on four of them. */
export const subscriptionsMax = 4 * 4096;

/** bytes of all those prefixes: libzmq keeps some 75 bytes for each of them, 40 MB at most. */
export const subscriptionPrefixBytesMax = 512 * 1024;

/** the same of all clients: 160 MB at most. */
export const allPrefixBytesMax = 4 * subscriptionPrefixBytesMax;

/** topics of which a data worker keeps the last value, and the bytes of all those values. */
export const topicsMax = 4096;
export const topicBytesMax = 64 * 1024 * 1024;

/** topics of which a worker keeps the newest value for a router that does not read, and ms between two tries to send them. */
export const unsentTopicsMax = 64;
export const publishRetryMs = 10;

/** workers of all kinds that the router knows at a time. */
export const workersMax = 256;

/** those that are not the engine's own, which always find room, should they be started anew. */
export const strangeWorkersMax = workersMax / 2;

/** lines in the log on workers that are not admitted, each of them once: ids are chosen by who sends them. */
export const refusalLinesMax = 64;

/** endpoints of data workers, dead ones included: each keeps its share of the topics. */
export const dataEndpointsMax = 64;

/** tasks that one worker may serve. */
export const workerTasksMax = 1024;

/* ── What a request may ask ─────────────────────────────────────────────────────────────────────────────────────── */

/** Priorities go from 0 to this; the highest goes first. */
export const priorityMax = 9;
export const priorityDefault = 5;

/** ms that a job may be overtaken for by jobs one priority higher: what makes the wait of the lowest bounded (90 s). */
export const priorityHeadStartMs = 10_000;

/** ms. The longest limit that can be set; a timer holds it, and nobody waits longer for a robot. */
export const durationMsMax = 7 * 24 * 3600 * 1000;

/** ms from the abort signal until the worker of a job that has not let go is killed; a task can ask for another. */
export const abortGraceMs = 500;

/** ms from the abort signal of an emergency stop until the worker of a job that has not let go is killed. */
export const stopGraceMs = 100;

/** ms that one run of a task's `onStop` may take unless it says another time; how often it is run before it is given up, until `reset`. */
export const onStopMs = 1_000;
export const onStopTriesMax = 3;

/** ms that a process that makes the robot safe may take in all: its start, the task files, every try. Then it is killed. */
export const safeMs = 20_000;

/** ms in which a router that takes part in an emergency stop answers. One that does not is killed with the task workers. */
export const routerAnswerMs = 300;

/** ms that the disk may take until an emergency stop is on it; then it is said that it is not known to be. */
export const latchMs = 1_900;

/** ms from an emergency stop to its answer: the disk's time, and the supervisor's to say so. */
export const stopAnswerMs = 2_000;

/** requestors that wait for the answer to an emergency stop; a further one is told at once that it is not known to be on the disk. */
export const stopAnswersMax = 1_024;

/** ms that a start waits for the end of what the engine before has left: killed workers, and the process that makes the robot safe. */
export const predecessorMs = safeMs + 10_000;

/** ms between two looks at whether it has ended. */
export const predecessorLookMs = 50;

/** connections to the socket of the emergency stop; at one more the oldest goes, so that nobody can keep others out. */
export const stopConnectionsMax = 16;

/** s that such a connection may say nothing, and bytes that it may say: a reason, and some. */
export const stopSilenceSeconds = 5;
export const stopLineBytesMax = 1024;

/** ms. The shortest time in which a requestor must show that it is there; and how often it does within its time. */
export const deadmanMsMin = 50;
export const keepAlivesPerDeadman = 4;

/** ms that a router which was held up reads what has come meanwhile at the most, before it looks at limits of time. */
export const stallReadMsMax = 250;

/**
 * ms without work after which a process reads what has come before anything begins, and how long that may take: no longer than
 * it was away, so that a flood cannot keep it reading, and less than `routerAnswerMs`, since it answers nothing meanwhile.
 */
export const catchUpAfterMs = 100;
export const catchUpMsMax = 250;

/** resources of one task. */
export const resourcesMax = 16;

/** requestors that wait for the end of an emergency stop. */
export const resetsMax = 64;

/** jobs that wait of which an emergency stop ends so many in a row: nobody moves by their answers, and others are urgent then. */
export const clearingJobsMax = 64;

/** characters of the reason of an emergency stop. */
export const stopReasonLengthMax = 200;

/** tries of an idempotent task, the first included, unless it says another number; and the most it can say. */
export const triesDefault = 3;
export const triesMax = 10;

/** ms before the second try; doubled for each further one, up to the limit. */
export const retryBackoffMs = 100;
export const retryBackoffMsMax = 10_000;

/** workers that one job may kill before it is refused for what it is. */
export const killsMax = 3;

/** ms between two progress reports of one job; of those in between the newest is kept. */
export const progressIntervalMs = 100;

/** ms that the router waits for the supervisor's word on which jobs of a dead worker had begun. */
export const verdictMs = 1_000;

/* ── How long ────────────────────────────────────────────────────────────────────────────────────────────────────── */

/** ms between a worker's beats, and until one that is silent is given up: of two beats one may be late. */
export const beatIntervalMs = 3_000;
export const beatSilenceMs = 6_500;

/** beats of a worker in a row to which nothing comes until the next one, after which it gives the router up. */
export const unansweredBeatsMax = 2;

/** ms that a process may take from its start to its report that it is online; a Pi Zero with a cold SD card needs some. */
export const onlineMs = 30_000;

/** ms that a client waits, if nobody says otherwise, for a connection and for answers that cost the engine no work. */
export const requestTimeoutMs = 5_000;

/** ms that a client waits for the end of an emergency stop: its workers' end, then all that makes the robot safe, then the disk. */
export const resetTimeoutMs = safeMs + 10_000;

/** ms without an answer after which a person is told what is waited for. */
export const resetNoticeMs = 1_000;

/** ms that a client waits for a task's result, if nobody says otherwise: longer than most, short of "for ever". */
export const callTimeoutMs = 60_000;

/** ms until a client connects again after it has lost its connection; libzmq waits as long at first, where there is nobody yet. */
export const reconnectMs = 50;
export const reconnectMsMax = 1_000;

/**
 * ms that a client waits for a connection before it looks why there is none, and between two such looks; ms that who listens may take
 * to say what it is.
 */
export const probeAfterMs = 50;
export const probeEveryMs = 1_000;
export const probeAnswerMs = 500;

/** ms that who listens at a Unix socket may take to answer the first message there; then the other way is tried. */
export const localAnswerMs = 1_000;

/** ms that closing Unix sockets may take to send what is left: those of workers and of requestors follow one another, and libzmq's come then. */
export const localLingerMs = 300;

/** ms in which a process waits for one that does not read once at the most. */
export const localStallPauseMs = 1_000;

/** ms between two looks of a client whether who serves it is alive, and until one that is halted, or whose cable is cut, is given up. */
export const requestorBeatMs = 2_000;
export const requestorSilenceMs = 6_000;

/** ms between two tries of a client to send what its connection has not taken yet; the first come quicker. */
export const sendRetryMsMax = 50;

/** ms that a process that is done may take to get rid of its last output, to a reader that may have stopped reading. */
export const lastOutputMs = 1_000;

/** characters of what a process says that wait for a reader who does not read; what comes beyond that is lost, and counted. */
export const unreadLogLengthMax = 4 * 1024 * 1024;

/** ms between two tries to write what a reader has had no room for; doubled at each, and no longer than the second. */
export const outputRetryMs = 1;
export const outputRetryMsMax = 32;

/** ms between two tries of a worker to connect to its engine's router: doubled at each, and no longer than the second. */
export const localRetryMs = 10;
export const localRetryMsMax = 1_000;

/**
 * ms without a read of the router after which a worker waits no longer until what it has said is out, and goes on with its tasks: a busy
 * machine may keep the processor from the router for some of them.
 */
export const localStallMs = 100;

/** ms that it waits at the most, be it that the other reads a little at a time. */
export const localStallMsMax = 200;

/** ms that closing sockets may take to send what is left. */
export const lingerMs = 1_000;

/** ms that the socket of a closed client may take to send its last cancellations. */
export const clientLingerMs = 200;

/** ms between two looks of a person who watches the engine. */
export const watchIntervalMs = 1_000;

/** ms that a person who has pressed Ctrl-C waits for the engine's word that the job has ended: its grace, and some. */
export const cancelAnswerMs = 2_000;

/** ms that a client waits, when its time is over, for the engine's word whether what it cancels then had begun. */
export const cancelVerdictMs = 250;

/** ms that a worker waits for the router before it says that none answers; it goes on waiting. */
export const routerAbsentMs = 3_000;

/** ms that a worker that leaves waits for the router's word that it knows. */
export const goodbyeMs = 500;

/**
 * ms of jobs after which a worker looks at its memory, where that has a limit: a hundred times what the look takes, and too short for a
 * task to fill more than some MiB.
 */
export const recycleLookMs = 2;

/** ms until a killed process is reported as one that cannot be killed. */
export const killMs = 5_000;

/** ms that a process may take to end once it is told to: closing sockets may linger for `lingerMs`. Then it is killed. */
export const terminateMs = 2_500;

/** ms that what was said may take to arrive: a process's last words after its end, a worker's end at the router. */
export const lastWordsMs = 500;

/** ms in which a second Ctrl-C is the echo of a launcher (npx), not a person's: nobody presses it twice so fast and means it. */
export const interruptEchoMs = 400;

/** ms from the router's last answers to its end. A requestor with ZMQ_IMMEDIATE loses what it has not read when the connection closes. */
export const farewellMs = 100;

/** ms until a process that died is started again: doubled at each death in a row, and no longer than the second. */
export const restartDelayMs = 100;
export const restartDelayMsMax = 5_000;

/** ms that the connection of a client whose right was taken back stands on, for the answers that say so; what it says meanwhile is refused. */
export const partingMs = 200;

/** deaths of workers within so many ms that jobs of one task have caused, after which it is closed: one may be an accident, two bad luck. */
export const quarantineDeaths = 3;
export const quarantineWindowMs = 60_000;

/** ms without a death after which a process counts as sound again. */
export const restartCalmMs = 30_000;

/** ms that a stop can take beyond the grace for running jobs: their abort, the end of the workers, the task of `on-stop`, then the end of the router, by force if need be. */
export const stopMsMax = 2 * (terminateMs + killMs) + abortGraceMs + lastWordsMs + 2 * safeMs + farewellMs;

/** tries to tell systemd something, and ms between them: two seconds, in which it may be busy with starting the machine. */
export const notifyTriesMax = 40;
export const notifyRetryMs = 50;

/* ── What may be configured ──────────────────────────────────────────────────────────────────────────────────────── */

/** processes of one kind of worker: many times the cores of a robot's computer. */
export const workerProcessesMax = 64;

/** ms of grace for running jobs at a stop: nobody waits longer than ten minutes for a robot to stop. */
export const graceMsMax = 600_000;

/** restarts in their window, and ms of that window (a day): the supervisor remembers each of them. */
export const restartsMax = 1_000;
export const restartWindowMsMax = 86_400_000;

/** jobs after which a task worker may be replaced. */
export const workerJobsMax = 1_000_000_000;

/** MiB of memory above which a task worker may be replaced: less than it has from the start would have it replaced for ever. */
export const workerMemoryMibMin = 128;
export const workerMemoryMibMax = 1024 * 1024;

/** bytes that a scan of the task files may print: all tasks with their policies. */
export const scanOutputBytesMax = 1024 * 1024;

/** characters of a message between the supervisor and a child: the tasks of such a scan, or a file of authorized clients, in JSON. */
export const channelLineLengthMax = 4 * 1024 * 1024;

/** bytes of a configuration file. */
export const configBytesMax = 256 * 1024;

/** characters of the file of authorized clients: a thousand of them with long lists of rights. */
export const authorizedTextLengthMax = 256 * 1024;

/** bytes of a file with a key. */
export const certificateBytesMax = 16 * 1024;

/** messages that one socket may give in a row before the others get their turn. */
export const drainMessagesMax = 64;

/** ms that sockets may be read in a row before timers, signals and the supervisor's messages get their turn. */
export const socketsTurnMs = 5;

/** ms, and runs in a row: a task that was over as quickly as often may have the answers before it wait for its own. */
export const quickRunMs = 0.2;
export const quickRunsMin = 16;

/** ms that an answer may wait so for others. */
export const answerDelayMs = 1;

/** jobs of one message between router and worker. */
export const messageJobsMax = 64;

/* ── Tasks ───────────────────────────────────────────────────────────────────────────────────────────────────────── */

/** ms that a task file may take to load: it may open a port or a bus, but it may not wait for a sensor that is not there. */
export const taskLoadMs = 10_000;

/** ms that short tasks may run back to back before sockets and timers get their turn. */
export const taskSliceMs = 10;

/** reasons within what a task has thrown (`errors`, causes and theirs) that are told. */
export const thrownReasonsMax = 8;

/** characters, and lines, that the log has of what a task has thrown: a deep stack and those of its causes. */
export const thrownTextLengthMax = 16 * 1024;
export const thrownLinesMax = 100;

/** failures of tasks that a worker writes to its log in a second; the rest is counted. An SD card outlives that. */
export const failureLogsPerSecondMax = 5;

/** bytes of all results of batches that wait for the rest of theirs. */
export const batchResultBytesMax = 64 * 1024 * 1024;

/** tasks of which run times are kept. */
export const statisticsTasksMax = 1024;

/** bytes that the router keeps of a job besides its frame: objects, map entries, the requestor's address. */
export const jobBytes = 2_048;

/**
 * bytes that all of this can cost the router at most, at the worst mix of everything at once: what waits, the jobs' own
 * bookkeeping, what the workers hold, the results of batches, what is unfinished or unsent of messages past libzmq with the rings and buffers
 * of their connections, and the log of one frame in each direction. What libzmq keeps is not in it, for it counts
 * messages of each connection, not bytes: `arrivalsMax` that are not read yet, and `peerQueueMessagesMax` for a peer that does not read.
 * What bounds that in all is the number of connections and, in the unit, `MemoryMax=`.
 */
export const memoryBytesMax =
  queueBytesMax +
  (queueJobsMax + workersMax * workerCreditMax) * jobBytes +
  batchResultBytesMax +
  unfinishedBytesMax +
  unsentBytesMax +
  localRequestorsMax * (2 * localRingBytes + 2 * 64 * 1024) +
  2 * frameBytesHardMax;
