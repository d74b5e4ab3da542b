/** All limits of the engine, with unit and reason. Names: noun first, unit and qualifier last. */

/* ── What may travel ── */

/**
 * bytes of one frame, so that an argument of 1 MB with escapes or a camera picture fits; else
 * TOO_LARGE.
 */
export const frameBytesMax = 2 * 1024 * 1024;
/**
 * bytes of one frame, above which libzmq ends the connection without taking the memory. Above
 * `frameBytesMax`, to answer mistakes.
 */
export const frameBytesHardMax = 16 * 1024 * 1024;
/** TASK frames of one batch. */
export const batchTasksMax = 1000;
/** frames of one message without its envelope: META and a whole batch. */
export const messageFramesMax = 1 + batchTasksMax;
/** bytes of those frames. Decoding them blocks the router for seconds at worst. */
export const messageBytesMax = 16 * 1024 * 1024;
/** frames of an envelope: the peer's routing id and some proxies. */
export const envelopeFramesMax = 8;
/**
 * bytes of an envelope: two of the longest routing ids. Each waiting job keeps it, as a part of
 * `jobBytes`.
 */
export const envelopeBytesMax = 512;
/** nested lists and objects of one frame: deeper than any argument, far from a stack overflow. */
export const jsonDepthMax = 64;
/** characters of META's `serial`, a task's name and a topic. */
export const serialLengthMax = 64;
export const nameLengthMax = 128;
/** characters of the message in an ERR, and of a log line with untrusted text. */
export const errorMessageLengthMax = 1000;

/* ── What may wait ── */

/** jobs that wait in the router. More would not help a robot that is 16,000 commands behind. */
export const queueJobsMax = 16_384;
/** bytes of the TASK frames that wait in the router. */
export const queueBytesMax = 64 * 1024 * 1024;
/**
 * jobs in a worker, the running one included: its next job is there before the last reply is out.
 */
export const workerCreditMax = 64;
/**
 * ms of expected work in a worker beyond the running job. Longer jobs are dispatched one at a time.
 */
export const workerCreditMs = 2;
/** jobs that wait in a worker, those of its own port included. */
export const workerQueueJobsMax = 2048;
/** jobs in a worker from its own port: jobs from the router always fit beside them. */
export const directJobsMax = workerQueueJobsMax - workerCreditMax;
/** bytes of the TASK frames of those. */
export const directBytesMax = 64 * 1024 * 1024;
/**
 * jobs of one client at a worker's own port, and their bytes: a batch fits, and another client's
 * beside it.
 */
export const directJobsPerClientMax = 1024;
export const directBytesPerClientMax = directBytesMax / 2;
/** file descriptors of one process; further connections wait. 4,000 connections take 140 MB. */
export const descriptorsMax = 4096;
/** descriptors that stay free for files and until the next look; at most a quarter of all. */
export const descriptorsReserve = 64;
/**
 * connections that wait in the kernel: all clients of a restarted router at once. Others retry
 * after 1 s.
 */
export const backlogConnectionsMax = 1024;
/** ms of a handshake. A Pi takes less than 100 for CURVE. */
export const handshakeMs = 5_000;
/**
 * ms between two looks at free descriptors while more than half are in use; else with each
 * heartbeat.
 */
export const connectionLookMs = 500;
/**
 * bytes without the end of a message, after which a connection is cut: two of the largest messages.
 */
export const endlessBytesMin = 2 * messageBytesMax;
/**
 * bytes of all unfinished messages of requestors on local connections, beyond 64 KiB for each
 * connection. A connection that exceeds it is ended.
 */
export const unfinishedBytesMax = 2 * endlessBytesMin;
/** ms of an unfinished message, first byte to last. Memory takes 100 for the longest. */
export const unfinishedMsMax = 10_000;
/** bytes of replies that local requestors have not read. Further ones are dropped and counted. */
export const unsentBytesMax = 64 * 1024 * 1024;
/**
 * messages of one connection in libzmq that nobody has read; each may have the largest size. With
 * fewer, a router that catches up after a halt would not see a cancellation behind them.
 */
export const arrivalsMax = 1024;
/** bytes by which a process grows before it returns freed memory to the system. */
export const freedBytesMax = 32 * 1024 * 1024;
/** messages that wait in libzmq for one peer: 10,000 replies fit. */
export const peerQueueMessagesMax = 16_384;
/**
 * bytes of one local message, and of unread ones for one peer: all jobs of one of the engine's own
 * workers.
 */
export const localBytesMax = (workerCreditMax + 1) * frameBytesMax;
/**
 * bytes of one direction of a local connection; further ones wait in the sender. A power of two.
 */
export const localRingBytes = 256 * 1024;
/** bytes of a local message that goes through the ring in parts, and may be kept without a copy. */
export const localLongBytes = localRingBytes / 4;
/**
 * buffers of long messages that a process keeps for the next ones, and bytes of each: 4 MiB at
 * most.
 */
