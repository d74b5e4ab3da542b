/**
 * The engine's status as metrics, by Prometheus' conventions: base units, `_total` for counters.
 */
import type { EngineStatus } from "../client/control.ts";
import type { TopicListing } from "../client/data-plane.ts";
import { gatewayMetricSeriesMax } from "../limits.ts";
import { type JobMetrics, secondsBounds } from "./job-metrics.ts";

export const textType = "text/plain; version=0.0.4; charset=utf-8";
export const openMetricsType = "application/openmetrics-text; version=1.0.0; charset=utf-8";

interface Sources {
  readonly status: EngineStatus;
  readonly topics: readonly TopicListing[];
  readonly jobs: JobMetrics;
}

type Labels = Readonly<Record<string, string>>;

/**
 * @param isOpen OpenMetrics, in place of the older format, in which counters are declared with
 * their suffix
 */
export const exposition = ({ status, topics, jobs }: Sources, isOpen: boolean): string => {
  const page = new Page(isOpen);
  const { jobs: counts, queue, tasks, workers, resources, stopped, data } = status;
  page.gauge("emergency_stop", "Whether the engine is in emergency stop", [[{}, stopped === null ? 0 : 1]]);
  page.gauge("draining", "Whether the engine is stopping", [[{}, status.draining ? 1 : 0]]);
  page.counter("jobs_accepted", "Jobs that the engine has accepted", [[{}, counts.accepted]]);
  page.counter("jobs_done", "Jobs that have ended well", [[{}, counts.done]]);
  page.counter("jobs_retried", "Tries of jobs after the first", [[{}, counts.retried]]);
  page.counter("jobs_failed", "Jobs that have not ended well, by code", byKey("code", counts.failed));
  page.counter("messages_dropped", "Messages that the router has dropped, by reason", byKey("reason", counts.dropped));
  page.gauge("jobs_held", "Jobs that workers hold", [[{}, counts.held]]);
  page.gauge("queue_jobs", "Jobs that wait in the router", [[{}, queue.jobs]]);
  page.gauge("queue_bytes", "Bytes of the jobs that wait in the router", [[{}, queue.bytes]]);
  const ofTasks = (pick: (task: EngineStatus["tasks"][number]) => number): Sample[] =>
    tasks.slice(0, gatewayMetricSeriesMax).map((task) => [{ task: task.name }, pick(task)]);
  page.gauge(
    "task_waiting_jobs",
    "Jobs of a task that wait",
    ofTasks(({ waiting }) => waiting),
  );
  page.gauge(
    "task_workers",
    "Workers that serve a task",
    ofTasks((task) => task.workers),
  );
  page.counter(
    "task_runs",
    "Runs of a task",
    ofTasks(({ count }) => count),
  );
  page.counter("task_jobs", "Jobs that have ended since the first scrape, by task and code", endedOf(jobs));
  page.counter("events_lost", "Events that are missing in the counts since the first scrape", [[{}, jobs.lost]]);
  page.histogram("task_run_seconds", "Run times of jobs that have ended since the first scrape", jobs);
  page.gauge("workers", "Workers, by role and state", workersOf(workers));
  page.gauge(
    "resource_held",
    "Whether a resource is held",
    resources.map(({ name, holder }) => [{ resource: name }, holder === null ? 0 : 1]),
  );
  page.gauge(
    "resource_waiting_jobs",
    "Jobs that wait for a resource",
    resources.map(({ name, waiting }) => [{ resource: name }, waiting]),
  );
  page.gauge(
    "data_topics",
    "Topics that a data worker keeps",
    data.map(({ worker, topics: kept }) => [{ worker }, kept]),
  );
  page.gauge(
    "data_bytes",
    "Bytes of the values that a data worker keeps",
    data.map(({ worker, bytes }) => [{ worker }, bytes]),
  );
  page.counter(
    "data_missed_values",
    "Values that subscribers were too slow for",
    data.map(({ worker, missed }) => [{ worker }, missed]),
  );
  const refused = data.flatMap(({ worker, dropped }) =>
    byKey("reason", dropped).map(([labels, count]): Sample => [{ worker, ...labels }, count]),
  );
  page.counter("data_refused_values", "Values and events that a data worker has not taken, by reason", refused);
  const listed = topics.slice(0, gatewayMetricSeriesMax);
  page.counter(
    "topic_values",
    "Values of a topic",
    listed.map(({ topic, values }) => [{ topic }, values ?? 0]),
  );
  page.counter(
    "topic_dropped_values",
    "Values of a topic that its subscribers have lost",
    listed.map(({ topic, dropped }) => [{ topic }, dropped ?? 0]),
  );
  page.gauge(
    "topic_stale",
    "Whether the source of a topic is late",
    listed.map(({ topic, stale }) => [{ topic }, stale ? 1 : 0]),
  );
  return page.end();
};

type Sample = readonly [labels: Labels, value: number];

const byKey = (label: string, counts: Readonly<Record<string, number>>): Sample[] =>
  Object.entries(counts).map(([key, count]) => [{ [label]: key }, count]);

const endedOf = ({ ended }: JobMetrics): Sample[] =>
  [...ended].flatMap(([task, codes]) => [...codes].map(([code, count]): Sample => [{ task, code }, count]));

const workersOf = (workers: EngineStatus["workers"]): Sample[] => {
  const counts = new Map<string, { readonly labels: Labels; count: number }>();
  for (const { role, state } of workers) {
    const known = counts.get(`${role} ${state}`) ?? { labels: { role, state }, count: 0 };
    known.count++;
    counts.set(`${role} ${state}`, known);
  }
  return [...counts.values()].map(({ labels, count }) => [labels, count]);
};

class Page {
  #text = "";

  constructor(private readonly isOpen: boolean) {}

  gauge(name: string, help: string, samples: readonly Sample[]): void {
    this.#family(
      name,
      "gauge",
      help,
      samples.map(([labels, value]) => [name, labels, value]),
    );
  }

  counter(name: string, help: string, samples: readonly Sample[]): void {
    this.#family(
      name,
      "counter",
      help,
      samples.map(([labels, value]) => [`${name}_total`, labels, value]),
    );
  }

  histogram(name: string, help: string, { runs }: JobMetrics): void {
    const rows = [...runs].flatMap(([task, { counts, seconds }]): Row[] => [
      ...counts.map(
        (count, index): Row => [`${name}_bucket`, { task, le: `${secondsBounds[index] ?? "+Inf"}` }, count],
      ),
      [`${name}_sum`, { task }, seconds],
      [`${name}_count`, { task }, counts.at(-1) ?? 0],
    ]);
    this.#family(name, "histogram", help, rows);
  }

  end(): string {
    return this.isOpen ? `${this.#text}# EOF\n` : this.#text;
  }

  #family(name: string, type: string, help: string, rows: readonly Row[]): void {
    if (rows.length === 0) return;
    const family = `task_engine_${name}${type === "counter" && !this.isOpen ? "_total" : ""}`;
    this.#text += `# HELP ${family} ${help}.\n# TYPE ${family} ${type}\n`;
    for (const [sample, labels, value] of rows) this.#text += `task_engine_${sample}${labelsText(labels)} ${value}\n`;
  }
}

type Row = readonly [sample: string, labels: Labels, value: number];

const labelsText = (labels: Labels): string => {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escaped(value)}"`);
  return pairs.length === 0 ? "" : `{${pairs.join(",")}}`;
};

const escaped = (value: string): string =>
  value.toWellFormed().replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
