/** All routes. */
import { controlRoutes, type StopBySocket } from "./control-routes.ts";
import { dataRoutes } from "./data-routes.ts";
import { driveRoutes, type Upgrade } from "./drive-socket.ts";
import type { Engine } from "./engine.ts";
import type { Feeds } from "./feeds.ts";
import { metricsRoutes } from "./metrics-routes.ts";
import { openApiRoute } from "./openapi.ts";
import { personRoutes } from "./person-routes.ts";
import type { Route } from "./routes.ts";
import { streamRoutes } from "./stream-routes.ts";
import { taskRoutes } from "./task-routes.ts";
import type { Person } from "./tokens.ts";
import type { Viewers } from "./viewer.ts";

interface ApiContext {
  readonly engine: Engine;
  readonly feeds: Feeds;
  readonly viewers: Viewers;
  readonly stopBySocket: StopBySocket;
  readonly isStill: (person: Person) => boolean;
  readonly keepOpen: (request: Request) => void;
  readonly upgrade: Upgrade;
  readonly needsToken: boolean;
  readonly personOf: (token: string) => Promise<Person | null>;
  readonly cookieOf: (token: string | null) => string;
}

/** The first route that fits a path is taken. */
export const routesOf = (context: ApiContext): readonly Route[] => {
  const { engine, stopBySocket } = context;
  const routes = [
    ...personRoutes(context),
    ...taskRoutes(engine),
    ...controlRoutes(engine, stopBySocket),
    ...dataRoutes(engine.client),
    ...streamRoutes({ ...context, client: engine.client }),
    ...driveRoutes(context),
    ...metricsRoutes(engine),
  ];
  return [...routes, openApiRoute(routes)];
};