export const spareBuffersMax = 4;
export const spareBufferBytesMax = 1024 * 1024;
/** bytes of one UTF-16 unit in UTF-8. */
export const charBytesMax = 3;
/** reads of one local connection for one message, before others have their turn. */
export const localReadsMax = 16;
/** local connections to one port; further ones use ZeroMQ. */
export const localRequestorsMax = 256;
/** bytes of one message of a subscriber: the longest topic, encrypted. */
export const subscriberFrameBytesMax = 1024;
/**
 * messages of one subscriber in libzmq, and bytes that it reads at a time. libzmq takes all of them
 * into an unbounded tree in one go, so with more a fast sender keeps it from returning. With 1,
 * nothing arrives over CURVE.
 */
export const subscriberArrivalsMax = 2;
export const subscriberBatchBytes = 64;
/** messages that wait in libzmq for one subscriber; further ones are dropped for it alone. */
export const subscriberQueueMessagesMax = 256;
/**
 * bytes of one message of a client's batch; further parts go into the next one. One largest frame
 * fits.
 */
export const clientBatchBytesMax = 4 * 1024 * 1024;
/** messages of a client's batch in flight or unread: enough that no worker waits for the next. */
export const clientBatchesMax = 4;
/** ms for which slow parts of a batch are gathered. */
export const clientBatchGatherMs = 20;
/** unanswered jobs of one client in the router, and their bytes: a quarter is left to others. */
export const jobsPerClientMax = (queueJobsMax / 4) * 3;
export const bytesPerClientMax = (queueBytesMax / 4) * 3;
/** requests of one client that wait for answers, and their bytes: as many as the router accepts. */
export const clientRequestsMax = jobsPerClientMax;
export const clientBytesMax = bytesPerClientMax;
/**
 * values that wait in a client's subscription to an engine of an earlier version, and their bytes;
 * the oldest are dropped.
 */
export const subscriptionValuesMax = 1024;
export const subscriptionBytesMax = 16 * 1024 * 1024;
/** subscriptions of one client to one data port: every topic by its name, on four connections. */
export const subscriptionsMax = 4 * 4096;
/** bytes of their prefixes. libzmq keeps 75 bytes for each of these: 40 MB at most. */
export const subscriptionPrefixBytesMax = 512 * 1024;
/** the same of all clients: 160 MB at most. */
export const allPrefixBytesMax = 4 * subscriptionPrefixBytesMax;
/** topics that a client's subscription of 0.2 tells apart. */
export const topicsMax = 4096;
/** ms between two tries to give a worker's values to a router that does not read. */
export const publishRetryMs = 10;
/** workers of all kinds in the router. */
export const workersMax = 256;
/** workers from elsewhere; the engine's own always find room. */
export const strangeWorkersMax = workersMax / 2;
/** log lines on workers that are refused, one for each id, which the sender chooses. */
export const refusalLinesMax = 64;
/** endpoints of data workers, dead ones included: each keeps its share of the topics. */
export const dataEndpointsMax = 64;
/** tasks that one worker may serve. */
export const workerTasksMax = 1024;
/** sources of the task files: many times the sensors of a robot. */
export const sourcesMax = 256;

/* ── What a request may ask ── */

/** Priorities go from 0 to this; the highest goes first. */
export const priorityMax = 9;
export const priorityDefault = 5;
/** ms by which jobs with one priority more may overtake, so the lowest waits 90 s at most. */
export const priorityHeadStartMs = 10_000;
/** ms of the longest duration in an option. A timer can hold it. */
export const durationMsMax = 7 * 24 * 3600 * 1000;
/** ms of the longest delay of a job, and of the window of a unique one: a year, and a week. */
export const delayMsMax = 365 * 24 * 3600 * 1000;
export const uniqueWindowMsMax = durationMsMax;
/** ms from the abort signal until the worker is killed; a task can set another. */
export const abortGraceMs = 500;
/** the same at an emergency stop. */
export const stopGraceMs = 100;
/** ms of one run of a task's `onStop`, unless it sets another; runs until it is given up. */
export const onStopMs = 1_000;
export const onStopTriesMax = 3;
/** ms of the safe process in all: its start, the task files, every try. Then it is killed. */
export const safeMs = 20_000;
/**
 * ms in which a router must answer at an emergency stop; else it is killed with the task workers.
 */
export const routerAnswerMs = 300;
/** ms of the disk for an emergency stop; then the answer says that it may not be durable. */
export const latchMs = 1_900;
/** ms from an emergency stop to its answer. */
export const stopAnswerMs = 2_000;
/**
 * requestors that wait for the answer to an emergency stop; others get `durable: false` at once.
 */
export const stopAnswersMax = 1_024;
/** ms that a start waits for the rest of the last engine: killed workers, and its safe process. */
export const predecessorMs = safeMs + 10_000;
/** ms between two checks whether the last engine is gone. */
export const predecessorLookMs = 50;
/** connections to the stop socket; the oldest is closed, so that nobody can keep others out. */
export const stopConnectionsMax = 16;
/** s of silence and bytes of such a connection. */
export const stopSilenceSeconds = 5;
export const stopLineBytesMax = 1024;
/** ms of the shortest deadman time; keep-alives within a deadman time. */
export const deadmanMsMin = 50;
export const keepAlivesPerDeadman = 4;
/**
 * ticks within a dead man's time, where the far end of a connection proves by their echo that it is
 * there.
 */
