/** What a task worker does at its supervisor's word, from its first moment on: also while its task files are being loaded. */
import type { SupervisorMessage } from "../process/messages.ts";
import { onSupervisorMessage, tellSupervisor } from "../process/supervised.ts";
import type { EmergencyStop } from "./emergency-stop.ts";
import type { Executor } from "./executor.ts";
import type { Quarantine } from "./quarantine.ts";

/** To be called once. `executor` gives null as long as there is none: then nothing runs. */
export const obeySupervisor = (
  emergency: EmergencyStop,
  quarantine: Quarantine,
  executor: () => Executor | null,
): void =>
  onSupervisorMessage((message) => {
    if (message.type === "stopped") emergency.bySupervisor = message.stopped;
    else if (message.type === "quarantined") quarantine.close(message.tasks);
    else if (message.type === "halt") void halt(message, executor());
  });

type Halt = Extract<SupervisorMessage, { type: "halt" }>;

const halt = async ({ halt, code, message, spares }: Halt, executor: Executor | null): Promise<void> => {
  await executor?.halt({ code, message }, spares);
  tellSupervisor({ type: "still", halt });
};
