/** The end of the engine's processes, in the order that loses no answer. */
import { abortGraceMs, lastAnswersMs, lastWordsMs } from "../limits.ts";
import { warn } from "../process/log.ts";
import type { Child } from "./child.ts";
import type { Children } from "./children.ts";
import { late, within } from "./within.ts";

/**
 * Lets the running jobs finish, then ends all children but the safe process.
 * @param isReady the engine has started: before that no job runs
 * @param graceMs that running jobs may take
 */
export const endAfterJobs = async (children: Children, isReady: boolean, graceMs: number): Promise<void> => {
  const { router: present } = children;
  const router = isReady && present?.isOnline ? present : undefined;
  const idle = router && Promise.race([router.drained, router.ended]);
  router?.send({ type: "drain" });
  const isOverdue = idle !== undefined && (await within(idle, graceMs)) === late;
  if (isOverdue) {
    warn(`Jobs still run after ${graceMs} ms of grace, and are ended`);
    router?.send({ type: "abort" });
    await within(idle, abortGraceMs);
  }
  // The router ends last: it passes on last answers, and answers jobs that are cut off. The journal
  // keeps how they have ended.
  const isLast = ({ role }: Child): boolean => role.kind === "router" || role.kind === "journal";
  await children.terminate((child) => !isLast(child) && child.role.kind !== "safe");
  if (isOverdue) {
    await within(idle, lastWordsMs);
    await Bun.sleep(lastAnswersMs);
  }
  await children.terminate(isLast);
};