export const ticksPerDeadman = 6;
/** ms for which a router reads after a stall, before it looks at its timers. */
export const stallReadMsMax = 250;
/**
 * ms of absence after which a process reads everything before a job begins, and ms of that reading:
 * not longer than the absence, so that a flood cannot prolong it, and less than `routerAnswerMs`.
 */
export const catchUpAfterMs = 100;
export const catchUpMsMax = 250;
/** resources of one task. */
export const resourcesMax = 16;
/** ms that a requestor may wait for the result of a job at a time. */
export const resultWaitMsMax = 3_600_000;
/** jobs, and lines of logs, of one answer to CONTROL `jobs` and `logs`. */
export const jobsPageMax = 100;
export const logPageMax = 1000;
/** bytes of the TASK frame of a job in a list, whose arguments are null in a longer one. */
export const listedArgumentsBytesMax = 4096;
/** ms by which the wall clock must jump to concern jobs with `notBefore`. */
export const clockJumpMs = 100;
/** `unique` keys of all tasks. */
export const uniqueKeysMax = 4096;
/** requestors that wait for the end of an emergency stop. */
export const resetsMax = 64;
/** requestors that wait for the end of a reload. */
export const reloadsMax = 64;
/** paused tasks, and as many paused schedules. */
export const pausedMax = 256;
/** requestors that wait until a pause or its end is on the disk. */
export const pauseAnswersMax = 64;
/** waiting jobs that an emergency stop ends in a row; other events are more urgent. */
export const clearingJobsMax = 64;
/** characters of the reason of an emergency stop. */
export const stopReasonLengthMax = 200;
/** tries of an idempotent task, the first included; the most that it can set. */
export const triesDefault = 3;
export const triesMax = 10;
/** ms before the second try; doubled for each further one, up to the limit. */
export const retryBackoffMs = 100;
export const retryBackoffMsMax = 10_000;
/** workers that one job may kill before it is refused. */
export const killsMax = 3;
/** ms between two progress reports of one job; the newest is kept. */
export const progressIntervalMs = 100;
/** ms for the supervisor's message on the jobs of a dead worker. */
export const verdictMs = 1_000;

/* ── How long ── */

/** ms. setTimeout takes no more. */
export const timerMsMax = 2 ** 31 - 1;
/** ms between two heartbeats of a worker, and of silence until it is given up: one may be late. */
export const beatIntervalMs = 3_000;
export const beatSilenceMs = 6_500;
/**
 * unanswered heartbeats in a row after which a worker gives the router up, and the supervisor a
 * source worker.
 */
export const unansweredBeatsMax = 2;
/** ms for a Python interpreter to say what it is, and to compile task_engine.py. */
export const pythonProbeMs = 20_000;
/** bytes that are read of each Python file to name its tasks where no interpreter can. */
export const pythonFileBytesMax = 1024 * 1024;
/** ms from the start of a process to `online`: a Pi Zero with a cold SD card needs some. */
export const onlineMs = 30_000;
/** ms by default for a connection, and for answers without work. */
export const requestTimeoutMs = 5_000;
/** ms of a reset: the workers end, the safe process runs, the disk is written. */
export const resetTimeoutMs = safeMs + 10_000;
/** ms without an answer after which a person is told the reason. */
export const resetNoticeMs = 1_000;
/** ms by default for a task's result. */
export const callTimeoutMs = 60_000;
/** ms until a client connects again; doubled up to the limit. */
export const reconnectMs = 50;
export const reconnectMsMax = 1_000;
/**
 * ms without a connection until a client looks for the reason, between two looks, and for the peer
 * to identify itself.
 */
export const probeAfterMs = 50;
export const probeEveryMs = 1_000;
export const probeAnswerMs = 500;
/** ms for the first answer at a Unix socket; then ZeroMQ is used. */
export const localAnswerMs = 1_000;
/**
 * ms for unsent output of closing Unix sockets. Those of workers, requestors and libzmq close one
 * after the other.
 */
export const localLingerMs = 300;
/** ms in which a process waits once at most for a peer that does not read. */
export const localStallPauseMs = 1_000;
/** ms between two heartbeats of a client, and of silence until its peer is given up. */
export const requestorBeatMs = 2_000;
export const requestorSilenceMs = 6_000;
/** ms between two tries of a client to send; the first are sooner. */
export const sendRetryMsMax = 50;
/** ms for the last output of a process, to a reader that may not read. */
export const lastOutputMs = 1_000;
/** characters of output that wait for a reader; further lines are lost and counted. */
export const unreadLogLengthMax = 4 * 1024 * 1024;
/** ms between two tries to write to a full reader; doubled up to the limit. */
export const outputRetryMs = 1;
export const outputRetryMsMax = 32;
/** ms between two tries of a worker to connect to its router; doubled up to the limit. */
export const localRetryMs = 10;
export const localRetryMsMax = 1_000;
/**
 * ms without a read of the router, after which a worker goes on with its tasks. A busy machine
 * takes some.
 */
