/** `/healthz` and `/metrics`. */
import type { EngineStatus } from "../client/control.ts";
import type { Engine } from "./engine.ts";
import { JobMetrics } from "./job-metrics.ts";
import { exposition, openMetricsType, textType } from "./metrics.ts";
import type { Route } from "./routes.ts";

export const metricsRoutes = (engine: Engine): readonly Route[] => {
  const jobs = new JobMetrics(engine.client);
  return [
    {
      method: "GET",
      path: "/healthz",
      summary: "Whether the gateway reaches the engine",
      rights: null,
      isOpen: true,
      answers: { 200: { description: "it does" } },
      handle: () =>
        engine.client.isConnected
          ? Response.json({ engine: "connected" })
          : Response.json({ code: "NO_ANSWER", message: "the engine does not answer" }, { status: 503 }),
    },
    {
      method: "GET",
      path: "/metrics",
      summary: "Counters and gauges for Prometheus",
      rights: "observe",
      answers: { 200: { description: "OpenMetrics, or Prometheus' text format", type: "text/plain" } },
      handle: async ({ person, request }) => {
        const { data } = await engine.command(person, { command: "status" });
        const status = data as unknown as EngineStatus;
        // An engine without a data worker has no topics.
        const topics = await engine.client.topics("").catch(() => []);
        jobs.follow();
        const isOpen = (request.headers.get("accept") ?? "").includes("application/openmetrics-text");
        const text = exposition({ status, topics, jobs }, isOpen);
        return new Response(text, { headers: { "Content-Type": isOpen ? openMetricsType : textType } });
      },
    },
  ];
};