export const localStallMs = 100;
/** ms of that wait in all, even if the router reads a little at a time. */
export const localStallMsMax = 200;
/** ms for unsent output of closing sockets. */
export const lingerMs = 1_000;
/** ms for the last cancellations of a closed client. */
export const clientLingerMs = 200;
/** ms between two updates for a person who watches the engine. */
export const watchIntervalMs = 1_000;
/** ms from one to the next at the least, however many events there are. */
export const watchPauseMs = 100;
/** events that it shows. */
export const statusEventsMax = 8;
/** ms from Ctrl-C to the end of the job: its grace, and some. */
export const cancelAnswerMs = 2_000;
/** ms from a timeout of a client to the answer to its cancellation. */
export const cancelVerdictMs = 250;
/** ms without a router after which a worker reports that, and continues to wait. */
export const routerAbsentMs = 3_000;
/** ms for the router to confirm that a worker leaves. */
export const goodbyeMs = 500;
/** ms of jobs between two looks of a worker at its memory: a hundred times the cost of a look. */
export const recycleLookMs = 2;
/** ms from SIGKILL until a process is reported as one that cannot be killed. */
export const killMs = 5_000;
/** ms from `stop` until a process is killed. Closing sockets may linger for `lingerMs`. */
export const terminateMs = 2_500;
/** ms for last messages to arrive. */
export const lastWordsMs = 500;
/** ms in which a second SIGINT under a launcher (npx) is its echo of the first. */
export const interruptEchoMs = 400;
/**
 * ms from the router's last answers to its end. A requestor with ZMQ_IMMEDIATE loses unread ones
 * then.
 */
export const lastAnswersMs = 100;
/** ms until a dead process is started again; doubled at each death in a row, up to the limit. */
export const restartDelayMs = 100;
export const restartDelayMsMax = 5_000;
/** ms from the revocation of a key to the end of its connections, for the answers that say so. */
export const partingMs = 200;
/**
 * deaths of workers by one task within so many ms that put it into quarantine. One or two may be
 * accidents.
 */
export const quarantineDeaths = 3;
export const quarantineWindowMs = 60_000;
/** ms without a death after which a process counts as sound again. */
export const restartCalmMs = 30_000;
/**
 * ms of a stop beyond the grace for jobs: their abort, the workers, the safe process, the router.
 */
export const stopMsMax = 2 * (terminateMs + killMs) + abortGraceMs + lastWordsMs + 2 * safeMs + lastAnswersMs;
/** tries to notify systemd, and ms between them. A machine that starts is busy for two seconds. */
export const notifyTriesMax = 40;
export const notifyRetryMs = 50;

/* ── What may be configured ── */

/** processes of one kind of worker: many times the cores of a robot's computer. */
export const workerProcessesMax = 64;
/** ms of grace for running jobs at a stop. */
export const graceMsMax = 600_000;
/** restarts in their window, and ms of that window (a day): the supervisor remembers each one. */
export const restartsMax = 1_000;
export const restartWindowMsMax = 86_400_000;
/** jobs after which a task worker may be replaced. */
export const workerJobsMax = 1_000_000_000;
/**
 * MiB of memory above which a worker may be replaced; with less, it would be at once.
 */
export const workerMemoryMibMin = 128;
export const workerMemoryMibMax = 1024 * 1024;
/** bytes of the output of a scan: all tasks with their policies. */
export const scanOutputBytesMax = 1024 * 1024;
/**
 * characters of a message between supervisor and child: a scan or the authorized clients, as JSON.
 */
export const channelLineLengthMax = 4 * 1024 * 1024;
/** bytes of a configuration file. */
export const configBytesMax = 256 * 1024;
/** characters of the file of authorized clients: a thousand of them with long lists of rights. */
export const authorizedTextLengthMax = 256 * 1024;
/** bytes of a file with a key. */
export const certificateBytesMax = 16 * 1024;
/** messages of one socket in a row, before others have their turn. */
export const drainMessagesMax = 64;
/** ms of reading sockets in a row, before timers, signals and the supervisor have their turn. */
export const socketsTurnMs = 5;
/** ms, and runs in a row, of a task that is quick: earlier answers may wait for its own. */
export const quickRunMs = 0.2;
export const quickRunsMin = 16;
/** ms for which an answer may wait so. */
export const answerDelayMs = 1;
/** jobs of one message between router and worker. */
export const messageJobsMax = 64;

/* ── The engine's own topics ── */

/** topics that a data worker may say to have subscribers: those of later versions, too. */
export const watchedTopicsMax = 64;
/** events that wait for a data worker, and their characters; further ones are lost and counted. */
export const eventsMax = 1024;
export const eventsLengthMax = 1024 * 1024;
/**
 * events of one message, and messages on their way to a data worker that has not confirmed them.
 */
export const messageEventsMax = 64;
export const eventMessagesMax = 4;
/** ms for which lines of a log wait for further ones, and lines of one message. */
export const logFeedMs = 50;
export const logFeedLinesMax = 256;
/** ms between the times of one line of a job in the job's log and in `$engine/log`, at most. */
export const logEventLateMs = 1_000;
/** bytes of a job's report of its progress in an event; it is null for a longer one. */
export const eventProgressLengthMax = 4096;
/** ms between two events of one resource: a quick job that takes it and frees it is none. */
export const resourceEventMs = 50;

/* ── Tasks ── */

/** ms for a task file to load: it may open a port or a bus, but not wait for an absent sensor. */
export const taskLoadMs = 10_000;
/** ms of short tasks in a row, before sockets and timers have their turn. */
export const taskSliceMs = 10;
/** reasons within an error (`errors`, causes and theirs) that are reported. */
export const thrownReasonsMax = 8;
/** characters and lines of an error in the log: a deep stack and those of its causes. */
export const thrownTextLengthMax = 16 * 1024;
export const thrownLinesMax = 100;
/**
 * bytes of the JSON Schema of a task's arguments, and of those of all tasks of a worker or of an
 * answer, which fit into one frame together.
 */
export const argumentSchemaBytesMax = 16 * 1024;
export const argumentSchemasBytesMax = 512 * 1024;
/**
 * failures of tasks in the log of a worker in a second; others are counted, to spare the SD card.
 */
export const failureLogsPerSecondMax = 5;
/** ms between two runs of a source: a timer's step, and a day. */
export const sourceEveryMsMin = 1;
export const sourceEveryMsMax = 86_400_000;
/** kinds of errors of one source that are logged; others are only counted. */
export const sourceErrorsMax = 8;
/** delays of one source that are kept between two reports: those of 1,000 runs a second. */
export const sourceDelaysMax = 4_096;
/** bytes of results of all batches that wait for the rest. */
export const batchResultBytesMax = 64 * 1024 * 1024;
/** tasks with run times. */
export const statisticsTasksMax = 1024;
/**
 * jobs of each of the two rings of the router's history, and bytes of results, arguments and errors
 * in each; the oldest go.
 */
export const endedJobsMax = 10_000;
export const endedBytesMax = 16 * 1024 * 1024;
/** bytes of the log of a job, and of the logs of all jobs in the router; the oldest lines go. */
export const jobLogBytesMax = 64 * 1024;
export const jobLogsBytesMax = 8 * 1024 * 1024;
/** bytes of an entry of the history beside those, and of a `unique` key. */
const endedJobBytes = 512;
const uniqueKeyBytes = 512;
/**
 * entries that the journal has not confirmed, and bytes of their frames; a request for a durable
 * job beyond them is STORE_FULL. A commit of 200 ms holds as many.
 */
export const journalUnconfirmedMax = 4_096;
export const journalUnconfirmedBytesMax = 16 * 1024 * 1024;
/** dead letters in the router, and bytes of their frames; the oldest ones are discarded. */
export const deadLettersMax = 1_000;
export const deadLettersBytesMax = 16 * 1024 * 1024;
/** bytes of a job in the router beside its frame: objects, map entries, the requestor's address. */
const jobBytes = 2_048;
/**
 * bytes of the router at most, with everything above at once. It does not include libzmq, which
 * counts messages and not bytes (`arrivalsMax`, `peerQueueMessagesMax`): the number of connections
 * bounds that, and `MemoryMax=` in the unit.
 */
export const memoryBytesMax =
  queueBytesMax +
  2 * eventsLengthMax +
  journalUnconfirmedBytesMax +
  deadLettersBytesMax +
  2 * (endedBytesMax + endedJobsMax * endedJobBytes) +
  uniqueKeysMax * uniqueKeyBytes +
  jobLogsBytesMax +
  (queueJobsMax + workersMax * workerCreditMax) * jobBytes +
  batchResultBytesMax +
  unfinishedBytesMax +
  unsentBytesMax +
  localRequestorsMax * (2 * localRingBytes + 2 * 64 * 1024) +
  2 * frameBytesHardMax;

/* ── The data plane ── */

/** bytes of one value, and the most that may be set: a picture of 8 MP without compression. */
export const dataBytesMax = 8 * 1024 * 1024;
export const dataBytesMaxMax = 32 * 1024 * 1024;
/**
 * bytes of all values that a data worker keeps, beside libzmq's queues, and ms that it keeps them.
 * The newest value of each topic is kept for ever. A Pi with 512 MB has room for so many.
 */
export const historyBytesMax = 32 * 1024 * 1024;
export const historyMs = 60_000;
/** the least and the most of these that may be set. */
export const historyBytesMin = 1024 * 1024;
export const historyBytesMaxMax = 4 * 1024 * 1024 * 1024;
/** ms between two looks for values that are too old, and with a shorter history. */
export const historyExpiryMs = 15_000;
export const historyExpiryMsMin = 1_000;
/** reasons by which a data worker counts what was lost there. */
export const dropKindsMax = 32;
/** bytes that a topic takes beside its values. */
export const topicBytesMin = 1_024;
/** bytes of values that lie in one piece of memory, and leave it together. */
export const topicChunkBytesMax = 256 * 1024;
/** pieces of that size that are kept for the next values when old ones leave: 2 MiB. */
export const spareChunksMax = 8;
/** bytes of META that is recognized without decoding; longer ones are decoded. */
export const metaTemplateBytesMax = 512;
/** local connections to a data worker; further ones use ZeroMQ. */
export const localPeersMax = 64;
/** subscriptions of a connection, and names and prefixes of a subscription. */
export const peerSubscriptionsMax = 64;
export const streamNamesMax = 256;
/** topics that a connection publishes without a new check of its right. */
export const peerTopicsMax = 256;
/** answers that wait for a peer to read; further ones are dropped and counted. */
export const peerAnswersMax = 1_024;
/** refusals of values that a connection remembers, by topic and code; ms before one is repeated. */
export const peerErrorsMax = 64;
export const errorRepeatMs = 1_000;
/** bytes of values that may be on their way to a subscriber, at most. */
export const creditBytesMax = 64 * 1024 * 1024;
/** values a second. */
export const maxHzMax = 100_000;
/** ms and values of a request for history. */
export const historyMsMax = 3_600_000;
export const historyValuesMax = 65_536;
/** ms by which the rate of a topic is told. */
export const rateWindowMs = 10_000;
/** topics of one answer to `topics`. */
export const topicsListedMax = 65_536;
/** bytes of all values that local publishers have begun and not ended. */
export const streamUnfinishedBytesMax = 2 * dataBytesMaxMax;
/** bytes of long values and answers that local subscribers have not read. */
export const streamUnsentBytesMax = 32 * 1024 * 1024;
/** ms without reading, after which one that takes of that memory is cut if others need it. */
export const stalledPeerMs = 1_000;
/** messages of one ZeroMQ peer in libzmq, each way; further values wait in the log. */
export const streamQueueMessagesMax = 1024;
/** ms for a data worker to confirm topics that another one hands over. */
export const handoverMs = 500;
/** topics that were handed over, and are not confirmed yet. */
export const handoverAheadMax = 32;
/** ms for all of them when a data worker ends: less than `terminateMs`. */
export const leavingHandoverMs = 1_000;
/** lines in the log on values that plain PUB sockets may not publish, one for each kind. */
export const logLinesOfRefusalsMax = 64;
/** bytes of a message beside its payload: topic, META and lengths. */
export const valueOverheadBytes = 64 * 1024;
/** ms after which a data worker tries again to send to a ZeroMQ peer whose queue was full. */
export const zmqRoomRetryMs = 5;
/**
 * bytes of a data worker at most, with the default settings and everything above at once, beside
 * libzmq, which counts messages and not bytes, and keeps `allPrefixBytesMax`.
 */
export const dataMemoryBytesMax =
  historyBytesMax +
  streamUnfinishedBytesMax +
  streamUnsentBytesMax +
  localPeersMax * (2 * localRingBytes + 2 * 64 * 1024) +
  2 * (dataBytesMax + valueOverheadBytes);
/** bytes of a message of the stream port: the largest value, its topic and META. */
export const dataMessageBytesMax = dataBytesMaxMax + valueOverheadBytes;
/** bytes that a publisher sends by ZeroMQ before the data worker has said that it has them. */
export const zmqWindowBytes = 1024 * 1024;
/**
 * bytes of values that wait for a data worker or for the router; beyond that the newest of each
 * topic is kept.
 */
export const unsentValuesBytesMax = 1024 * 1024;
/** values of a process between two looks of the data worker, if they are published in a row. */
export const gatheredValuesMax = 32;
/** topics of which a publisher remembers the data worker, or what was dropped. */
export const publisherTopicsMax = 4_096;
/** requests of one program to a data worker that wait for their answers. */
export const streamRequestsMax = 4_096;
/** bytes of a value that its reader keeps as text until it is decoded. */
export const valueTextBytesMax = 4_096;
/** bytes of values on their way to a subscriber, or not read by it yet; one more may exceed it. */
export const subscriberWindowBytes = 1024 * 1024;
/** the same where only the newest values count: less is old after a pause. */
export const latestWindowBytes = 64 * 1024;
/** ms without a look after which values that have come may be old. */
export const latestPauseMs = 20;
/**
 * topics of which a subscriber remembers the newest value that came: more than a data worker has.
 */
export const subscriberTopicsMax = 65_536;
/** ms of values that a subscriber asks for again after a loss, beside those since it last heard. */
export const subscriberMissedMs = 1_000;

/* ── Schedules ── */

/** ms from one run of a schedule to the next. A shorter interval is for a source. */
export const everyMsMin = 1000;
export const everyMsMax = 366 * 24 * 3600 * 1000;
/**
 * ms by which a run by wall time may be late, as after a restart; one later than that is missed.
 */
export const scheduleLateMsMax = 30_000;
/** ms of a jump back above which the wall clock was wrong before. */
export const clockCorrectionMsMin = 3 * 3600 * 1000;
/** ms for which cron waits for a clock that is synchronised. A Pi without a network has none. */
export const clockWaitMsMax = 10 * 60 * 1000;
/** schedules of one engine. */
export const schedulesMax = 256;

/* ── The journal ── */

/** entries of one message to the journal, and jobs of one message from it. */
export const journalEntriesMax = 64;
/** bytes of the frames of such a message; one entry may exceed it. */
export const journalMessageBytesMax = 2 * frameBytesMax;
/** bytes of the reply of a durable job that are kept; of a longer one only the code is. */
export const journalReplyBytesMax = 64 * 1024;
/**
 * ms for which a journal may be absent; then requests for durable jobs do not wait for it any more.
 */
export const journalAbsentMs = 10_000;
/** ms after which the router sends again what the disk has refused. */
export const journalRetryMs = 1_000;
/** ended jobs that a router reads at its start, the newest ones: their results can be asked for. */
export const recoveredJobsMax = 2_000;
/** ms and bytes of ended jobs that are kept. The older ones go first. */
export const retentionMs = 7 * 24 * 3600 * 1000;
export const retentionBytesMax = 50 * 1024 * 1024;
/** ms between two looks for ended jobs that are too old. */
export const retentionLookMs = 600_000;
/** jobs that go in one transaction then. */
export const retentionJobsMax = 1_000;
/** ms between two writes of history: the logs of ended jobs, and runs of schedules. */
export const historyFlushMs = 30_000;
/** bytes of history that wait for that, and bytes that a day may have: 20 GB in a year. */
export const historyWaitingBytesMax = 2 * 1024 * 1024;
export const historyDayBytesMax = 64 * 1024 * 1024;
/** bytes of a run of a schedule in the journal beside its frames. */
export const historyRunBytes = 256;
/** requests for the logs of ended jobs that wait for the journal, and ms for which each does. */
export const journalLogsMax = 64;
export const journalLogsMs = 2_000;
/** damaged files that are kept beside the journal, the newest ones. */
export const damagedFilesMax = 3;
/** bytes of the write-ahead log that stay when it begins anew. */
export const journalLogBytesMax = 4 * 1024 * 1024;

/* ── The gateway ── */

/** bytes of a JSON body: arguments of the largest TASK frame. */
export const gatewayJsonBytesMax = frameBytesMax;
/** ms for a whole body, first byte to last: a largest value over a slow phone's network. */
export const gatewayBodyMs = 20_000;
/** ms between two looks at the file of tokens. */
export const gatewayTokenLookMs = 1_000;
/**
 * requests in progress without those that stop the robot, and of these jobs: further ones get
 * QUEUE_FULL.
 */
export const gatewayRequestsMax = 512;
export const gatewayJobsMax = 128;
/** s of silence of a connection that sends no request, in steps of 4: slow headers end after 12. */
export const gatewayIdleSeconds = 10;
/** viewers: streams of events and pictures, and drive sockets. */
export const gatewayViewersMax = 2_048;
export const gatewayDriversMax = 16;
/** topics and prefixes of one viewer, and of all of them together. */
export const gatewayViewerNamesMax = 64;
export const gatewayFeedsMax = 256;
/** values a second of a topic for viewers: a plot or a picture needs no more. */
export const gatewayViewerHz = 20;
/**
 * events of the engine's own topics that wait for one viewer; older ones are dropped and counted.
 */
export const gatewayViewerEventsMax = 256;
/** bytes of one event that a viewer gets; a longer value is told without its data. */
export const gatewayEventBytesMax = 256 * 1024;
/** characters of the newest values of one name, which viewers to come get at once. */
export const gatewayNewestBytesMax = 1024 * 1024;
/** ms between two beats of a stream of events. */
export const gatewayBeatMs = 5_000;
/** labels of one metric, and ms without a scrape after which counts by task are forgotten. */
export const gatewayMetricSeriesMax = 1_024;
export const gatewayScrapeMsMax = 600_000;
/** ms for which a failed token waits for its answer, and answers that wait so. */
export const gatewayFailedTokenMs = 500;
export const gatewayFailedTokensMax = 64;
/** ms for which the list of tasks is taken as known. */
export const gatewayDirectoryMs = 1_000;
/** ms of the dead man of a drive socket. */
export const gatewayDeadmanMsMin = 100;
export const gatewayDeadmanMsMax = 10_000;
export const gatewayDeadmanMs = 300;
/** bytes of a message of a drive socket. */
export const gatewayDriveBytesMax = 16 * 1024;
/** calls of one drive socket that have not ended; the newest position waits for the next. */
export const gatewayDriveCallsMax = 4;
/** characters of `rights` in META's `onBehalf`, as JSON. */
export const onBehalfLengthMax = 4_096;

/* ── The link to a fleet ── */

/** characters of a task's name in a subject. */
export const linkTaskSubjectLengthMax = 128;
/** groups of one robot, and tasks that it offers to the fleet. */
export const linkGroupsMax = 16;
export const linkTasksMax = 512;
/** rights that the fleet has on one robot. */
export const linkRightsMax = 64;
/**
 * jobs, and other requests, of the fleet that have not been answered: further ones get QUEUE_FULL.
 */
export const linkJobsMax = 128;
export const linkCommandsMax = 64;
/** ms between two looks at the engine; what it says goes to those who ask in between. */
export const linkLookMs = 1_000;
/** ms after which the roster is told again how a robot is whose state has not changed. */
export const linkRosterMs = 30_000;
/** lines of `mirror`, and values a second of a topic that one may have. */
export const linkMirrorsMax = 32;
export const linkMirrorHzMax = 100;
/**
 * topics that a link mirrors, and bytes of their newest values, which it keeps for a hub that is
 * lost.
 */
export const linkMirrorTopicsMax = 256;
export const linkMirrorBytesMax = 8 * 1024 * 1024;
/**
 * bytes of the headers of a mirrored value at most: META and a content type, each with its name.
 */
export const linkMirrorHeaderBytesMax = 1_024;
/**
 * ms between two values of a topic in the bucket of the fleet, and for which it keeps the last one.
 */
export const linkMirrorStoreMs = 1_000;
export const linkMirrorKeptMs = 7 * 24 * 3600 * 1000;
/**
 * bytes that a link's JavaScriptCore takes for the memory of the machine: its heap stays small
 * under load.
 */
export const linkRamBytes = 48 * 1024 * 1024;
/** ms for another link of the same name to answer, at the start of one. */
export const linkNamesakeMs = 500;
/**
 * jobs that a fleet keeps for later: all of them, those of one robot or group and one task, and
 * bytes of them.
 */
export const fleetJobsMax = 100_000;
export const fleetJobsPerQueueMax = 1_000;
export const fleetJobsBytesMax = 256 * 1024 * 1024;
/**
 * bytes of the states and results of such jobs; further jobs are refused, and robots keep results
 * until there is room.
 */
export const fleetStatesBytesMax = 512 * 1024 * 1024;
/**
 * ms for which a job waits for a robot at most, and for which its state and its result are kept.
 */
export const fleetJobMs = durationMsMax;
/** characters of the id of such a job, and of the name of a consumer of JetStream. */
export const fleetJobIdLengthMax = 64;
export const linkConsumerNameLengthMax = 255;
/** bytes of a result that is kept; a longer one is `TOO_LARGE`, and its job has run. */
export const fleetResultBytesMax = 512 * 1024;
/** revisions of states, the newest, among which `jobs` looks for jobs. */
export const fleetJobsLookMax = 10_000;
/**
 * ms for an answer of JetStream, and between two looks at a job whose result is waited for:
 * growing.
 */
export const jetStreamMs = 5_000;
export const fleetPollMs = 100;
export const fleetPollMsMax = 1_000;
/** queues of groups, one a group and task, from which one robot takes jobs. */
export const linkQueuesMax = 64;
/**
 * jobs of one robot's or group's queue that robots have and have not acknowledged, and robots that
 * wait at one.
 */
export const linkUnacknowledgedMax = 10_000;
export const linkWaitingMax = 2_048;
/**
 * ms after which JetStream gives a job to another robot, and after which one that works on it says
 * so.
 */
export const linkAckMs = 20_000;
export const linkWorkingMs = 6_000;
/**
 * ms for which a robot asks for one more job, between signs that it is still asked, and until these
 * are missed.
 */
export const linkPullMs = 30_000;
export const linkPullSignMs = 5_000;
export const linkPullSilenceMs = 12_000;
/** ms between two tries of what JetStream or the engine does not take at present. */
export const linkRetryMs = 1_000;
/** ms after which a job that this robot cannot take now is offered to it again. */
export const linkReturnMs = 5_000;
/** ms after which JetStream forgets that a robot or a group took jobs; those that wait stay. */
export const linkAbsentMs = 30 * 24 * 3600 * 1000;
/**
 * jobs in the link's file, those that have ended last included, and bytes of the file that are
 * read.
 */
export const linkTakenMax = 4_096;
export const linkTakenBytesMax = 2 * 1024 * 1024;
/** bytes of a file of NATS credentials, and of a certificate. */
export const natsFileBytesMax = 64 * 1024;
/** ms until a connection to NATS stands, for a command. */
export const natsConnectMs = 2_000;
/** ms between two tries to reach NATS again, and between the pings that find a dead connection. */
export const natsRetryMs = 500;
export const natsPingMs = 5_000;
/**
 * ms for the robots to answer all of them at once, and between two tries to reach those that have
 * not.
 */
export const fleetAnswerMs = 1_000;
export const fleetRetryMs = 250;
/** requests of one `map` that have not been answered. */
export const fleetMapMax = 64;
/**
 * ms by which a requestor waits longer than the robot, so that the robot's own word comes first.
 */
export const fleetGraceMs = 1_000;
